"""The two environments: what an agent is shown, and what its completions earn.

A whole group is scored at once, from one task: the same bank, the same questions, a greedy answerer. Equal completions
therefore earn exactly the same, and what a group's rewards differ by is owed to its completions alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from memr1_lite.answer_agent import UNKNOWN, parse_reply
from memr1_lite.dates import resolved
from memr1_lite.memory_manager import ManagerTemplate, manager_prompt, parse_operations
from memr1_lite.records import Add, Candidate, Memory, Message, Noop, Operation, Reply
from train_ref.answering import Asked, CachedAnswerer, answerer_prompt
from train_ref.banks import Bank
from train_ref.config import Config
from train_ref.rewards import answer_reward, growth_penalty, is_right, manager_reward
from train_ref.rollout import Group, Prompt, Rollout

Task = TypeVar("Task")
QuestionAnswer = tuple[str, str | None]
"""A question with its right answer, None where nothing known answers it."""


@dataclass(frozen=True)
class ManagerTask:
    """A message, the bank as it stood, what is shown of it, and the questions that depend on what is done.

    ``right`` are the right operations, where the source of the task knows them: for comparison, never for reward.
    """

    message: Message
    bank: Bank
    shown: tuple[Memory, ...]
    questions: tuple[QuestionAnswer, ...]
    right: tuple[Operation, ...] | None = None


@dataclass(frozen=True)
class AnswererTask:
    """A question, the candidates shown with it, and the right answer."""

    question: str
    candidates: tuple[Candidate, ...]
    answer: str | None


@dataclass(frozen=True)
class Judged:
    """Rewards (P, G) and figures to log, as sums over completions: ``exact_match`` and, of a Manager, ``growth_cost``
    are the parts of the reward."""

    rewards_PG: Tensor
    sums: Counter[str]


class Environment(Protocol, Generic[Task]):
    """Tasks to prompts, completions to rewards."""

    def prompt(self, task: Task) -> Prompt:
        """What the agent is asked."""

    def judge(self, tasks: Sequence[Task], groups: Sequence[Group]) -> Judged:
        """What the completions of each task earn."""

    def constant_policies(self, tasks: Sequence[Task]) -> dict[str, float]:
        """Mean rewards of policies that do not look at the task: one that wins shows a bad reward."""


class ManagerEnvironment:
    """Operations change the bank, a frozen Answer Agent answers from it, and the answers are compared."""

    def __init__(
        self, answerer: CachedAnswerer, config: Config, candidates: int = 60, instructions: str | None = None
    ) -> None:
        self._answerer, self._config, self._candidates = answerer, config, candidates
        self._instructions = instructions

    def prompt(self, task: ManagerTask) -> Prompt:
        """The Manager's own prompt and template."""
        return Prompt(manager_prompt(task.message, task.shown, self._instructions), ManagerTemplate(len(task.shown)))

    def judge(self, tasks: Sequence[ManagerTask], groups: Sequence[Group]) -> Judged:
        """Reward of every completion; one that did not end earns nothing."""
        done = [
            [self.operations(task, rollout) for rollout in group.rollouts]
            for task, group in zip(tasks, groups, strict=True)
        ]
        sums: Counter[str] = Counter()
        for row in done:
            for operations in row:
                sums["malformed"] += operations is None
                sums.update(f"op_{operation.op}" for operation in operations or ())
        rewards = self._rewards(
            [(task, operations) for task, row in zip(tasks, done, strict=True) for operations in row], sums
        )
        return Judged(torch.tensor(rewards).view(len(tasks), -1), sums)

    def constant_policies(self, tasks: Sequence[ManagerTask]) -> dict[str, float]:
        """Always NOOP, always ADD the message as it stands, and, where it is known, what is right."""
        policies = {
            "always NOOP": [(task, (Noop(op="NOOP"),)) for task in tasks],
            "always ADD": [(task, (Add(op="ADD", text=spoken(task.message)),)) for task in tasks],
            "right operations": [(task, task.right) for task in tasks if task.right is not None],
        }
        return {
            name: sum(rewards) / len(rewards)
            for name, pairs in policies.items()
            if pairs and (rewards := self._rewards(pairs, Counter()))
        }

    def judge_operations(self, tasks: Sequence[ManagerTask], done: Sequence[tuple[Operation, ...]]) -> Judged:
        """Reward of one decision for each task. (P, 1)."""
        sums: Counter[str] = Counter()
        rewards = self._rewards(list(zip(tasks, done, strict=True)), sums)
        return Judged(torch.tensor(rewards).view(len(tasks), 1), sums)

    @staticmethod
    def operations(task: ManagerTask, rollout: Rollout) -> tuple[Operation, ...] | None:
        """What a completion says; None where it did not end."""
        return parse_operations(rollout.values, task.shown) if rollout.ended else None

    def _rewards(
        self, pairs: Sequence[tuple[ManagerTask, tuple[Operation, ...] | None]], sums: Counter[str]
    ) -> list[float]:
        """All questions of all banks in one call, so that the answerer can batch them and find what it knows."""
        banks = [None if done is None else task.bank.after(done, task.message) for task, done in pairs]
        asked: list[Asked] = [
            (question, bank.candidates(question, self._candidates))
            for (task, _), bank in zip(pairs, banks, strict=True)
            if bank is not None
            for question, _ in task.questions
        ]
        replies = iter(self._answerer.answer_all(asked))
        rewards = []
        for (task, _), bank in zip(pairs, banks, strict=True):
            if bank is None:
                rewards.append(0.0)
                continue
            answers = [(next(replies), gold) for _, gold in task.questions]
            earned = [answer_reward(reply, gold, self._config) for reply, gold in answers]
            grown = len(bank.memories) - len(task.bank.memories)
            # The parts of the reward apart: which of them a curve owes its rise to is not to be guessed.
            sums["grown"] += grown
            sums["exact_match"] += sum(is_right(reply, gold) for reply, gold in answers) / len(answers)
            sums["growth_cost"] += growth_penalty(grown, self._config)
            rewards.append(manager_reward(earned, grown, self._config))
        return rewards


