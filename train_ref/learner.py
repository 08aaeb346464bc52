"""One optimizer step from groups of completions: scoring, the loss over one divisor, AdamW."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from train_ref import grpo
from train_ref.config import Config
from train_ref.rollout import Group, Policy, Rollout, Scored, Scorer, score


class MismatchError(RuntimeError):
    """The trainer gives other probabilities to what was sampled than the sampler did: one of them is wrong."""


class Learner:
    """Holds the optimizer. ``reference`` is needed where ``config.beta`` is not 0."""

    def __init__(self, policy: Policy, config: Config, reference: Scorer | None = None) -> None:
        if config.beta and reference is None:
            raise ValueError("a penalty (beta) needs a reference policy")
        self.policy, self.reference, self.config = policy, reference, config
        self.parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.lr, eps=config.adam_eps, weight_decay=0.0)
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)

    def update(self, groups: Sequence[Group], advantages_PG: Tensor, *, rate: float, fresh: bool = False) -> grpo.Sums:
        """One optimizer step at the learning rate ``rate``; returns figures as sums over tokens, and of this step.

        :param advantages_PG: of every completion, in the order of ``groups``
        :param fresh: nothing was learned since the groups were sampled
        :raises MismatchError: ``fresh``, and yet the log-probabilities differ by more than ``config.max_gap``
        """
        c = self.config
        lengths = [self._counted(rollout) for group in groups for rollout in group.rollouts]
        divisor = grpo.divisor(lengths, c.length, c.max_output)
        sums: Counter[str] = Counter()
        gap_max = 0.0
        for micro in self._micro_batches(groups, advantages_PG):
            total, part, gap = self._loss(
                [groups[place] for place in micro], torch.cat([advantages_PG[place] for place in micro]), fresh
            )
            (total / divisor).backward()
            sums.update(part | {"loss": float(total.detach()) / divisor})
            gap_max = max(gap_max, gap)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, c.max_grad_norm)
        for options in self.optimizer.param_groups:
            options["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        return dict(sums) | {"grad_norm": float(norm), "divisor": divisor, "updates": 1.0, "gap_max": gap_max}

    def _counted(self, rollout: Rollout) -> int:
        """Tokens of a completion that are in the loss."""
        return 0 if self.config.mask_truncated and not rollout.ended else len(rollout.chosen)

    def _micro_batches(self, groups: Sequence[Group], advantages_PG: Tensor) -> list[list[int]]:
        """Places of the groups that can teach, those of like length together; how they are cut changes no gradient.

        Advantages of 0 make a policy loss of exactly 0 with a gradient of exactly 0, so such groups are left out,
        unless a penalty still acts on them. Where nothing was chosen, as by an Answer Agent without candidates, none
        does.
        """
        chosen = [any(rollout.chosen for rollout in group.rollouts) for group in groups]
        taught = [p for p in range(len(groups)) if chosen[p] and (self.config.beta or bool(advantages_PG[p].any()))]
        taught.sort(key=lambda p: len(groups[p].prompt))
        step = self.config.micro_prompts
        return [taught[start : start + step] for start in range(0, len(taught), step)]

    def _loss(self, groups: Sequence[Group], advantages_B: Tensor, fresh: bool) -> tuple[Tensor, grpo.Sums, float]:
        c = self.config
        scored = score(self.policy, groups, c.temperature)
        gap = _checked_gap(scored, c.max_gap) if fresh else 0.0
        reference_BT = None
        if self.reference is not None:
            with torch.no_grad():
                reference_BT = score(self.reference, groups, c.temperature).lp_BT
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        counted_B = torch.tensor([self._counted(rollout) for rollout in rollouts], device=scored.mask_BT.device)
        mask_BT = scored.mask_BT & (counted_B > 0)[:, None]
        total, sums = grpo.loss_sum(
            scored.lp_BT, scored.old_BT, reference_BT, advantages_B.to(scored.lp_BT.device), mask_BT, c
        )
        return total, sums, gap


def _checked_gap(scored: Scored, most: float) -> float:
    """The largest difference of a token's log-probability between sampler and trainer.

    The mean must be within ``most``; a single token may differ ten times as much, for rounding: among some thousand
    tokens of the shipped agents one differs by more than 1e-5, while the mean is 1e-7.
    """
    gaps = (scored.lp_BT.detach() - scored.old_BT).abs()[scored.mask_BT]
    if not len(gaps):
        return 0.0
    mean, largest = float(gaps.mean()), float(gaps.max())
    if not (mean <= most and largest <= 10 * most):
        raise MismatchError(
            f"The trainer and the sampler differ by {mean:.1e} in a log-probability in the mean, more than {most:.0e},"
            f" or by {largest:.1e} in one, more than {10 * most:.0e}."
        )
    return largest


def learning_rate(step: int, c: Config) -> float:
    """Rises over ``warmup`` steps, then is constant. ``step`` counts from 0."""
    return c.lr * min(1.0, (step + 1) / max(1, c.warmup))


def means(sums: grpo.Sums) -> dict[str, float]:
    """Figures per token and per update, ready for the log."""
    tokens, updates = max(1.0, sums.get("tokens", 0.0)), max(1.0, sums.get("updates", 0.0))
    by_token = ("clipped_low", "clipped_high", "kl_old", "kl", "gap")
    figures = {name: sums.get(name, 0.0) / tokens for name in by_token}
    return (
        figures | {"gap_max": sums.get("gap_max", 0.0)} | {n: sums.get(n, 0.0) / updates for n in ("loss", "grad_norm")}
    )
