"""Agents that count what they cost, and answer from as many candidates as fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memr1_lite.errors import ContextOverflowError
from memr1_lite.evaluation.operations import made_up
from memr1_lite.records import Candidate, Decision, Memory, Message, Reply


class BothAgents(Protocol):
    """What is measured; :class:`~memr1_lite.file_agents.FileAgents` is one."""

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """Choose the operations for ``message``."""

    def answer(self, question: str, candidates: Sequence[Candidate], *, distil: bool = True) -> Reply:
        """Answer ``question`` from ``candidates``."""

    def close(self) -> None:
        """Free the models."""


@dataclass
class Cost:
    """Model calls and their tokens; seconds are those of the whole call.

    ``unsaid`` counts the words that the Manager made up; None where it wrote nothing.
    """

    calls: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    unsaid: int | None = None


class CountedAgents:
    """The agents, with what they cost since :meth:`take` was last called."""

    def __init__(self, agents: BothAgents) -> None:
        self._agents = agents
        self._cost = Cost()

    def take(self) -> Cost:
        """The cost so far; counting begins anew."""
        cost, self._cost = self._cost, Cost()
        return cost

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """Choose the operations for ``message``."""
        began = time.perf_counter()
        self._cost.calls += 1
        try:
            decision = self._agents.decide(message, similar)
        finally:
            self._cost.seconds += time.perf_counter() - began
        self._count(decision)
        words = made_up(decision.operations, message, similar)
        if words is not None:
            self._cost.unsaid = len(words) + (self._cost.unsaid or 0)
        return decision

    def answer(self, question: str, candidates: Sequence[Candidate], *, distil: bool = True) -> Reply:
        """Answer ``question`` from ``candidates``."""
        began = time.perf_counter()
        self._cost.calls += bool(candidates)
        try:
            reply = self._agents.answer(question, candidates, distil=distil)
        except ContextOverflowError:  # raised before the model runs
            self._cost.calls -= 1
            raise
        finally:
            self._cost.seconds += time.perf_counter() - began
        self._count(reply)
        return reply

    def answer_fitting(
        self, question: str, candidates: Sequence[Candidate], distil: bool = True
    ) -> tuple[Sequence[Candidate], Reply]:
        """Answer from the first candidates that fit into the model's context; and which those were."""
        while True:
            try:
                return candidates, self.answer(question, candidates, distil=distil)
            except ContextOverflowError as error:
                fitting = min(len(candidates) * error.available // error.needed, len(candidates) - 1)
                if fitting < 1:
                    raise
                candidates = candidates[:fitting]

    def _count(self, done: Decision | Reply) -> None:
        self._cost.prompt_tokens += done.prompt_tokens
        self._cost.output_tokens += done.output_tokens
