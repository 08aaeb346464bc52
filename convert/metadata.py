"""What a file is for, besides what is in it: ``memr1.json`` of a checkpoint or adapter, in GGUF's words.

``memr1.json`` may hold ``name``, ``role`` (``manager``, ``answerer`` or ``both``), ``prompt_version`` (for both roles
the two versions with a space between), ``own_words``, ``training_data``, ``training_run``, ``figures`` (held-out),
``base_model``, ``base_sha256`` and ``licence``. Anything else it holds goes into the file as ``memr1.<key>`` too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGUFWriter

from convert.errors import ConvertError
from memr1_lite import answer_agent, memory_manager

ROLES = ("manager", "answerer", "both")
ELSEWHERE = ("name", "licence", "own_words")
"""Keys that have a key of their own in GGUF, or a form of their own."""


def add_metadata(writer: GGUFWriter, training: Mapping[str, Any], folder: Path) -> None:
    """Write name, licence, base model and everything that begins with ``memr1.``.

    :param folder: gives the name where ``training`` has none
    :raises ConvertError: an unknown role, or a role without the version of its prompts
    """
    role = training.get("role")
    if role is not None and role not in ROLES:
        raise ConvertError(f"memr1.json of {str(folder)!r} has the role {role!r}; known are {', '.join(ROLES)}.")
    versions = str(training.get("prompt_version", "")).split()
    if role is not None and len(versions) != (2 if role == "both" else 1):
        wanted = "two 'prompt_version's with a space between" if role == "both" else "one 'prompt_version'"
        raise ConvertError(f"memr1.json of {str(folder)!r} has the role {role!r} and so needs {wanted}: {versions}.")
    writer.add_name(training.get("name") or folder.resolve().name)
    if licence := training.get("licence"):
        writer.add_license(licence)
    if base := training.get("base_model"):
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, base)
    if "own_words" in training:
        writer.add_string("memr1.own_words", " ".join(training["own_words"]))
    for key, value in training.items():
        if key not in ELSEWHERE:
            writer.add_string(f"memr1.{key}", value if isinstance(value, str) else _text(value))


def with_role(training: Mapping[str, Any], role: str | None) -> dict[str, Any]:
    """``training`` for ``role`` on the prompts of this version of the SDK, where it names no role itself.

    :raises ConvertError: it names another
    """
    if role is None:
        return dict(training)
    if training.get("role", role) != role:
        raise ConvertError(f"memr1.json says that this was trained for the role {training['role']!r}, not {role!r}.")
    versions = {"manager": memory_manager.PROMPT_VERSION, "answerer": answer_agent.PROMPT_VERSION}
    return {"prompt_version": versions.get(role, " ".join(versions.values())), **training, "role": role}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
