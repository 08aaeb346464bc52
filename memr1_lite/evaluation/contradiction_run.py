"""Runs the contradiction suite: each history in a bank of its own, through the SDK, every result kept at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from memr1_lite.bank import MemoryBank
from memr1_lite.config import BankConfig
from memr1_lite.errors import ModelError, ModelLoadError
from memr1_lite.evaluation.contradictions import Ask, History, Said, holding, leaks, right_reply
from memr1_lite.evaluation.hand import Agents
from memr1_lite.evaluation.operations import Expected, named_memories, same_operations
from memr1_lite.evaluation.run_files import RunFolder
from memr1_lite.llm import Embedder
from memr1_lite.opening import IN_MEMORY
from memr1_lite.records import (
    Add,
    AppliedOperation,
    Candidate,
    Change,
    Decision,
    Memory,
    Message,
    Record,
    Reply,
)

RESULTS = "histories.jsonl"
QUOTED = "quoted.jsonl"


class TurnResult(Record):
    """What became of a message. ``right`` is the defensible decision that ``done`` is nearest to.

    ``memory`` is whether the right memories were changed; None where there is none to name, or the operations differ.
    ``log`` is the change in words, as ``memr1 history`` prints it.
    """

    right: tuple[Expected, ...]
    done: tuple[Expected, ...]
    operation: bool
    memory: bool | None
    log: tuple[str, ...]
    error: str | None = None


class AskResult(Record):
    """What was answered. ``known`` is whether a fact was asked for, so that not to know is wrong."""

    question: str
    answers: tuple[str, ...]
    known: bool
    answer: str
    right: bool
    leaked: tuple[str, ...]
    error: str | None = None


class HistoryResult(Record):
    """What became of a history. ``leaked`` are the texts that a memory holds and must not."""

    id: str
    kind: str
    turns: tuple[TurnResult, ...]
    asks: tuple[AskResult, ...]
    memories: tuple[str, ...]
    leaked: tuple[str, ...]
    seconds: float

    @property
    def leaks(self) -> bool:
        """Whether a memory holds, or an answer says, what it must not."""
        return bool(self.leaked) or any(ask.leaked for ask in self.asks)

    @property
    def valid(self) -> bool:
        """Whether no model failed."""
        return all(turn.error is None for turn in self.turns) and all(ask.error is None for ask in self.asks)

    @property
    def upheld(self) -> bool:
        """Whether all is well in the end, by whatever operations: every answer right, nothing leaked, no failure."""
        return self.valid and not self.leaks and all(ask.right for ask in self.asks)


class Quoting:
    """What is compared with: no model at all. It adds every message, and answers with the best candidate's text."""

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """ADD what was said, as it was said."""
        return Decision(operations=(Add(op="ADD", text=f"{message.speaker}: {message.text}"),))

    def answer(self, question: str, candidates: Sequence[Candidate]) -> Reply:
        """The text of what was found first."""
        return Reply(text=candidates[0].text, known=True, cited=(0,))


def run_contradictions(
    suite: Sequence[History],
    agents: Agents,
    embedder: Embedder,
    folder: RunFolder,
    config: BankConfig | None = None,
    done: Callable[[int], None] = lambda _: None,
    name: str = RESULTS,
) -> list[HistoryResult]:
    """The results of ``suite``, in its order: those that ``folder`` has already, and the others measured now.

    A model's failure is a wrong result that says so.

    :param done: told how many histories were added to what is there
    :param name: the file of ``folder`` that keeps them: one for each pair of agents
    :raises ModelLoadError: an agent cannot be loaded
    """
    results = {result.id: result for result in folder.read(name, HistoryResult)}
    done(sum(history.id in results for history in suite))
    for history in suite:
        if history.id not in results:
            results[history.id] = play(history, agents, embedder, config)
            folder.append(name, results[history.id])
            done(1)
    return [results[history.id] for history in suite]


def play(history: History, agents: Agents, embedder: Embedder, config: BankConfig | None = None) -> HistoryResult:
    """Tell ``history`` to a new bank, then ask.

    :raises ModelLoadError: an agent cannot be loaded
    """
    began = time.perf_counter()
    with MemoryBank.open(
        IN_MEMORY, embedder=embedder, config=config, memory_manager=agents, answer_agent=agents
    ) as bank:
        written: dict[int, set[int]] = {}
        turns = [_told(bank, said, number, written) for number, said in enumerate(history.turns, start=1)]
        memories = tuple(memory.text for memory in bank.list())
        asks = [_asked(bank, ask) for ask in history.asks]
    return HistoryResult(
        id=history.id,
        kind=history.kind,
        turns=tuple(turns),
        asks=tuple(asks),
        memories=memories,
        leaked=holding(memories, history.gone),
        seconds=time.perf_counter() - began,
    )


def _told(bank: MemoryBank, said: Said, number: int, written: dict[int, set[int]]) -> TurnResult:
    """:param written: the messages that each memory was written from so far; ``number`` is added"""
    try:
        change = bank.remember(said.text, speaker=said.speaker, at=said.at)
    except ModelLoadError:
        raise
    except ModelError as error:
        return TurnResult(right=said.right[0], done=(), operation=False, memory=None, log=(), error=str(error))
    result = _compared(said, change, written)
    for operation in change.operations:
        if operation.memory_id is not None:
            written.setdefault(operation.memory_id, set()).add(number)
    return result


def _compared(said: Said, change: Change, written: Mapping[int, set[int]]) -> TurnResult:
    done = tuple(Expected(op=each.op, memory=max(_sources(each, written), default=None)) for each in change.operations)
    same = [right for right in said.right if same_operations(right, done)]
    found = [right for right in same if _right_memories(right, change.operations, written)]
    right = (found or same or said.right)[0]
    return TurnResult(
        right=right,
        done=done,
        operation=bool(same),
        memory=bool(found) if same and named_memories(right) else None,
        log=tuple(str(operation) for operation in change.operations),
    )


def _right_memories(
    right: Sequence[Expected], done: Sequence[AppliedOperation], written: Mapping[int, set[int]]
) -> bool:
    left = [each for each in right if each.memory is not None]
    for operation in done:
        turns = _sources(operation, written)
        match = next((each for each in left if each.op == operation.op and each.memory in turns), None)
        if match is not None:
            left.remove(match)
    return not left


def _sources(operation: AppliedOperation, written: Mapping[int, set[int]]) -> set[int]:
    """The messages that the memory of ``operation`` was written from; a new one has none."""
    return set() if operation.memory_id is None else written.get(operation.memory_id, set())


def _asked(bank: MemoryBank, ask: Ask) -> AskResult:
    answer, known, error = "", False, None
    try:
        answered = bank.ask(ask.question)
        answer, known = answered.text, answered.known
    except ModelLoadError:
        raise
    except ModelError as failure:
        error = str(failure)
    return AskResult(
        question=ask.question,
        answers=ask.answers,
        known=not ask.unknown,
        answer=answer,
        right=error is None and right_reply(ask, answer, known),
        leaked=leaks(ask, answer),
        error=error,
    )
