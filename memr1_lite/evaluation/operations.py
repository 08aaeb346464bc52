"""How right a Memory Manager's decisions are: which operation, on which memory, and whether it wrote what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Protocol, get_args

from memr1_lite.dates import resolved, written_date
from memr1_lite.embedders import STOP_WORDS, stem, words
from memr1_lite.records import Add, Delete, Memory, Message, Operation, OperationName, Record, Update

OPERATIONS: tuple[OperationName, ...] = get_args(OperationName)

FRAME_WORDS = frozenset(
    """
    live lives work works job study studies follow follows diet allergic enjoy enjoys hobby speak speaks language play
    plays instrument like likes dislike dislikes suffer suffers married engaged drive drives car years year old named
    name called has had two three four five six seven eight nine ten bought buy visit visited visits attend attended
    plan plans want wants appointment favorite member learn person son daughter brother sister mother father husband
    wife grandmother grandfather aunt uncle January February March April May June July August September October November
    December
    """.lower().split()
)
"""Words in which a memory restates a fact: "I'm 43" is written "Ravi is 43 years old". They say nothing new.

Two to ten among them because a merged memory counts what it holds; figures are never among them.
"""


class Expected(Record):
    """A right operation: its name, and the id of the memory that an UPDATE or DELETE is about."""

    op: OperationName
    memory: int | None = None


def expected(operation: Operation) -> Expected:
    """What an operation does, without its text."""
    return Expected(op=operation.op, memory=operation.memory_id if isinstance(operation, Update | Delete) else None)


def text_of(operation: Operation) -> str:
    """The text an operation writes, or nothing."""
    return operation.text if isinstance(operation, Add | Update) else ""


def same_operations(right: Iterable[Expected], done: Iterable[Expected]) -> bool:
    """Whether the same operations were chosen, in any order, whatever memories they name."""
    return sorted(each.op for each in right) == sorted(each.op for each in done)


def named_memories(operations: Iterable[Expected]) -> list[int]:
    """The memories that operations name, sorted."""
    return sorted(each.memory for each in operations if each.memory is not None)


def paired(right: Sequence[Expected], done: Sequence[Expected]) -> list[tuple[OperationName, OperationName]]:
    """Right operations beside chosen ones: equal ones first, the rest in order, NOOP where one side has no more."""
    names: list[tuple[OperationName, OperationName]] = []
    left, over = list(right), list(done)
    for keys in (lambda each: (each.op, each.memory), lambda each: each.op):
        for one in list(left):
            other = next((each for each in over if keys(each) == keys(one)), None)
            if other is not None:
                names.append((one.op, other.op))
                left.remove(one)
                over.remove(other)
    nothing = Expected(op="NOOP")
    rest = zip_longest(left, over, fillvalue=nothing)
    return [*names, *((one.op, other.op) for one, other in rest)]


def unsaid(text: str, sources: Iterable[str]) -> list[str]:
    """The content words and numbers of a written ``text`` that are in none of ``sources``.

    Content words are all but stop words and :data:`FRAME_WORDS`; forms of a word count as the word.
    """
    read = {stem(word) for source in sources for word in words(source)}
    content = (word.removesuffix("'s") for word in words(text))
    return [word for word in content if not _is_frame(word) and stem(word) not in read]


def made_up(operations: Sequence[Operation], message: Message, shown: Sequence[Memory]) -> list[str] | None:
    """The words that a decision wrote and that nobody said; None where it wrote nothing.

    Said are the message, its dates resolved, its speaker, its day, and the memories that the decision rewrites. One
    that it deletes was taken back: who writes its words all the same made them up.
    """
    written = [operation for operation in operations if isinstance(operation, Add | Update)]
    if not written:
        return None
    rewritten = {operation.memory_id for operation in written if isinstance(operation, Update)}
    said = [message.speaker, written_date(message.at), resolved(message.text, message.at)]
    said += [memory.text for memory in shown if memory.id in rewritten]
    return [word for operation in written for word in unsaid(operation.text, said)]


class Decided(Protocol):
    """A measured decision; ``done`` is empty where it failed."""

    @property
    def right(self) -> Sequence[Expected]:
        """A right decision."""

    @property
    def done(self) -> Sequence[Expected]:
        """What was decided."""


class Confusion:
    """Counts of right operations (rows) against chosen ones (columns)."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[OperationName, OperationName]] = Counter()

    def add(self, right: Sequence[Expected], done: Sequence[Expected]) -> None:
        """Count one decision."""
        self.counts.update(paired(right, done))

    def rows(self) -> list[tuple[OperationName, list[int]]]:
        """One row per right operation, with a count per chosen one, in the order of :data:`OPERATIONS`."""
        return [(right, [self.counts[right, chosen] for chosen in OPERATIONS]) for right in OPERATIONS]

    def recall(self, name: OperationName) -> float | None:
        """Share of right ``name`` operations that were chosen; None where there was none."""
        whole = sum(self.counts[name, chosen] for chosen in OPERATIONS)
        return self.counts[name, name] / whole if whole else None

    def precision(self, name: OperationName) -> float | None:
        """Share of chosen ``name`` operations that were right; None where none was chosen."""
        whole = sum(self.counts[right, name] for right in OPERATIONS)
        return self.counts[name, name] / whole if whole else None


def _is_frame(word: str) -> bool:
    return word in STOP_WORDS or word in FRAME_WORDS


def confusion_of(results: Iterable[Decided]) -> Confusion:
    """Right operations against chosen ones; a failed decision is none of them."""
    confusion = Confusion()
    for result in results:
        if result.done:
            confusion.add(result.right, result.done)
    return confusion
