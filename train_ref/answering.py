"""The frozen Answer Agent that a Manager is rewarded through: greedy, batched, and never asked the same thing twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from memr1_lite.answer_agent import INSTRUCTIONS, UNKNOWN, AnswerAgent, AnswerTemplate, answer_prompt, parse_reply
from memr1_lite.errors import MalformedOutputError
from memr1_lite.llama import LlamaModel
from memr1_lite.records import Candidate, Reply
from train_ref.policy import OwnPolicy
from train_ref.rollout import Prompt, Sampler, sample

Asked = tuple[str, tuple[Candidate, ...]]
"""A question and the candidates shown with it: the key of the cache, for a greedy agent always says the same of it."""
LORA = "adapter_config.json"
"""What only the folder of a LoRA holds."""
UNANSWERED = Reply(text="", known=True)
"""An answer that did not end in time: it matches nothing, and does not pass for not knowing either."""


class Answerer(Protocol):
    """Whoever answers."""

    def answer_all(self, asked: Sequence[Asked]) -> list[Reply]:
        """One reply for each, in order."""


class PolicyAnswerer:
    """An Answer Agent from a checkpoint, many questions at a time."""

    def __init__(
        self,
        policy: Sampler,
        *,
        batch: int = 32,
        max_output: int = 80,
        instructions: str | None = None,
        distil: bool = True,
    ) -> None:
        self._policy, self._batch, self._max_output = policy, batch, max_output
        self._instructions, self._distil = instructions, distil

    def answer_all(self, asked: Sequence[Asked]) -> list[Reply]:
        """Greedily, those with prompts of like length together."""
        replies = [Reply(text=UNKNOWN, known=False)] * len(asked)  # without candidates no model runs
        order = [place for place in range(len(asked)) if asked[place][1]]
        order.sort(key=lambda place: sum(len(candidate.text) for candidate in asked[place][1]))
        for start in range(0, len(order), self._batch):
            places = order[start : start + self._batch]
            prompts = [answerer_prompt(*asked[place], self._instructions, distil=self._distil) for place in places]
            groups = sample(self._policy, prompts, 1, temperature=0.0, max_output=self._max_output)
            for place, group in zip(places, groups, strict=True):
                (rollout,) = group.rollouts
                replies[place] = parse_reply(rollout.values) if rollout.ended else UNANSWERED
        return replies


class AgentAnswerer:
    """An Answer Agent as the SDK runs it, such as a GGUF file."""

    def __init__(self, agent: AnswerAgent) -> None:
        self._agent = agent

    def answer_all(self, asked: Sequence[Asked]) -> list[Reply]:
        """One after the other."""
        replies = []
        for question, candidates in asked:
            try:
                replies.append(self._agent.answer(question, candidates))
            except MalformedOutputError:  # it did not end in time
                replies.append(UNANSWERED)
        return replies


class CachedAnswerer:
    """Asks ``inner`` each thing once. Many completions of a group leave the same bank behind."""

    def __init__(self, inner: Answerer, size: int = 100_000) -> None:
        self._inner, self._size = inner, size
        self._known: dict[Asked, Reply] = {}
        self.asked = self.found = 0

    def answer_all(self, asked: Sequence[Asked]) -> list[Reply]:
        """One reply for each, most of them remembered."""
        new = [key for key in dict.fromkeys(asked) if key not in self._known]
        self.asked += len(asked)
        self.found += len(asked) - len(new)
        self._known.update(zip(new, self._inner.answer_all(new), strict=True))
        replies = [self._known[key] for key in asked]
        while len(self._known) > self._size:
            del self._known[next(iter(self._known))]
        return replies


def answerer_prompt(
    question: str, candidates: Sequence[Candidate], instructions: str | None = None, *, distil: bool = True
) -> Prompt:
    """A question as a policy is asked it; ``instructions`` for one that was not trained for this role.

    ``distil`` False: it answers at once, without naming the candidates that matter.
    """
    return Prompt(answer_prompt(question, candidates, instructions), AnswerTemplate(len(candidates), distil))


def frozen_answerer(path: Path, base: str | None = None) -> CachedAnswerer:
    """The Answer Agent at ``path``: a checkpoint folder of ours, a GGUF file, or the folder of a LoRA.

    One that was not trained for the role on plain prompts, as no LoRA of ``train --base`` is, gets the instructions.

    :param base: the Hugging Face model that a LoRA is on; None: the one that it names itself
    """
    if path.suffix == ".gguf":
        model = LlamaModel.load(path, role="answerer")
        return CachedAnswerer(AgentAnswerer(AnswerAgent(model, None if model.trained_role else INSTRUCTIONS)))
    if (path / LORA).exists():
        from train_ref.hf_policy import HfPolicy, fastest

        named = json.loads((path / LORA).read_text())["base_model_name_or_path"]
        lora = HfPolicy(base or named, adapter=path, **fastest())
        lora.model.requires_grad_(False)
        return CachedAnswerer(PolicyAnswerer(lora, instructions=INSTRUCTIONS))
    policy = OwnPolicy.load(path)
    policy.model.requires_grad_(False)
    return CachedAnswerer(PolicyAnswerer(policy))
