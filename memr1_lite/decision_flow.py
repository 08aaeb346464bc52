"""What becomes of a recorded turn: the gate, the similar memories, the Manager's decision, one transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, time
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from memr1_lite.config import BankConfig
from memr1_lite.control import current_call
from memr1_lite.embedders import keywords
from memr1_lite.errors import ContextOverflowError, MemoryNotFoundError, StaleDecisionError
from memr1_lite.gate import is_chit_chat, says_the_same
from memr1_lite.llm import Embedder
from memr1_lite.records import Add, Change, Decision, Delete, Memory, Message, Noop, Update
from memr1_lite.retriever import Retriever, spoken
from memr1_lite.store import Store

EARLIER_TURNS = 20
"""Turns looked at for an exact duplicate: the best keyword matches, among which the same words stand first."""


class Manager(Protocol):
    """What the bank asks of a Memory Manager; :class:`~memr1_lite.memory_manager.MemoryManager` is one."""

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """Choose the operations for ``message``."""


class DecisionFlow:
    """Brings a turn to its change. Nobody else waits while the Manager thinks: neither readers nor the database."""

    def __init__(
        self, store: Store, retriever: Retriever, embedder: Embedder, manager: Manager, config: BankConfig
    ) -> None:
        self._store = store
        self._retriever = retriever
        self._embedder = embedder
        self._manager = manager
        self._config = config
        # One decision after another: two like messages at once would each add what the other is about to write.
        self._turn = threading.RLock()

    def decide(self, message: Message, *, late: bool = False) -> Change:
        """The change that ``message`` brings about, or has brought about. What was said after it stands.

        :param late: the turn has waited: what was recorded after it counts as said after it, where dates do not tell
        """
        with current_call().holding(self._turn):
            return self._decide(message, late)

    def _decide(self, message: Message, late: bool) -> Change:
        change = self._decided(message)
        if change is None and self._gated(message):
            nothing = Decision(operations=(Noop(op="NOOP"),))
            return self._apply(message, nothing, "gate")
        again = 0
        while change is None:
            decision, similar = self._considered(message)
            decision = _without_overwriting(decision, message, similar, late)
            try:
                change = self._apply(message, decision, "manager")
            except (StaleDecisionError, MemoryNotFoundError):
                again += 1
                if again > self._config.decide_again:
                    raise
        return change

    def _considered(self, message: Message) -> tuple[Decision, Sequence[Memory]]:
        """The Manager's decision, and the memories that it was shown: the most similar, as many as fit its context."""
        similar = self._retriever.similar(message.text, message.speaker, self._config.similar)
        while True:
            try:
                return self._manager.decide(message, similar), similar
            except ContextOverflowError as error:  # raised before the model runs
                if not similar:
                    raise
                # Not all that is needed is memories, so that this share of them may still be too many.
                similar = similar[: min(len(similar) * error.available // error.needed, len(similar) - 1)]

    def _apply(self, message: Message, decision: Decision, reason: Literal["manager", "gate"]) -> Change:
        # A turn has its vector since it was recorded, unless its embedder failed then.
        has_vector = len(self._store.vectors("turn", [message.id])[0]) == 1
        texts = [operation.text for operation in decision.operations if isinstance(operation, Add | Update)]
        return self._store.apply(
            decision.operations,
            message_id=message.id,
            reason=reason,
            vectors={text: self._embed(text) for text in texts},
            turn_vector=None if has_vector else self._embed(spoken(message.speaker, message.text)),
            model=decision.model,
            confidence=decision.confidence,
        )

    def _decided(self, message: Message) -> Change | None:
        return self._store.change_of_message(message.id)

    def _gated(self, message: Message) -> bool:
        """Whether ``message`` is chit-chat, or repeats an earlier turn all of whose effects still stand."""
        if is_chit_chat(message.text):
            return True
        ids = self._store.keyword_search("turn", keywords(message.text), EARLIER_TURNS)
        return any(
            earlier.speaker == message.speaker
            and earlier.id < message.id
            and says_the_same(message.text, message.at, earlier.text, earlier.at)
            and self._stands(earlier)
            for earlier in self._store.fetch_messages(ids).values()
        )

    def _stands(self, message: Message) -> bool:
        """Whether what the Manager wrote because of ``message`` is still what the memories say."""
        change = self._decided(message)
        if change is None:
            return False
        # A NOOP depended on what was known then, and a deletion on what was there: neither says that it holds now.
        written = {operation.memory_id: operation.new_text for operation in change.operations}
        live = self._store.fetch_memories([memory_id for memory_id in written if memory_id is not None])
        return all(
            memory_id is not None and memory_id in live and live[memory_id].text == text
            for memory_id, text in written.items()
        )

    def _embed(self, text: str) -> npt.NDArray[np.float32]:
        vector: npt.NDArray[np.float32] = self._embedder.embed([text])[0]
        return vector


def in_order_said(messages: Sequence[Message]) -> list[Message]:
    """Turns by when they were said; one without a date was said when the one recorded before it was."""
    said, last = list[tuple[datetime, Message]](), datetime.min
    for message in messages:
        last = message.at or last
        said.append((last, message))
    return [message for _, message in sorted(said, key=lambda one: (one[0], one[1].id))]


def _without_overwriting(decision: Decision, message: Message, similar: Sequence[Memory], late: bool) -> Decision:
    """The decision without what would write an older fact over a newer one: the Manager sees no memory's date."""
    newer = {memory.id for memory in similar if _said_later(memory, message, late)}
    kept = tuple(
        operation
        for operation in decision.operations
        if not (isinstance(operation, Update | Delete) and operation.memory_id in newer)
    )
    if len(kept) == len(decision.operations):
        return decision
    return decision.model_copy(update={"operations": kept or (Noop(op="NOOP"),)})


def _said_later(memory: Memory, message: Message, late: bool) -> bool:
    """Whether a memory's text was said after ``message``: on a later day, or the same day at a later time.

    Dates do not tell where one is missing, or where one of two on the same day has no time, which reads as midnight.
    """
    one, other = memory.at, message.at
    if one is not None and other is not None and one != other:
        undecided = one.date() == other.date() and time.min in (one.time(), other.time())
        if not undecided:
            return one > other
    return late and memory.message_id is not None and memory.message_id > message.id
