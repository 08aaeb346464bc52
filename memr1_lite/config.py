"""Every number that can be set, with its default and the reason for it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from memr1_lite.errors import InvalidInputError
from memr1_lite.llm import MAX_SHOWN


class Settings(BaseModel):
    """Settings by keyword, fixed from then on.

    :raises InvalidInputError: a misspelt one, one that is out of bounds, or some that contradict each other
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **settings: object) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InvalidInputError(self._refusal(error)) from error

    @classmethod
    def _refusal(cls, error: ValidationError) -> str:
        """What is wrong first: the rest may follow from it."""
        first = error.errors()[0]
        reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
        if not first["loc"]:
            return f"{cls.__name__}: {reason}."
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            near = get_close_matches(name, cls.model_fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(cls.model_fields)}."
            return f"{cls.__name__} has no setting {name!r}: {hint}"
        return f"{cls.__name__}({name}={first['input']!r:.60}): {reason[0].lower()}{reason[1:]}."


class Agents(Settings):
    """Which GGUF files think. None means the bundled agent of that role.

    With ``base`` both agents are that one model, loaded once, each with its own LoRA on top; without a LoRA it is the
    base itself that plays the role.
    """

    manager: Path | None = None
    answerer: Path | None = None
    base: Path | None = None
    manager_lora: Path | None = None
    """A LoRA for ``base`` as a GGUF file; ``python -m convert lora-to-gguf`` makes one."""
    answerer_lora: Path | None = None
    manager_sha256: str | None = None
    """Refuse a Manager's file, with ``base`` its LoRA, with another SHA-256, in hexadecimal. None checks nothing: it
    means reading the file."""
    answerer_sha256: str | None = None
    base_sha256: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Agents:
        if self.base is not None and (self.manager is not None or self.answerer is not None):
            raise ValueError("base is the model of both agents: give LoRAs for it, or manager and answerer without it")
        if self.base is None and (self.manager_lora is not None or self.answerer_lora is not None):
            raise ValueError("a LoRA needs the model that it was trained on: give base as well")
        return self


class BankConfig(Settings):
    """The settings of a bank."""

    similar: int = Field(default=8, ge=1, le=MAX_SHOWN)
    """Memories shown to the Memory Manager. The paper shows five per fact; eight keeps the right one in view."""
    candidates: int = Field(default=60, ge=1, le=MAX_SHOWN)
    """Candidates shown to the Answer Agent, as in the paper."""
    max_message_chars: int = Field(default=8_000, ge=1)
    """A longer message is refused before anything is written: it is a document, not something said."""
    decide_again: int = Field(default=3, ge=0)
    """How often a decision is made anew because a memory changed while the model thought."""
    exact_below: int = Field(default=5_000, ge=0)
    """Up to this many vectors are searched exactly; hnswlib above. Exact search of 5,000 takes under a millisecond."""
    context: int = Field(default=4_096, ge=512)
    """Tokens of each model's context, at most what it was trained on. Less saves memory, and fewer candidates fit."""
    threads: int | None = Field(default=None, ge=1)
    """Threads for llama.cpp; None means physical cores less one. All cores make it slower when anything else runs."""
    engine: Literal["thread", "process"] = "thread"
    """``process`` runs llama.cpp in a child process: a file that kills it is an error then, and not the app's end."""
    idle_seconds: float | None = Field(default=600, gt=0)
    """Models are given back after so long without a call, the sentence encoder too, and loaded again at the next; None
    keeps them."""
    background: Literal["always", "idle"] = "always"
    """``idle`` lets what was remembered later wait while the load is above the number of cores or a battery is being
    emptied; where the system tells neither, nothing waits."""
