"""The loop of GRPO: sample, judge, learn, measure, write down; and go on where it stopped, to the bit."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from train_ref import grpo
from train_ref.config import Config
from train_ref.curves import plot
from train_ref.environment import Environment, Judged
from train_ref.learner import Learner, learning_rate, means
from train_ref.rollout import Group, Policy, sample

Task = TypeVar("Task")
CURVES = ("reward", "valid_reward", "no_signal", "malformed")
SAMPLES = 2
"""Groups per step whose completions are written out in full."""


@dataclass
class Source(Generic[Task]):
    """Where tasks come from: endless ones to learn from, fixed ones to be measured on."""

    draw: Callable[[random.Random], Task]
    valid: Sequence[Task]


class Run(Generic[Task]):
    """One training run and where it stands.

    :param origin: what ``policy``, ``environment`` and ``source`` were made of, by name; goes on only with the same
    """

    def __init__(
        self,
        policy: Policy,
        environment: Environment[Task],
        source: Source[Task],
        config: Config,
        out: Path,
        card: dict[str, Any],
        origin: Mapping[str, str] | None = None,
    ) -> None:
        self.policy, self.environment, self.source, self.config, self.out, self.card = (
            policy, environment, source, config, out, card
        )  # fmt: skip
        self.origin = dict(origin or {})
        self.learner = Learner(policy, config, policy.reference() if config.beta else None)
        self.tasks_rng = random.Random(config.seed)
        self.sampling = torch.Generator().manual_seed(config.seed)
        self.step, self.best, self.worse = 0, float("-inf"), 0
        self.constants = environment.constant_policies(source.valid)
        self.log: list[dict[str, float]] = []

    def train(self) -> None:
        """Go on to the last step, or until validation has not become better for ``patience`` times."""
        c = self.config
        self.out.mkdir(parents=True, exist_ok=True)
        tqdm.write("without looking at the task: " + ", ".join(f"{n} {r:.3f}" for n, r in self.constants.items()))
        bar = tqdm(total=c.steps, initial=self.step, desc="grpo", mininterval=5)
        if self.step == 0:
            start = self.validate()
            self._note({"step": 0, "valid_reward": start})
            self._judge_validation(start)  # a run that only loses leaves what it began with as the best
            self.save()
        while self.step < c.steps and not (c.patience and self.worse >= c.patience):
            line = self.one_step()
            due = self.step % c.every == 0 or self.step == c.steps
            if due:
                line["valid_reward"] = self.validate()
            self._note(line)
            bar.update()
            bar.set_postfix(reward=f"{line['reward']:.3f}", valid=f"{self.best:.3f}")
            if due:
                self._judge_validation(line["valid_reward"])
                self.save()
        bar.close()

    def one_step(self) -> dict[str, float]:
        """Sample, judge, learn; returns the figures of the step."""
        c, began = self.config, time.perf_counter()
        tasks = [self.source.draw(self.tasks_rng) for _ in range(c.prompts)]
        groups = sample(
            self.policy, [self.environment.prompt(task) for task in tasks], c.group,
            temperature=c.temperature, max_output=c.max_output, generator=self.sampling,
        )  # fmt: skip
        sampled = time.perf_counter()
        judged = self.environment.judge(tasks, groups)
        answered = time.perf_counter()
        advantages_PG = grpo.advantages(judged.rewards_PG, c.advantage)
        sums: Counter[str] = Counter()
        for number in range(c.passes):
            for part in range(c.updates):
                places = range(part, c.prompts, c.updates)
                sums.update(
                    self.learner.update(
                        [groups[p] for p in places], advantages_PG[list(places)],
                        rate=learning_rate(self.step, c), fresh=number == part == 0,
                    )
                )  # fmt: skip
        self.step += 1
        self._write_samples(groups, judged, advantages_PG)
        seconds = {
            "sampling": sampled - began,
            "judging": answered - sampled,
            "learning": time.perf_counter() - answered,
        }
        return self._figures(groups, judged, sums, seconds)

    def _figures(
        self, groups: Sequence[Group], judged: Judged, sums: Counter[str], seconds: dict[str, float]
    ) -> dict[str, float]:
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        tokens = sum(len(rollout.ids) for rollout in rollouts)
        rewards = judged.rewards_PG
        return {
            "step": self.step, "reward": float(rewards.mean()), "reward_spread": float(rewards.std(1).mean()),
            "no_signal": float((~grpo.has_signal(rewards)).float().mean()),
            "truncated": sum(not rollout.ended for rollout in rollouts) / len(rollouts),
            "length": tokens / len(rollouts),
            "distinct": sum(len({tuple(r.ids) for r in group.rollouts}) for group in groups) / len(rollouts),
            "entropy": sum(sum(r.entropies) for r in rollouts) / max(1, sum(len(r.chosen) for r in rollouts)),
            "lr": learning_rate(self.step - 1, self.config), **means(dict(sums)),
            **{name: count / len(rollouts) for name, count in sorted(judged.sums.items())},
            **{f"seconds_{name}": spent for name, spent in seconds.items()},
            "tokens_per_second_sampling": tokens / seconds["sampling"],
            "tokens_per_second_learning": tokens * self.config.passes / seconds["learning"],
        }  # fmt: skip

    def validate(self) -> float:
        """Mean reward of greedy decoding on the fixed tasks, in batches of as many completions as a step has."""
        c, total = self.config, 0.0
        size = c.prompts * c.group
        for start in range(0, len(self.source.valid), size):
            tasks = self.source.valid[start : start + size]
            prompts = [self.environment.prompt(task) for task in tasks]
            groups = sample(self.policy, prompts, 1, temperature=0.0, max_output=c.max_output)
            total += float(self.environment.judge(tasks, groups).rewards_PG.sum())
        return total / len(self.source.valid)

    def _judge_validation(self, reward: float) -> None:
        if reward > self.best:
            self.best, self.worse = reward, 0
            self._save_checkpoint(self.out / "best")
        else:
            self.worse += 1

    def _note(self, line: dict[str, float]) -> None:
        self.log.append(line)
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _write_samples(self, groups: Sequence[Group], judged: Judged, advantages_PG: Tensor) -> None:
        with (self.out / "samples.jsonl").open("a") as file:
            for p, group in enumerate(groups[:SAMPLES]):
                for g, rollout in enumerate(group.rollouts):
                    entry = {
                        "step": self.step, "prompt": self.policy.vocabulary.decode(group.prompt),
                        "completion": self.policy.vocabulary.decode(rollout.ids), "ended": rollout.ended,
                        "reward": float(judged.rewards_PG[p, g]), "advantage": float(advantages_PG[p, g]),
                    }  # fmt: skip
                    file.write(json.dumps(entry) + "\n")

    def _save_checkpoint(self, folder: Path) -> None:
        self.policy.save(folder)
        training = {
            "kind": "grpo", "steps": self.step, "settings": asdict(self.config), "start": self.card.get("training"),
        }  # fmt: skip
        figures = {
            "valid_reward": next((line["valid_reward"] for line in reversed(self.log) if "valid_reward" in line), None)
        }
        card = self.card | {"training": training, "figures": figures | self.constants}
        (folder / "memr1.json").write_text(json.dumps(card, indent=2) + "\n")

    def save(self) -> None:
        """Everything to go on from, the checkpoint, and the curves."""
        state = {
            "policy": self.policy.state(), "optimizer": self.learner.optimizer.state_dict(), "step": self.step,
            "best": self.best, "worse": self.worse, "tasks": self.tasks_rng.getstate(),
            "sampling": self.sampling.get_state(), "config": asdict(self.config), "log": self.log,
            "origin": self.origin,
        }  # fmt: skip
        torch.save(state, self.out / "state.tmp")
        (self.out / "state.tmp").replace(self.out / "state.pt")
        self._save_checkpoint(self.out)
        shown = [{name: line[name] for name in ("step", *CURVES) if name in line} | self.constants for line in self.log]
        plot([*shown[:-1], dict.fromkeys(CURVES, float("nan")) | shown[-1]], self.out / "curve.png", "reward")

    def resume(self) -> None:
        """Go on from ``state.pt``; lines and samples written after it are dropped, for they will come again.

        :raises ValueError: the settings, or what it is made of, are others than those it was begun with
        """
        state = torch.load(self.out / "state.pt", weights_only=False)
        begun, now = Config(**state["config"]), self.config
        if replace(begun, steps=now.steps) != now:
            raise ValueError(f"this run was begun with other settings: {begun}")
        made_of = state.get("origin", self.origin)  # runs of before this was kept do not say
        other = [name for name in sorted(made_of | self.origin) if made_of.get(name) != self.origin.get(name)]
        if other:
            said = ", ".join(f"{name} {made_of.get(name)}, not {self.origin.get(name)}" for name in other)
            raise ValueError(f"this run was begun with {said}")
        self.policy.restore(state["policy"])
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.worse, self.log = state["step"], state["best"], state["worse"], state["log"]
        self.tasks_rng.setstate(state["tasks"])
        self.sampling.set_state(state["sampling"])
        for name in ("log.jsonl", "samples.jsonl"):
            if (self.out / name).exists():
                lines = (self.out / name).read_text().splitlines(keepends=True)
                (self.out / name).write_text("".join(s for s in lines if json.loads(s)["step"] <= self.step))