class AnswererEnvironment:
    """The reply is compared with the right answer."""

    def __init__(self, config: Config, instructions: str | None = None, *, distil: bool = True) -> None:
        self._config, self._instructions, self._distil = config, instructions, distil

    def prompt(self, task: AnswererTask) -> Prompt:
        """The Answer Agent's own prompt and template."""
        return answerer_prompt(task.question, task.candidates, self._instructions, distil=self._distil)

    def judge(self, tasks: Sequence[AnswererTask], groups: Sequence[Group]) -> Judged:
        """Reward of every completion; one that did not end earns nothing."""
        sums: Counter[str] = Counter()
        rewards = []
        for task, group in zip(tasks, groups, strict=True):
            for rollout in group.rollouts:
                reply = parse_reply(rollout.values) if rollout.ended else None
                sums["malformed"] += reply is None
                sums["unknown"] += reply is not None and not reply.known
                sums["exact_match"] += reply is not None and is_right(reply, task.answer)
                sums["cited"] += len(reply.cited) if reply else 0
                rewards.append(0.0 if reply is None else answer_reward(reply, task.answer, self._config))
        return Judged(torch.tensor(rewards).view(len(tasks), -1), sums)

    def constant_policies(self, tasks: Sequence[AnswererTask]) -> dict[str, float]:
        """Never knowing, always yes."""
        replies = {"always NONE": Reply(text=UNKNOWN, known=False), "always yes": Reply(text="yes", known=True)}
        return {
            name: sum(answer_reward(reply, task.answer, self._config) for task in tasks) / len(tasks)
            for name, reply in replies.items()
        }


def spoken(message: Message) -> str:
    """A message as a memory that merely repeats it."""
    return f"{message.speaker}: {resolved(message.text, message.at)}"
