"""The contradiction suite: short histories in which something is replaced, taken back, repeated, denied or confused.

``contradictions.jsonl`` was written by hand, by somebody who had not seen the generator that the bundled agents are
trained on, and no training code may read it (``tests/test_contradictions.py`` checks that). A line is a
:class:`History`: what is said, which operations are right, and what must and what must not come out afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from importlib import resources

from memr1_lite.answer_agent import UNKNOWN
from memr1_lite.embedders import stem, words
from memr1_lite.errors import InvalidInputError
from memr1_lite.evaluation.metrics import list_items
from memr1_lite.evaluation.operations import Expected
from memr1_lite.records import Record

FILE = "contradictions.jsonl"
MAX_WORDS = 12
"""A longer answer is none: it repeats what was said instead of answering. Right answers have at most six."""
_ARTICLES = frozenset({"a", "an", "the"})


class Said(Record):
    """One message. Each of ``right`` is a defensible decision, the best first.

    What an UPDATE or DELETE is about is named by the message that wrote it, by its place in the history, from 1.
    """

    speaker: str
    at: date
    text: str
    right: tuple[tuple[Expected, ...], ...]


class Ask(Record):
    """One question afterwards.

    ``answers`` are all right answers, with the items of a list in any order; ``unknown`` says that it is (also) right
    not to know. ``never`` are texts that no answer may hold.
    """

    question: str
    answers: tuple[str, ...] = ()
    unknown: bool = False
    never: tuple[str, ...] = ()


class History(Record):
    """Messages in the order they are told, and questions. ``gone`` are texts that no memory may hold at the end."""

    id: str
    kind: str
    turns: tuple[Said, ...]
    asks: tuple[Ask, ...]
    gone: tuple[str, ...] = ()


def histories() -> list[History]:
    """The suite, in the order of its file."""
    text = (resources.files("memr1_lite.evaluation") / FILE).read_text(encoding="utf-8")
    return [History.model_validate_json(line) for line in text.splitlines()]


def chosen(suite: Sequence[History], kinds: Sequence[str], limit: int | None) -> list[History]:
    """The histories of ``kinds``, all if none is named; of each kind at most the first ``limit``.

    :raises InvalidInputError: there is no such kind
    """
    by_kind: dict[str, list[History]] = {}
    for history in suite:
        by_kind.setdefault(history.kind, []).append(history)
    if unknown := [kind for kind in kinds if kind not in by_kind]:
        raise InvalidInputError(f"No kind is called {unknown[0]!r}: there are {', '.join(by_kind)}.")
    return [history for kind, those in by_kind.items() if not kinds or kind in kinds for history in those[:limit]]


def says(said: str, phrase: str) -> bool:
    """Whether ``said`` holds ``phrase`` word by word, the items of a list in any order.

    Case, articles and light endings do not count: "He has two dogs, Buddy and Scout." says "Scout and Buddy", "dog".
    """
    whole = _stems(said)
    return all(_stems(item) in whole for item in list_items(phrase))


def right_reply(ask: Ask, said: str, known: bool) -> bool:
    """Whether an answer is right: it says what is right and nothing that it must not, or rightly does not know.

    ``known`` is the agent's own word for it, :attr:`~memr1_lite.records.Answer.known`.
    """
    if not known or _stems(said) == _stems(UNKNOWN):
        return ask.unknown
    return len(words(said)) <= MAX_WORDS and any(says(said, answer) for answer in ask.answers) and not leaks(ask, said)


def leaks(ask: Ask, said: str) -> tuple[str, ...]:
    """What an answer says that it must not."""
    return tuple(phrase for phrase in ask.never if says(said, phrase))


def holding(memories: Sequence[str], gone: Sequence[str]) -> tuple[str, ...]:
    """Those of ``gone`` that a memory holds, in these very words: "lived in Leeds" is not "lives in Leeds"."""
    texts = [_spaced(words(memory)) for memory in memories]
    return tuple(phrase for phrase in gone if any(_spaced(words(phrase)) in text for text in texts))


def _stems(text: str) -> str:
    return _spaced([stem(word) for word in words(text) if word not in _ARTICLES])


def _spaced(parts: Sequence[str]) -> str:
    return f" {' '.join(parts)} "
