"""The conversations of the trainer's world as a benchmark file: what its generator knows to be true is asked.

``python -m train_ref.world FILE`` writes one, held-out phrasings, names and things unless told otherwise. A line is a
:class:`~memr1_lite.evaluation.benchmark.Talk`; anybody can write such lines about conversations of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from memr1_lite.evaluation.benchmark import Benchmark, Talk
from memr1_lite.shapes import read_text, wrong_shape


def read_world(path: str | Path) -> Benchmark:
    """Read a file of one conversation per line; a question without an answer has "not known" for one.

    :raises ConversationFormatError: the file is of another shape, naming the line and the place in it
    """
    path = Path(path)
    talks: list[Talk] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            talks.append(_talk(path, f"line {number}", line))
    if twice := _twice(talk.id for talk in talks):
        raise wrong_shape(path, "the whole file", "each conversation once", f"{twice!r} twice")
    if not talks:
        raise wrong_shape(path, "the whole file", "a conversation per line", "none")
    return Benchmark(name="World", talks=tuple(talks))


def _talk(path: Path, place: str, line: str) -> Talk:
    try:
        talk = Talk.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        found = f"{first['input']!r:.60} ({first['msg']})"
        raise wrong_shape(path, place + where, "a conversation with id, turns, questions", found) from error
    for what, ids in (("turn", [t.source_id for t in talk.turns]), ("question", [q.id for q in talk.questions])):
        if twice := _twice(ids):
            raise wrong_shape(path, place, f"each {what} once", f"{twice!r} twice")
    known = {turn.source_id for turn in talk.turns}
    for position, question in enumerate(talk.questions):
        if missing := [each for each in question.evidence if each not in known]:
            raise wrong_shape(path, f"{place}.questions[{position}].evidence", "source ids of turns", repr(missing[0]))
    return talk


def _twice(ids: Iterable[str]) -> str | None:
    return next((each for each, count in Counter(ids).items() if count > 1), None)
