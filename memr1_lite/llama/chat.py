"""The frame round a prompt: the model's own chat template with the whole prompt as one user message."""

from __future__ import annotations

import json
from datetime import datetime
from typing import NoReturn

from memr1_lite.errors import ModelLoadError

SENTINEL = "memr1lite0prompt0goes0here"
"""Stands for the prompt while a template is rendered: without anything that a template trims or changes."""


def render_frame(template: str, *, bos: str, eos: str, path: str) -> tuple[str, str]:
    """The text before and after the prompt, ready for the model's turn.

    :param template: the Jinja template of a GGUF file; it runs in a sandbox
    :raises ModelLoadError: the template does not render, or does not show a user message exactly once
    """
    import jinja2
    import jinja2.sandbox

    def refuse(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    try:
        text = environment.from_string(template).render(
            messages=[{"role": "user", "content": SENTINEL}],
            add_generation_prompt=True,
            # Thoughts would be neither read nor paid for: an operation is chosen, not argued.
            enable_thinking=False,
            bos_token=bos,
            eos_token=eos,
            raise_exception=refuse,
            strftime_now=lambda form: datetime.now().strftime(form),
        )
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise ModelLoadError(f"The chat template of {path!r} does not render: {error}") from error
    parts = text.split(SENTINEL)
    if len(parts) != 2:
        raise ModelLoadError(f"The chat template of {path!r} shows a user message {len(parts) - 1} times, not once.")
    return parts[0], parts[1]
