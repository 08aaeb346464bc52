"""What a file was trained for, and the refusal of one that was trained for something else."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from memr1_lite.errors import ModelLoadError

BOTH_ROLES = "both"
"""The role of a file that was trained to play every one."""


class Trained(Protocol):
    """What a loaded model says it was trained for; None where it says nothing."""

    trained_role: str | None
    prompt_version: str | None


def refuse_other_purpose(model: Trained, path: Path, role: str | None, prompt_version: str | None) -> None:
    """Refuse what was trained for another role or on other prompts. A file for ``both`` names two prompt versions.

    :param path: of the file that says what it is for
    :param role: that is wanted; None takes any
    :param prompt_version: that is wanted; None takes any
    :raises ModelLoadError: it was
    """
    for what, wanted, found in (
        ("role", role, model.trained_role),
        ("prompt version", prompt_version, model.prompt_version),
    ):
        named = (found or "").split()
        if wanted is not None and named and wanted not in named and not (what == "role" and found == BOTH_ROLES):
            raise ModelLoadError(
                f"{str(path)!r} was trained for the {what} {found!r}, not {wanted!r}: use a file made for it."
            )
