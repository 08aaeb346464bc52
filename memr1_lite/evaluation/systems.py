"""What is compared: our memory in its variants, and what a user would have without it, all with one Answer Agent.

A system finds candidates for a question; how it answers from them is the same for all but the two that vary just that.
Those that keep memories name a *bank*: systems with the same bank share it, and it is built once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from memr1_lite.bank import MemoryBank
from memr1_lite.decision_flow import Manager
from memr1_lite.embedders import keywords
from memr1_lite.evaluation.benchmark import Talk
from memr1_lite.llm import MAX_SHOWN, Embedder
from memr1_lite.records import Add, Candidate, Decision, Memory, Message, Noop, Record, Update
from memr1_lite.retriever import spoken
from memr1_lite.store import Store

BankName = Literal["turns", "add-only", "managed", "prompted"]
Find = Callable[[str, int], list[Candidate]]


class System(Record):
    """One row of the table.

    ``bank`` is what it looks in, ``shows`` which of the things found, ``distil`` whether the Answer Agent names the
    candidates that matter before it answers.
    """

    name: str
    bank: BankName
    finds: Literal["hybrid", "memories", "vectors", "bm25", "everything"]
    distil: bool = True
    about: str


BASELINES = (
    System(
        name="full context",
        bank="turns",
        finds="everything",
        about="all turns, the oldest cut until they fit into the context",
    ),
    System(name="rag", bank="turns", finds="vectors", about="turns by vector alone"),
    System(name="bm25", bank="turns", finds="bm25", about="turns by keyword alone"),
    System(name="add-only", bank="add-only", finds="hybrid", about="memories are added, never updated or deleted"),
)
OURS = (
    System(name="ours", bank="managed", finds="hybrid", about="memories, and turns that no memory covers"),
    System(name="ours, no distillation", bank="managed", finds="hybrid", distil=False, about="answers at once"),
    System(name="ours, memories only", bank="managed", finds="memories", about="no raw turns"),
    System(name="ours, turns only", bank="turns", finds="hybrid", about="our retrieval over raw turns, no memories"),
)
PROMPTED = System(name="prompted", bank="prompted", finds="hybrid", about="both agents untrained, by prompt alone")


class AddOnly:
    """A Manager that can only add: what another would write over is written beside it, and nothing is deleted."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """The other Manager's decision, as additions."""
        decision = self._manager.decide(message, similar)
        texts = [operation.text for operation in decision.operations if isinstance(operation, Add | Update)]
        added = tuple(Add(op="ADD", text=text) for text in texts)
        return decision.model_copy(update={"operations": added or (Noop(op="NOOP"),)})


def finder(system: System, bank: MemoryBank, store: Store, talk: Talk, embedder: Embedder) -> Find:
    """How ``system`` finds candidates for a question: a function of the question and how many are wanted.

    :param store: the file of ``bank``, opened to read
    """
    if system.finds == "hybrid":
        return bank.search
    if system.finds == "memories":
        return lambda question, k: _memories(bank, question, k)
    messages = [message for turn in talk.turns if (message := store.message_by_source(turn.source_id)) is not None]
    if system.finds == "everything":
        return lambda question, k: in_blocks(messages)
    if system.finds == "bm25":
        return lambda question, k: _said(store, store.keyword_search("turn", keywords(question), k))
    vectors = embedder.embed([spoken(message.speaker, message.text) for message in messages])
    return lambda question, k: _nearest(messages, vectors, embedder, question, k)


def in_blocks(messages: Sequence[Message]) -> list[Candidate]:
    """A whole conversation as at most as many candidates as can be shown, the latest first, several turns in each."""
    size = max(1, math.ceil(len(messages) / MAX_SHOWN))
    starts = range(0, len(messages), size)
    return [_block(messages[start : start + size]) for start in reversed(starts)]


def _block(messages: Sequence[Message]) -> Candidate:
    text = " / ".join(spoken(message.speaker, message.text) for message in messages)
    return Candidate(
        kind="memory", id=messages[0].id, text=text, at=messages[0].at, turn=messages[0], turns=tuple(messages)
    )


def _memories(bank: MemoryBank, question: str, k: int) -> list[Candidate]:
    return [found for found in bank.search(question, 4 * k) if found.kind == "memory"][:k]


def _said(store: Store, ids: Sequence[int]) -> list[Candidate]:
    turns = store.fetch_messages(list(ids))
    return [_turn(turns[number]) for number in ids if number in turns]


def _nearest(
    messages: Sequence[Message], vectors: npt.NDArray[np.float32], embedder: Embedder, question: str, k: int
) -> list[Candidate]:
    closeness = vectors @ embedder.embed([question])[0]
    return [_turn(messages[index]) for index in np.argsort(-closeness, kind="stable")[:k]]


def _turn(message: Message) -> Candidate:
    return Candidate(
        kind="turn",
        id=message.id,
        text=message.text,
        at=message.at,
        speaker=message.speaker,
        turn=message,
        turns=(message,),
    )
