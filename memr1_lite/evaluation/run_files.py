"""The folder of a run: its settings, one line per question as soon as it is answered, what building the banks cost.

A run that was interrupted, also by SIGKILL, goes on where it stopped: lines are synced to the disk one by one, and half
a line at the end of a file is cut off before the next one is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from memr1_lite.errors import ConversationFormatError, InvalidInputError
from memr1_lite.records import OperationName, Record

Line = TypeVar("Line", bound=Record)


class RunSettings(Record):
    """What a run measures; a folder holds one run. ``agents`` are names and SHA-256 sums of the GGUF files."""

    benchmark: str
    file: str
    file_sha256: str
    conversations: tuple[str, ...]
    questions: int
    candidates: int
    similar: int
    context: int = 4_096
    embedder: str
    agents: dict[str, str]
    machine: str
    notes: tuple[str, ...]


class QuestionResult(Record):
    """One question put to one system.

    ``found`` are the source ids of what retrieval found, best first; ``shown`` counts the candidates that fitted into
    the prompt. Scores are from 0 to 1; ``recall`` is evidence recall at 5, 10, 30 and 60, None without evidence.
    """

    system: str
    talk: str
    question: str
    category: str
    paper_label: str | None
    text: str
    answers: tuple[str, ...]
    found: tuple[str, ...]
    shown: int
    cited: tuple[str, ...]
    answer: str
    known: bool
    set_f1: float
    bleu1: float
    exact: float
    squad_f1: float
    recall: dict[str, float] | None
    retrieve_seconds: float
    answer_seconds: float
    calls: int
    prompt_tokens: int
    output_tokens: int
    error: str | None = None
    peak_mib: float | None = None


class BuildCost(Record):
    """What one turn cost when a bank was built, and what the Manager did with it.

    ``unsaid`` counts the words that the Manager wrote and had not read; None where it wrote nothing. ``peak_mib`` here
    and above is the most memory that the process had held by then.
    """

    talk: str
    bank: str
    turn: str
    seconds: float
    calls: int
    prompt_tokens: int
    output_tokens: int
    error: str | None = None
    operations: tuple[OperationName, ...] = ()
    unsaid: int | None = None
    peak_mib: float | None = None


class Judged(Record):
    """What a judge said of one answer. ``control`` is a wrong answer put to it, to see how many it lets through.

    ``error`` is why there is no verdict; it counts as wrong.
    """

    judge: str
    system: str
    question: str
    correct: bool
    control: bool = False
    error: str | None = None


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def banks(self) -> Path:
        """Where the banks are."""
        return self.path / "banks"

    def begin(self, settings: RunSettings) -> None:
        """Make the folder, or go on in one that was made with the same settings.

        :raises InvalidInputError: it holds a run with other settings
        """
        file = self.path / "settings.json"
        if file.exists():
            before = self.settings()
            changed = [key for key in type(settings).model_fields if getattr(before, key) != getattr(settings, key)]
            if changed:
                raise InvalidInputError(
                    f"{str(self.path)!r} holds a run with another {', '.join(changed)}: give another folder with --out."
                )
            return
        self.path.mkdir(parents=True, exist_ok=True)
        file.write_text(settings.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def settings(self) -> RunSettings:
        """The settings of the run.

        :raises InvalidInputError: the folder holds no run
        """
        file = self.path / "settings.json"
        try:
            return RunSettings.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise InvalidInputError(
                f"{str(self.path)!r} is not the folder of a run: no readable {file.name}."
            ) from error

    def results(self) -> list[QuestionResult]:
        """What was answered so far."""
        return self.read("questions.jsonl", QuestionResult)

    def costs(self) -> list[BuildCost]:
        """What building the banks cost so far."""
        return self.read("turns.jsonl", BuildCost)

    def judged(self) -> list[Judged]:
        """What a judge said so far."""
        return self.read("judged.jsonl", Judged)

    def keep(self, record: QuestionResult | BuildCost | Judged) -> None:
        """Append a line, on the disk when this returns."""
        names = {QuestionResult: "questions.jsonl", BuildCost: "turns.jsonl", Judged: "judged.jsonl"}
        self.append(names[type(record)], record)

    def write_table(self, lines: Sequence[str]) -> None:
        """Write what the run came to as ``table.md``, in place of an earlier one."""
        (self.path / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def append(self, name: str, record: Record) -> None:
        """Append a line to the file ``name``, on the disk when this returns."""
        with (self.path / name).open("ab") as file:
            file.write(record.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, name: str, kind: type[Line]) -> list[Line]:
        """The lines of the file ``name``; half a line at its end is cut off.

        :raises ConversationFormatError: a line is something else
        """
        file = self.path / name
        if not file.exists():
            return []
        data = file.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # the process died while it wrote
            os.truncate(file, whole)
        records = []
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                records.append(kind.model_validate_json(line))
            except ValidationError as error:
                raise ConversationFormatError(
                    f"{str(file)!r}, line {number}: expected a {kind.__name__}, found {line[:60]!r}."
                ) from error
        return records
