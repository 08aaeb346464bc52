"""What every benchmark file becomes: conversations, each with its turns and the questions about it."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from memr1_lite.records import Record, Turn

Item = TypeVar("Item")


class Question(Record):
    """One question about a conversation.

    ``answers`` are all right answers, the published one first; none means that the conversation does not say, and the
    right answer is that it is not known. ``category`` is its true name, ``paper_label`` what Memory-R1's tables print
    for it. ``evidence`` are the source ids of the turns that hold the answer. ``asked_at`` is the day of the question.

    A ``statement`` asks nothing: it says again what a turn said, and is searched for. No agent answers, and ``answers``
    is its own text, against which the first thing found is scored.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    category: str
    paper_label: str | None = None
    evidence: tuple[str, ...] = ()
    asked_at: datetime | None = None
    statement: bool = False


class Talk(Record):
    """One conversation, oldest turn first, and the questions about it."""

    id: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


class Benchmark(Record):
    """A benchmark file, read. ``notes`` say what was left out and what did not resolve, to be printed."""

    name: str
    talks: tuple[Talk, ...]
    notes: tuple[str, ...] = ()


def limited(benchmark: Benchmark, questions: int | None) -> Benchmark:
    """The same with at most so many questions per conversation, spread evenly over it.

    Where every conversation has but one question, at most so many conversations, spread evenly over the file.
    """
    if questions is None:
        return benchmark
    if all(len(talk.questions) == 1 for talk in benchmark.talks):
        note = f"at most {questions} of {len(benchmark.talks)} conversations with one question each, spread evenly"
        return benchmark.model_copy(
            update={"talks": _spread(benchmark.talks, questions), "notes": (*benchmark.notes, note)}
        )
    talks = [talk.model_copy(update={"questions": _spread(talk.questions, questions)}) for talk in benchmark.talks]
    note = f"at most {questions} questions per conversation, spread evenly"
    return benchmark.model_copy(update={"talks": tuple(talks), "notes": (*benchmark.notes, note)})


def _spread(items: tuple[Item, ...], limit: int) -> tuple[Item, ...]:
    if len(items) <= limit:
        return items
    return tuple(items[index * len(items) // limit] for index in range(limit))
