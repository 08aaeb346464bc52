"""The demonstration: the conversation in ``demo.jsonl`` played into a new bank, which is then asked about it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents
from memr1_lite.records import Answer, Change, Record


class Said(Record):
    """A line of the script: something said."""

    kind: Literal["message"]
    speaker: str
    text: str
    at: datetime


class Asked(Record):
    """A line of the script: something asked."""

    kind: Literal["question"]
    text: str


class Remembered(Record):
    """What became of a message, and the milliseconds it took."""

    said: Said
    change: Change
    milliseconds: float


class Answered(Record):
    """What was answered to a question, and the milliseconds it took."""

    asked: Asked
    answer: Answer
    milliseconds: float


_LINE: TypeAdapter[Said | Asked] = TypeAdapter(Annotated[Said | Asked, Field(discriminator="kind")])


def script() -> list[Said | Asked]:
    """The conversation, then the questions."""
    text = (resources.files("memr1_lite") / "demo.jsonl").read_text(encoding="utf-8")
    return [_LINE.validate_json(line) for line in text.splitlines()]


def play(agents: Agents) -> Iterator[Remembered | Answered]:
    """Play the script into a bank that is thrown away afterwards, one result per line.

    :raises ModelError: an agent cannot be loaded or failed; nothing is made up in its place
    """
    with (
        tempfile.TemporaryDirectory(prefix="memr1-demo-") as folder,
        MemoryBank.open(Path(folder) / "demo.db", agents=agents) as bank,
    ):
        for line in script():
            started = time.perf_counter()
            if isinstance(line, Said):
                change = bank.remember(line.text, speaker=line.speaker, at=line.at)
                yield Remembered(said=line, change=change, milliseconds=_milliseconds_since(started))
            else:
                answer = bank.ask(line.text)
                yield Answered(asked=line, answer=answer, milliseconds=_milliseconds_since(started))


def _milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
