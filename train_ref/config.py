"""Every setting of a GRPO run in one frozen record, and the paper's own settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Advantage = Literal["mean", "std", "batch"]
Ratio = Literal["token", "sequence"]
Length = Literal["token", "sequence", "constant"]
Penalty = Literal["unbiased", "k3"]


@dataclass(frozen=True)
class Config:
    """What a run does. The formulas are in :mod:`train_ref.grpo`, the reasons in ``train_ref/README.md``."""

    advantage: Advantage = "mean"
    """``mean``: reward less the group's mean. ``std``: that over the group's deviation; ``batch``: over the batch's."""
    ratio: Ratio = "token"
    clip_low: float = 0.2
    clip_high: float = 0.28
    ratio_cap: float | None = None
    """Upper bound of the ratio also where the advantage is negative (dual clip); must be above 1 + clip_high."""
    beta: float = 0.0
    """Weight of the divergence from the reference policy; 0 needs no reference."""
    penalty: Penalty = "unbiased"
    length: Length = "token"
    max_output: int = 128
    """Tokens that ``constant`` divides by, and after which an output is cut."""
    mask_truncated: bool = False
    """Leave outputs that were cut out of the loss; their rewards still count in the mean of their group."""
    temperature: float = 1.0

    prompts: int = 16
    group: int = 8
    passes: int = 1
    """How often the same rollouts are learned from."""
    updates: int = 1
    """Optimizer steps per pass."""
    micro_prompts: int = 4
    """Prompts, each with its whole group, in one forward pass: changes memory and time, never the gradient."""

    lr: float = 1e-5
    warmup: int = 5
    """Steps over which the learning rate rises; then it is constant."""
    adam_eps: float = 1e-8
    max_grad_norm: float = 1.0
    max_gap: float = 1e-5
    """Most that the sampler's log-probabilities may differ from the trainer's in the mean before the first update; a
    single one may differ ten times as much."""

    reward: Literal["exact", "f1"] = "exact"
    growth_cost: float = 0.0
    """What each memory more in the bank costs; a Manager that adds everything pays."""

    steps: int = 100
    every: int = 10
    """Steps between validations and checkpoints."""
    patience: int = 0
    """Stop after so many validations without a better one; 0 means never."""
    seed: int = 1

    def __post_init__(self) -> None:
        if self.group < 2 or self.prompts < 1:
            raise ValueError(f"a group of {self.group} completions cannot be compared with itself")
        if self.prompts % self.updates:
            raise ValueError(f"{self.prompts} prompts cannot be dealt out to {self.updates} updates")
        if self.ratio_cap is not None and self.ratio_cap <= 1 + self.clip_high:
            raise ValueError(f"ratio_cap {self.ratio_cap} is not above 1 + clip_high")
        if self.temperature <= 0:
            raise ValueError("a policy is trained at a temperature above 0")


def as_published(config: Config) -> Config:
    """``config`` with what Memory-R1 publishes, and verl's defaults where it is silent (marked *).

    Batch 128, read as prompts as verl does; learning rate 1e-6 after a warm-up (its length*), temperature 1, outputs of
    at most 2048 tokens, advantage over the deviation, EM alone; group 5 (read off a checkpoint's name), clip* 0.2,
    beta* 0.001 with k3* in the loss, mean over sequences*.
    """
    return replace(
        config,
        advantage="std",
        clip_low=0.2,
        clip_high=0.2,
        beta=0.001,
        penalty="k3",
        length="sequence",
        max_output=2048,
        temperature=1.0,
        prompts=128,
        group=5,
        lr=1e-6,
        warmup=10,
        reward="exact",
        growth_cost=0.0,
    )
