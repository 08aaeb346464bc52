r"""Group Relative Policy Optimization: the mathematics, without a model, a sampler or a loop.

For a prompt with G completions of rewards r_i, tokens t, and log-probabilities lp (the policy now), old (when it
sampled) and ref (the reference), all over logits / temperature in fp32::

    A_i    = r_i - mean(r)                                                   group advantage
    rho_it = exp(lp_it - old_it)                                             importance ratio
    L_it   = -min(rho_it * A_i, clip(rho_it, 1 - low, 1 + high) * A_i) + beta * KL_it
    loss   = sum_it w_i * m_it * L_it / divisor                              m: tokens that the policy chose

Shapes in names: P prompts, G completions of each, B = P * G rows, T tokens of a completion, V vocabulary.
The divisor belongs to the whole optimizer step and is computed before its first micro-batch, so that the gradient
cannot depend on how the step is cut into micro-batches. Deliberately absent: a value function, an entropy bonus,
importance correction for another engine's sampling (ours samples by itself, and that is asserted).

Sources: Shao et al. 2024 (GRPO, arXiv 2402.03300), Yu et al. 2025 (DAPO: clip-higher, token mean, 2503.14476), Liu et
al. 2025 (Dr. GRPO: no deviation, constant divisor, 2503.20783), Zheng et al. 2025 (GSPO: sequence ratio, 2507.18071),
Ye et al. 2020 (dual clip, 1912.09729), Yan et al. 2025 (Memory-R1, 2508.19828, equations 1 to 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from train_ref.config import Advantage, Config, Length, Penalty, Ratio

STD_EPS = 1e-4
"""Added to a deviation before it divides; TRL's value. Equal rewards never get here."""
MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to this before they are exponentiated: e^20 is already far outside every clip."""
Sums = dict[str, float]
"""Figures of a batch as sums and counts, to be added up over micro-batches: means of means would be wrong."""


def has_signal(rewards_PG: Tensor) -> Tensor:
    """Which groups can teach anything: those whose rewards differ, compared exactly. (P,) boolean.

    Not by the size of the advantages: twelve rewards of 0.7 do not sum to 12 * 0.7 in fp32.
    """
    return rewards_PG.amax(1) != rewards_PG.amin(1)


def advantages(rewards_PG: Tensor, scale: Advantage = "mean") -> Tensor:
    """``r - mean(r)`` within each group, over a standard deviation where asked for; exactly 0 without signal. (P, G).

    ``std`` is the group's, ``batch`` that of all rewards, both with Bessel's correction as in TRL and verl.
    """
    centred = rewards_PG - rewards_PG.mean(1, keepdim=True)
    if scale == "std":
        centred = centred / (rewards_PG.std(1, keepdim=True) + STD_EPS)
    elif scale == "batch":
        centred = centred / (rewards_PG.std() + STD_EPS)
    return torch.where(has_signal(rewards_PG)[:, None], centred, torch.zeros_like(centred))


def allowed_log_probs(logits_NV: Tensor, temperature: float, allowed_NV: Tensor | None = None) -> Tensor:
    """Log-probabilities among the allowed tokens, minus infinity elsewhere. (N, V), fp32.

    The sampler draws from exactly this distribution, so the trainer must score by it: a softmax over everything would
    bias each ratio by the probability that was cut off.
    """
    scaled = logits_NV.float() / temperature
    if allowed_NV is not None:
        scaled = scaled.masked_fill(~allowed_NV, float("-inf"))
    return scaled.log_softmax(-1)


def entropy(log_probs_NV: Tensor) -> Tensor:
    """``-sum p log p`` in nats, over tokens of non-zero probability. (N,)."""
    return -(log_probs_NV.exp() * log_probs_NV.clamp(min=torch.finfo(log_probs_NV.dtype).min)).sum(-1)


def log_ratios(lp_BT: Tensor, old_BT: Tensor, mask_BT: Tensor, level: Ratio) -> Tensor:
    """``lp - old`` by token; by sequence its mean over the tokens of the row, at every one of them. (B, T)."""
    difference = (lp_BT - old_BT).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    if level == "sequence":
        mean = (difference * mask_BT).sum(1, keepdim=True) / mask_BT.sum(1, keepdim=True).clamp(min=1)
        difference = mean.expand_as(lp_BT)
    return difference


def policy_losses(ratio_BT: Tensor, advantages_B: Tensor, low: float, high: float, cap: float | None) -> Tensor:
    """``-min(rho * A, clip(rho, 1 - low, 1 + high) * A)``; ``cap`` bounds rho in the first term. (B, T)."""
    a = advantages_B[:, None]
    bounded = ratio_BT if cap is None else ratio_BT.clamp(max=cap)
    return -torch.minimum(bounded * a, ratio_BT.clamp(1 - low, 1 + high) * a)


def divergences(lp_BT: Tensor, ref_BT: Tensor) -> Tensor:
    """k3 of ``KL(policy || reference)``, ``exp(d) - d - 1`` with ``d = ref - lp``; never negative. (B, T).

    Schulman 2020, "Approximating KL divergence".
    """
    d = (ref_BT - lp_BT).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return torch.expm1(d) - d


def penalties(lp_BT: Tensor, ref_BT: Tensor, ratio_BT: Tensor, kind: Penalty) -> Tensor:
    """What is added to the loss, before beta. (B, T).

    Plain ``k3`` has the right value and the gradient of the other divergence, ``KL(ref || policy)``. Times the ratio
    (``unbiased``) its expected gradient is that of ``KL(policy || ref)``.
    """
    k3 = divergences(lp_BT, ref_BT)
    return k3 * ratio_BT if kind == "unbiased" else k3


def divisor(lengths: Sequence[int], length: Length, max_output: int) -> float:
    """What the loss of an optimizer step is divided by, from the loss tokens of *all* its rows, skipped ones too.

    ``token``: all tokens (DAPO). ``sequence``: rows, each the mean of its tokens (GRPO as published). ``constant``:
    rows times ``max_output`` (Dr. GRPO). Rows without a loss token still count as rows.
    """
    if length == "token":
        return float(max(1, sum(lengths)))
    return float(max(1, len(lengths)) * (max_output if length == "constant" else 1))


def loss_sum(
    lp_BT: Tensor, old_BT: Tensor, ref_BT: Tensor | None, advantages_B: Tensor, mask_BT: Tensor, c: Config
) -> tuple[Tensor, Sums]:
    """The loss of some rows before it is divided by :func:`divisor`, and what there is to log about them.

    ``mask_BT`` is 1 on tokens that the policy chose, by position: the end of an output is one of them.
    """
    mask = mask_BT.to(lp_BT.dtype)
    ratio = log_ratios(lp_BT, old_BT, mask, c.ratio).exp()
    losses = policy_losses(ratio, advantages_B, c.clip_low, c.clip_high, c.ratio_cap)
    if c.beta:
        assert ref_BT is not None, "a penalty needs the reference's log-probabilities"
        losses = losses + c.beta * penalties(lp_BT, ref_BT, ratio, c.penalty)
    weights = 1 / mask.sum(1).clamp(min=1) if c.length == "sequence" else torch.ones_like(advantages_B)
    with torch.no_grad():
        positive = advantages_B[:, None] > 0
        negative = advantages_B[:, None] < 0
        gap = ((lp_BT - old_BT) * mask).abs()
        sums = {
            "tokens": float(mask.sum()),
            "clipped_low": float((mask * negative * (ratio < 1 - c.clip_low)).sum()),
            "clipped_high": float((mask * positive * (ratio > 1 + c.clip_high)).sum()),
            "kl_old": float((divergences(lp_BT, old_BT) * mask).sum()),
            "kl": 0.0 if ref_BT is None else float((divergences(lp_BT, ref_BT) * mask).sum()),
            "gap": float(gap.sum()),
        }
    return ((losses * mask).sum(1) * weights).sum(), sums
