"""The hand-phrased set: single messages in people's own words, each with what a right decision does.

``hand_phrased.jsonl`` was written by somebody who had not seen the generator that the bundled agents are trained on,
and no training code may read it (``tests/test_hand.py`` checks that). A line is a :class:`HandCase`. Two things are
measured, and kept apart:

- *decisions*: the Manager alone, on the memories of the line, in its order;
- *answers*: a bank that holds those memories, the message remembered, then the question asked: gate, retrieval, both
  agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from importlib import resources
from typing import Protocol

from memr1_lite.bank import Answerer, MemoryBank
from memr1_lite.config import BankConfig
from memr1_lite.dates import as_datetime
from memr1_lite.decision_flow import Manager
from memr1_lite.embedders import stem, words
from memr1_lite.errors import ModelError, ModelLoadError
from memr1_lite.evaluation.metrics import same_items
from memr1_lite.evaluation.operations import (
    Expected,
    expected,
    made_up,
    named_memories,
    same_operations,
    text_of,
)
from memr1_lite.opening import IN_MEMORY
from memr1_lite.records import Add, Decision, Memory, Message, Record

EARLIER = timedelta(days=30)
"""How long before the message its memories were written."""


class Agents(Manager, Answerer, Protocol):
    """Both agents, as :class:`~memr1_lite.file_agents.FileAgents` are."""


class HandCase(Record):
    """One message.

    ``right`` names memories by their place in ``memories``, from 1. ``holds`` has one entry per operation that writes:
    the words that its text must hold. ``answers`` are all right answers to ``question``; none means not known.
    """

    kind: str
    memories: tuple[str, ...]
    speaker: str
    at: date
    message: str
    right: tuple[Expected, ...]
    holds: tuple[tuple[str, ...], ...]
    question: str
    answers: tuple[str, ...]


class HandResult(Record):
    """What became of a case. ``memory``, ``held`` and ``unsaid`` are None where nothing was to be named or written."""

    kind: str
    message: str
    right: tuple[Expected, ...]
    done: tuple[Expected, ...]
    texts: tuple[str, ...]
    operation: bool
    memory: bool | None
    held: bool | None
    unsaid: tuple[str, ...] | None
    question: str
    answer: str
    answered: bool
    error: str | None = None


def hand_cases() -> list[HandCase]:
    """The set, in the order of its file."""
    text = (resources.files("memr1_lite.evaluation") / "hand_phrased.jsonl").read_text(encoding="utf-8")
    return [HandCase.model_validate_json(line) for line in text.splitlines()]


def measure_hand(
    cases: Sequence[HandCase], agents: Agents, config: BankConfig | None = None, done: Callable[[], None] = lambda: None
) -> Iterator[HandResult]:
    """Measure every case; a model's failure is a wrong result that says so, a model that cannot be loaded is raised.

    :param done: called after each case
    :raises ModelLoadError: an agent cannot be loaded
    """
    for case in cases:
        shown = [Memory(id=number, text=text) for number, text in enumerate(case.memories, start=1)]
        message = Message(id=1, speaker=case.speaker, text=case.message, at=as_datetime(case.at))
        decision, failure = _decided(message, shown, agents)
        operations = () if decision is None else decision.operations
        chosen = tuple(expected(operation) for operation in operations)
        texts = tuple(text for operation in operations if (text := text_of(operation)))
        same = decision is not None and same_operations(case.right, chosen)
        invented = made_up(operations, message, shown)
        said, answered, broken = _answered(case, agents, config)
        yield HandResult(
            kind=case.kind,
            message=case.message,
            right=case.right,
            done=chosen,
            texts=texts,
            operation=same,
            memory=named_memories(case.right) == named_memories(chosen)
            if same and named_memories(case.right)
            else None,
            held=all(any(holds(text, parts) for text in texts) for parts in case.holds) if case.holds else None,
            unsaid=None if invented is None else tuple(invented),
            question=case.question,
            answer=said,
            answered=answered,
            error=failure or broken,
        )
        done()


def holds(text: str, parts: Sequence[str]) -> bool:
    """Whether ``text`` holds each of ``parts``, word by word in that order; forms of a word count as the word."""
    return all(_stems(part) in _stems(text) for part in parts)


def right_answer(said: str, known: bool, answers: Sequence[str]) -> bool:
    """Whether an answer is one of ``answers``, items of a list in any order; with none, whether it says not known."""
    return known and any(same_items(said, right) for right in answers) if answers else not known


class _Remembering:
    """A Manager that writes the memories of a case down as they are, and leaves its message to another."""

    def __init__(self, seeds: Sequence[str], manager: Manager) -> None:
        self._seeds = frozenset(seeds)
        self._manager = manager

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        if message.text in self._seeds:
            return Decision(operations=(Add(op="ADD", text=message.text),))
        return self._manager.decide(message, similar)


def _decided(message: Message, shown: Sequence[Memory], agents: Agents) -> tuple[Decision | None, str | None]:
    try:
        return agents.decide(message, shown), None
    except ModelLoadError:
        raise
    except ModelError as error:
        return None, str(error)


def _answered(case: HandCase, agents: Agents, config: BankConfig | None) -> tuple[str, bool, str | None]:
    manager = _Remembering(case.memories, agents)
    with MemoryBank.open(IN_MEMORY, memory_manager=manager, answer_agent=agents, config=config) as bank:
        for text in case.memories:
            bank.remember(text, speaker=_whose(text, case.speaker), at=case.at - EARLIER)
        try:
            bank.remember(case.message, speaker=case.speaker, at=case.at)
            answer = bank.ask(case.question)
        except ModelLoadError:
            raise
        except ModelError as error:
            return "", False, str(error)
    return answer.text, right_answer(answer.text, answer.known, case.answers), None


def _whose(memory: str, speaker: str) -> str:
    return speaker if memory.startswith(speaker) else memory.split()[0].removesuffix("'s")


def _stems(text: str) -> str:
    return f" {' '.join(stem(word) for word in words(text))} "
