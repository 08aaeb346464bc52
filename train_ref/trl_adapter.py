"""The same environments in TRL's ``GRPOTrainer``, for who outgrows one machine (accelerate, several nodes, LoRA).

Prompts, output template, sampling and rewards stay ours; TRL does the learning. One thing differs: TRL scores by the
softmax over the whole vocabulary, our trainer by that over the allowed tokens, so TRL also learns to say less of what
is forbidden anyway. Tokens without an alternative stay out of its loss by ``env_mask``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch

from train_ref.config import Config
from train_ref.environment import Environment
from train_ref.hf_policy import PaddedSession
from train_ref.rollout import Group, sample
from train_ref.vocabulary import AgentVocabulary

Task = TypeVar("Task")


class ModelSampler:
    """A :class:`~train_ref.rollout.Sampler` over a transformers model as it is at the moment."""

    def __init__(self, model: Any, vocabulary: AgentVocabulary) -> None:  # noqa: ANN401 - a transformers model
        self._model, self.vocabulary = model, vocabulary

    def begin(self, prompts: Sequence[Sequence[int]], group: int) -> PaddedSession:
        """Read the prompts."""
        return PaddedSession(self._model, prompts, group, self.vocabulary.pad)


class TrlRollouts(Generic[Task]):
    """What ``GRPOTrainer`` is given: ``dataset_rows`` as its data, this as ``rollout_func``, :func:`earned` as reward.

    Prompts of the data are places in ``tasks``; TRL repeats each for its group. Sampling differs by process through
    ``seed``, to which a process adds its number.
    """

    def __init__(
        self, environment: Environment[Task], tasks: Sequence[Task], vocabulary: AgentVocabulary, config: Config
    ) -> None:
        self._environment, self._tasks, self._vocabulary, self._config = environment, tasks, vocabulary, config
        self._generator: torch.Generator | None = None
        self.last: list[Group] = []
        """What was sampled last."""

    def dataset_rows(self) -> dict[str, list[str]]:
        """For ``datasets.Dataset.from_dict``."""
        return {"prompt": [str(place) for place in range(len(self._tasks))]}

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:  # noqa: ANN401 - TRL's trainer
        """Sample one completion for every prompt and judge it; TRL's form, lists of ids without padding."""
        c = self._config
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(c.seed + trainer.accelerator.process_index)
        tasks = [self._tasks[int(prompt)] for prompt in prompts]
        model = trainer.accelerator.unwrap_model(trainer.model)
        training = model.training
        model.eval()  # nothing drops out, and keys and values may be cached
        self.last = sample(
            ModelSampler(model, self._vocabulary), [self._environment.prompt(task) for task in tasks], 1,
            temperature=c.temperature, max_output=c.max_output, generator=self._generator,
        )  # fmt: skip
        model.train(training)
        rewards = self._environment.judge(tasks, self.last).rewards_PG[:, 0].tolist()
        rollouts = [group.rollouts[0] for group in self.last]
        return {
            "prompt_ids": [list(group.prompt) for group in self.last],
            "completion_ids": [rollout.ids for rollout in rollouts],
            "logprobs": [rollout.log_probs for rollout in rollouts],
            "env_mask": [[int(mask is not None) for mask in rollout.allowed] for rollout in rollouts],
            "earned": rewards,
        }


def earned(completions: Sequence[object], earned: Sequence[float], **_: object) -> list[float]:
    """The reward function: what the environment said. Named as the field that carries it."""
    return list(earned)


def grpo_trainer(
    model: Any,  # noqa: ANN401 - a transformers model, or a peft one
    tokenizer: Any,  # noqa: ANN401 - its tokenizer
    rollouts: TrlRollouts[Any],
    arguments: Any,  # noqa: ANN401 - a trl.GRPOConfig
    **more: Any,  # noqa: ANN401 - such as peft_config or callbacks
) -> Any:  # noqa: ANN401
    """A ``GRPOTrainer`` over our environment, ready for ``train()``."""
    from datasets import Dataset
    from trl import GRPOTrainer

    reward: Callable[..., list[float]] = earned
    return GRPOTrainer(
        model=model, processing_class=tokenizer, args=arguments, reward_funcs=[reward], rollout_func=rollouts,
        train_dataset=Dataset.from_dict(rollouts.dataset_rows()), **more,
    )  # fmt: skip
