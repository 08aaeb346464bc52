"""What is said to a bank: kept at once, and decided about now or later."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import date, datetime

from memr1_lite.config import BankConfig
from memr1_lite.control import Calls
from memr1_lite.dates import as_datetime
from memr1_lite.decision_flow import DecisionFlow, Manager, in_order_said
from memr1_lite.errors import InvalidInputError, ModelError, ModelLoadError
from memr1_lite.gate import check_line, check_text
from memr1_lite.later import Later, Progress
from memr1_lite.ledger import Ledger
from memr1_lite.llm import Embedder
from memr1_lite.machine import wants_rest
from memr1_lite.records import DEFAULT_SPEAKER, Change, Message, Turn
from memr1_lite.retriever import Retriever, Vector, spoken
from memr1_lite.store import Store

MAX_SPEAKER_CHARS = 80
MAX_SOURCE_ID_CHARS = 1_000


class Intake(Ledger):
    """The side of a bank that is told things: :class:`~memr1_lite.bank.MemoryBank` adds asking."""

    def __init__(
        self, store: Store, retriever: Retriever, embedder: Embedder, memory_manager: Manager, config: BankConfig
    ) -> None:
        super().__init__(store, retriever, embedder)
        self._config = config
        self._flow = DecisionFlow(store, retriever, embedder, memory_manager, config)
        self._calls = Calls()
        self._later = Later(
            lambda: in_order_said(self.pending()),
            lambda message: self._flow.decide(message, late=True),
            rests=wants_rest if config.background == "idle" else lambda: False,
        )

    def remember(
        self,
        text: str,
        *,
        speaker: str = DEFAULT_SPEAKER,
        at: str | date | datetime | None = None,
        source_id: str | None = None,
        deadline: float | None = None,
    ) -> Change:
        """Keep what ``speaker`` said, and let the Memory Manager decide what it means for the memories.

        The turn itself is written first: where a model fails, the turn stays, is found by :meth:`search`, and
        :meth:`remember_pending` decides about it later.

        What was said after it, by ``at``, stands: a turn of an old log, told today, may add what it says, but cannot
        rewrite or delete a memory that was written from a later turn. Where dates do not tell, a pending turn
        that is told again under its ``source_id`` was said when it was recorded.

        Where the memories most like it do not fit into the model's context, the Manager is shown fewer of them, best
        first, and may then add what is known already.

        :param at: when it was said, on the speaker's own clock: a datetime, a date or ISO 8601 text
        :param source_id: the caller's own id of the turn; the same one again decides nothing twice
        :param deadline: seconds that it may take
        :raises InvalidInputError: before anything is written
        :raises ModelError: the turn is kept, and no decision about it; a
            :class:`~memr1_lite.errors.DeadlineError` where the deadline passed, a ContextOverflowError where the turn
            alone does not fit into the model's context
        """
        with self._calls.limited(deadline):
            message, waited = self._recorded(text, speaker, at, source_id)
            return self._flow.decide(message, late=waited)

    def remember_later(
        self,
        text: str,
        *,
        speaker: str = DEFAULT_SPEAKER,
        at: str | date | datetime | None = None,
        source_id: str | None = None,
    ) -> Message:
        """Keep what ``speaker`` said, and decide about it in the background, after what is pending already.

        It is kept when this returns: after a crash, pending turns are decided about at the next
        :meth:`remember_later`, :meth:`flush` or :meth:`remember_pending`. A question never waits for more than the
        decision under way. With ``BankConfig(background="idle")`` decisions also wait while the machine is busy or on
        battery, :meth:`flush` and :meth:`remember_pending` do not.

        :raises InvalidInputError: before anything is written
        """
        message = self.record(text, speaker=speaker, at=at, source_id=source_id)
        self._later.wake()
        return message

    def flush(self, progress: Progress | None = None) -> int:
        """Wait until every pending turn was decided about, those kept by :meth:`record` too; returns how many were.

        :param progress: is told how many were, and how many are left, as it goes
        :raises ModelError: the first failure; turns that the model could not decide about are still pending
        :raises StoreError: the file cannot be written; the rest is still pending
        """
        self._open_store()
        return self._later.flush(progress)

    def cancel(self) -> None:
        """Stop every call under way, from any thread: each raises :class:`~memr1_lite.errors.CallCancelledError`.

        A turn that was being decided about stays pending. Later calls are not touched.
        """
        self._calls.cancel()
        self._later.cancel()

    def record(
        self,
        text: str,
        *,
        speaker: str = DEFAULT_SPEAKER,
        at: str | date | datetime | None = None,
        source_id: str | None = None,
    ) -> Message:
        """Keep what ``speaker`` said without deciding about it: :meth:`remember_pending` does so later.

        :raises InvalidInputError: before anything is written
        """
        return self._recorded(text, speaker, at, source_id)[0]

    def record_many(self, turns: Sequence[Turn]) -> builtins.list[Message]:
        """Keep turns as :meth:`record` does, embedded together and written in one transaction.

        :raises InvalidInputError: one of them cannot be kept, and none was
        """
        store = self._open_store()
        for turn in turns:
            self._check(turn.text, turn.speaker, turn.source_id)
        new = {turn.source_id: turn for turn in turns if store.message_by_source(turn.source_id) is None}
        vectors = dict[str, Vector]()
        try:
            if new:
                embedded = self._embedder.embed([spoken(turn.speaker, turn.text) for turn in new.values()])
                vectors = dict(zip(new, store.sound(embedded, len(new)), strict=True))
        finally:  # kept also where the embedder fails, as one is
            with store.transaction():
                messages = [
                    store.record(turn.speaker, turn.text, turn.at, turn.source_id, vector=vectors.get(turn.source_id))
                    for turn in turns
                ]
                for message, turn in zip(messages, turns, strict=True):
                    _refuse_another(message, turn.text, turn.speaker)
        return messages

    def _recorded(
        self, text: str, speaker: str, at: str | date | datetime | None, source_id: str | None
    ) -> tuple[Message, bool]:
        """The turn, and whether it was there before."""
        store = self._open_store()
        self._check(text, speaker, source_id)
        said = as_datetime(at)
        message = None if source_id is None else store.message_by_source(source_id)
        known = message is not None
        if message is None:
            vector = None
            try:
                vector = store.sound(self._embedder.embed([spoken(speaker, text)]), 1)[0]
            finally:  # the turn is kept also where its embedder fails, or is interrupted
                message = store.record(speaker, text, said, source_id, vector=vector)
        _refuse_another(message, text, speaker)
        return message, known

    def _check(self, text: str, speaker: str, source_id: str | None) -> None:
        check_text(text, "text", self._config.max_message_chars)
        check_line(speaker, "speaker", limit=MAX_SPEAKER_CHARS)
        if source_id is not None:
            check_line(source_id, "source_id", limit=MAX_SOURCE_ID_CHARS)

    def remember_pending(self) -> builtins.list[Change]:
        """Decide about every turn that is still pending, in the order they were said.

        A turn that the model cannot decide about stays pending and the rest go on; the first such failure is raised
        at the end. What was said after a turn stands, as in :meth:`remember`; where dates do not tell, so does what
        was recorded after it.

        :raises ModelError: some turns are still pending
        """
        changes: builtins.list[Change] = []
        first: ModelError | None = None
        for message in in_order_said(self.pending()):
            try:
                changes.append(self._flow.decide(message, late=True))
            except ModelLoadError:  # no later turn would fare better
                raise
            except ModelError as error:
                first = first or error
        if first is not None:
            raise first
        return changes

    def _stop_deciding(self) -> None:
        self._later.stop()


def _refuse_another(message: Message, text: str, speaker: str) -> None:
    if (message.speaker, message.text) != (speaker, text):
        raise InvalidInputError(f"source_id={message.source_id!r} already stands for another turn: {message.text!r}.")
