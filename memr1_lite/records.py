"""The records that travel between the modules: frozen, strict, and complete in themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

OperationName = Literal["ADD", "UPDATE", "DELETE", "NOOP"]
MessageState = Literal["pending", "done"]
DEFAULT_SPEAKER = "user"
"""Who speaks where the app names nobody, and who "I" is in a question."""


class Record(BaseModel):
    """A frozen value; an unknown field is an error, not a surprise later."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One raw turn as it was said; append-only.

    ``at`` is when it was said, without a time zone: the speaker's own clock. ``state`` is ``pending`` until the
    Memory Manager's decision about it has been applied.
    """

    id: int
    speaker: str
    text: str
    at: datetime | None = None
    source_id: str | None = None
    state: MessageState = "pending"


class Turn(Record):
    """One turn of a file, as :meth:`MemoryBank.remember` takes it; ``source_id`` makes importing twice harmless."""

    speaker: str
    text: str
    at: datetime | None = None
    source_id: str


class Memory(Record):
    """One thing that the bank knows.

    ``version`` counts its texts, from 1. ``message_id`` is the turn that its present text was written from, and ``at``
    is when that turn was said.
    """

    id: int
    text: str
    version: int = 1
    message_id: int | None = None
    at: datetime | None = None


class _Chosen(Record):
    """What a Manager chose to do. ``confidence``, 0 to 1, is the probability of its choices among what was allowed: the
    operation and the memory that it names; a text is not counted. None where nobody said."""

    confidence: float | None = Field(default=None, ge=0, le=1)


class Add(_Chosen):
    """Write a new memory."""

    op: Literal["ADD"]
    text: str


class Update(_Chosen):
    """Give a memory a new text; the old one stays in its history. ``version`` is the version that was seen."""

    op: Literal["UPDATE"]
    memory_id: int
    version: int
    text: str


class Delete(_Chosen):
    """Retract a memory that nothing replaces. ``version`` is the version that was seen."""

    op: Literal["DELETE"]
    memory_id: int
    version: int


class Noop(_Chosen):
    """Leave the bank as it is."""

    op: Literal["NOOP"]


Operation = Annotated[Add | Update | Delete | Noop, Field(discriminator="op")]


class Decision(Record):
    """What a Memory Manager decided about one message.

    ``confidence`` is the probability of the first operation's name, 0 to 1; each operation has its own. Tokens are
    counts.
    """

    operations: tuple[Operation, ...]
    confidence: float | None = None
    model: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0


class AppliedOperation(Record):
    """One line of the operations log: what happened to which memory, and how sure of it the Manager was.

    ``confidence`` is that of the operation that the Manager chose; None where somebody else did, or did not say.
    """

    seq: int
    change_id: int
    op: OperationName
    memory_id: int | None
    old_text: str | None
    new_text: str | None
    confidence: float | None = None

    def __str__(self) -> str:
        name = "NOOP" if self.memory_id is None else f"{self.op} [{self.memory_id}]"
        texts = [repr(text) for text in (self.old_text, self.new_text) if text is not None]
        return " ".join([name, " -> ".join(texts)]).rstrip()


class Change(Record):
    """One step of the bank: all operations that one cause brought about, applied in one transaction.

    ``reason`` is ``manager`` (the agent decided), ``gate`` (nothing to decide), ``forget`` or ``undo``.
    """

    id: int
    message_id: int | None
    reason: Literal["manager", "gate", "forget", "undo"]
    operations: tuple[AppliedOperation, ...]
    created_at: datetime
    model: str | None = None
    confidence: float | None = None
    undoes: int | None = None


class Difference(Record):
    """What became of one memory between two moments: ``old`` is None where it is new, ``new`` where it is gone."""

    memory_id: int
    old: str | None
    new: str | None


class Span(Record):
    """What a search is limited to: one speaker by the exact name, and what was said from ``since`` to before ``until``.

    A memory counts as said by whom its latest turn was said, and then. What has no date is in no span of time.
    """

    speaker: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Candidate(Record):
    """One thing that retrieval found: a memory, or a raw turn that no memory covers; and why it was found.

    ``turn`` is the raw turn behind a memory's present text, or the turn itself; ``turns`` are all that a memory was
    written from, the latest first, also those whose words a later one replaced. ``score`` is what the order goes by,
    good for nothing else: ``word_score`` and ``vector_score``, added, and raised where the question names the speaker
    (``speaker_named``) or the day (``day_named``).

    Ranks count from 1 among what was found, and are None where that leg did not find it. ``words`` are those of the
    question that stand in the text itself, and ``cosine`` is its own. ``word_score`` also counts the words of the turn
    that a memory was written from and, for less, of turns close by, each word by its rarity; ``vector_score`` likewise
    their cosines. Both are shares of the best.
    """

    kind: Literal["memory", "turn"]
    id: int
    text: str
    at: datetime | None = None
    speaker: str | None = None
    turn: Message | None = None
    turns: tuple[Message, ...] = ()
    score: float = 0.0
    vector_rank: int | None = None
    keyword_rank: int | None = None
    vector_score: float = 0.0
    word_score: float = 0.0
    cosine: float | None = None
    words: tuple[str, ...] = ()
    speaker_named: bool = False
    day_named: bool = False


class Timings(Record):
    """Seconds spent in each step of a call."""

    retrieve: float = 0.0
    think: float = 0.0
    store: float = 0.0


class Reply(Record):
    """What an Answer Agent said: the ordinals it distilled, counted from 0 into its candidates, and the answer."""

    text: str
    known: bool
    cited: tuple[int, ...] = ()
    confidence: float | None = None
    model: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0


class Answer(Record):
    """The answer to a question, with what it rests on.

    ``known`` is False where nothing relevant was found; ``text`` then says so. ``timed_out`` says that the deadline
    passed before the agent had answered: then the candidates are all there is, if they were found in time.
    ``left_out`` counts the candidates that were found and not shown to the agent, because they did not fit into its
    context.
    """

    text: str
    known: bool
    cited: tuple[Candidate, ...]
    candidates: tuple[Candidate, ...]
    timings: Timings = Timings()
    confidence: float | None = None
    model: str | None = None
    timed_out: bool = False
    left_out: int = 0
