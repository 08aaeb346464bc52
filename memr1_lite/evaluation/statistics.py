"""How sure a number is, and whether two differ: intervals and tests, exact or by resampling with a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from memr1_lite.records import Record

Z95 = 1.959963984540054
"""Quantile of the normal distribution that leaves 2.5 % above it."""
RESAMPLES = 2_000
SEED = 20_828


class Interval(Record):
    """A value and the bounds between which it lies with 95 % confidence."""

    value: float
    low: float
    high: float


class Paired(Record):
    """One system against another on the same questions: mean difference, its interval, and how likely by chance."""

    difference: Interval
    better: int
    worse: int
    p: float


def share_interval(hits: int, total: int) -> Interval:
    """A share of yes and no answers with Wilson's interval; of nothing, all of 0 to 1 is possible."""
    if total == 0:
        return Interval(value=0.0, low=0.0, high=1.0)
    share, square = hits / total, Z95**2 / total
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return Interval(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half))


def bootstrap_interval(values: Mapping[str, Sequence[float]], resamples: int = RESAMPLES) -> Interval:
    """The mean over all values, and its percentile bootstrap interval.

    Conversations are drawn with replacement, then questions within each: questions about one conversation stand and
    fall together. With one conversation only its questions can be drawn, and the interval says nothing about others.

    :param values: the scores of the questions, by conversation
    """
    groups = [np.asarray(scores, dtype=np.float64) for scores in values.values() if len(scores)]
    if not groups:
        return Interval(value=0.0, low=0.0, high=0.0)
    rng = np.random.default_rng(SEED)
    means = np.empty(resamples)
    for sample in range(resamples):
        drawn = [groups[index] for index in rng.integers(len(groups), size=len(groups))]
        parts = [scores[rng.integers(len(scores), size=len(scores))] for scores in drawn]
        means[sample] = sum(part.sum() for part in parts) / sum(len(part) for part in parts)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(value=float(np.concatenate(groups).mean()), low=float(low), high=float(high))


def cluster_interval(values: Mapping[str, Sequence[float]], resamples: int = RESAMPLES) -> Interval:
    """The mean over all values, and its percentile bootstrap interval, drawing whole groups with replacement.

    For many groups of a value or a few each, such as short histories: what is in one stands and falls together.

    :param values: the values by group; at least one
    """
    groups = [scores for scores in values.values() if len(scores)]
    sums, sizes = np.array([sum(scores) for scores in groups]), np.array([len(scores) for scores in groups])
    drawn = np.random.default_rng(SEED).integers(len(groups), size=(resamples, len(groups)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    return Interval(value=float(sums.sum() / sizes.sum()), low=float(low), high=float(high))


def paired_test(one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> Paired:
    """Compare the scores of two systems, question by question, in the same order and conversations.

    Scores of 0 and 1 only: McNemar's exact test. Any others: a sign-flip permutation test of the mean difference,
    two-sided, by resampling.
    """
    differences = {
        name: [a - b for a, b in zip(scores, other[name], strict=True)] for name, scores in one.items() if scores
    }
    flat = np.asarray([value for scores in differences.values() for value in scores], dtype=np.float64)
    better, worse = int((flat > 0).sum()), int((flat < 0).sum())
    binary = bool(np.isin(flat, [-1.0, 0.0, 1.0]).all())
    p = mcnemar(better, worse) if binary else _sign_flip(flat)
    return Paired(difference=bootstrap_interval(differences), better=better, worse=worse, p=p)


def mcnemar(better: int, worse: int) -> float:
    """Two-sided exact p of ``better`` against ``worse`` when both are equally likely."""
    total = better + worse
    tail = sum(math.comb(total, count) for count in range(min(better, worse) + 1))
    return min(1.0, float(2 * tail / (1 << total)))


def _sign_flip(differences: npt.NDArray[np.float64], resamples: int = RESAMPLES * 5) -> float:
    rng = np.random.default_rng(SEED)
    observed = abs(differences.mean())
    extreme = 0
    for _ in range(resamples):
        signs = rng.integers(0, 2, size=len(differences)) * 2 - 1
        extreme += bool(abs((differences * signs).mean()) >= observed - 1e-12)
    return (extreme + 1) / (resamples + 1)
