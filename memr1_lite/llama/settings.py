"""How a model is loaded: the arguments, said once for this process and for a child."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from memr1_lite.errors import InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11 on

CONTEXT_STEP = 256
"""llama.cpp rounds contexts to this."""
DEFAULT_CONTEXT = 4096


class LoadSettings(TypedDict, total=False):
    """What may be said beside the path of a GGUF file; None, like what is not said, means the default.

    :param context: tokens for prompt and output, 4,096 by default; at most what the model was trained on is used
    :param threads: physical cores less one by default
    :param role: refuse a file that was trained for another role
    :param prompt_version: refuse a file that was trained on other prompts
    :param expected_sha256: refuse a file with another checksum, in hexadecimal
    :param exact_cache: keep attention's keys and values in 32 bits, not 16: twice the memory, for comparisons
    :param states: a folder for the evaluated beginnings of prompts, so that the next start is quicker
    :param drafts: try what the prompt says next in one batch; the same output, quicker only where batches are cheap
    :param adapter: a GGUF file with a LoRA for this one, which then says what the two are trained for
    :param adapter_sha256: refuse an adapter with another checksum, in hexadecimal
    """

    context: int | None
    threads: int | None
    role: str | None
    prompt_version: str | None
    expected_sha256: str | None
    exact_cache: bool
    states: str | Path | None
    drafts: bool
    adapter: str | Path | None
    adapter_sha256: str | None


def check_settings(**settings: Unpack[LoadSettings]) -> None:
    """Refuse what cannot be meant, before anything is read.

    :raises TypeError: a name that is none of these
    :raises InvalidInputError: a context or a number of threads that is too small
    """
    if unknown := settings.keys() - LoadSettings.__annotations__.keys():
        raise TypeError(f"load() knows no argument {', '.join(map(repr, sorted(unknown)))}")
    context, threads = settings.get("context"), settings.get("threads")
    if context is not None and context < 2 * CONTEXT_STEP:
        raise InvalidInputError(f"A context of {context} tokens is too small: at least {2 * CONTEXT_STEP}.")
    if threads is not None and threads < 1:
        raise InvalidInputError(f"{threads} threads cannot run a model: at least 1, or None.")
