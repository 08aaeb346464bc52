"""How near turns are to a question, by words and by vectors, each also through the turns close by.

People answer in the turn after the one that holds the question's words, and name in one turn what they tell in the
next. So a word counts for the turns around it as well, the less the further away, and a cosine likewise. Neighbours
are turns recorded one after another.

The numbers were chosen on LoCoMo's conversations 26 and 30 alone (``benchmarks/retrieval_locomo.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

WORD_REACH = (1.0, 0.6, 0.4, 0.2, 0.1, 0.05)
"""What a word counts for the turn it stands in, for the next one, and so on: the greatest holds, they do not add up."""
VECTOR_REACH = (1.0, 0.4, 0.2)
"""The same for cosines; these add up."""


def distinct(ids: Ids) -> Ids:
    """The different ones of ``ids``, ascending; for some hundreds three times as quick as ``np.unique``."""
    ids = np.sort(ids)
    different: Ids = ids[np.concatenate([np.ones(min(1, len(ids)), np.bool_), ids[1:] != ids[:-1]])]
    return different


def or_zero(cosines: Scores) -> Scores:
    """Cosines, with 0 for the NaN of what has none."""
    return np.where(np.isnan(cosines), 0.0, cosines)


def laid_out(ids: Ids, reach: int) -> Ids:
    """The different ``ids``, ascending, with their neighbours up to ``reach`` away: whoever is near lies near.

    Two places are as far apart as their ids are, or further than ``reach``: then neither reaches the other.
    """
    if not len(ids):
        return ids
    ids = distinct(ids)
    # Every id brings those before it, as far as the one before it has not brought them, then itself.
    before = np.minimum(np.diff(ids, prepend=ids[0] - reach - 1) - 1, 2 * reach)
    runs = np.repeat(ids, before + 1)
    step = np.arange(len(runs)) - np.repeat(np.cumsum(before + 1) - 1, before + 1)
    # Across a gap the first ``reach`` of these follow the id before it.
    far = np.repeat(np.diff(ids, prepend=ids[0] - reach - 1) - 1 > 2 * reach, before + 1) & (step < -reach)
    previous = np.repeat(np.concatenate([ids[:1], ids[:-1]]), before + 1)
    laid = np.where(far, previous + 2 * reach + 1 + step, runs + step)
    return np.concatenate([laid, ids[-1] + np.arange(1, reach + 1)])


def reached(held: npt.NDArray[np.bool_], reach: Sequence[float]) -> Scores:
    """How much each word counts for each place, 0 to 1, of ``held``, which word stands where; ``(words, places)``."""
    counts = np.zeros(held.shape)
    if not counts.size:
        return counts
    for distance in range(len(reach) - 1, 0, -1):  # the nearest last, so that the greatest holds
        counts[:, distance:][held[:, :-distance]] = reach[distance]
        counts[:, :-distance][held[:, distance:]] = reach[distance]
    counts[held] = reach[0]
    return counts


def spread(cosines: Scores, reach: Sequence[float]) -> Scores:
    """The cosine of each place with those of its neighbours, as a weighted mean, shape ``(places,)``."""
    total = cosines * reach[0]
    for distance in range(1, len(reach)):
        total[distance:] += reach[distance] * cosines[:-distance]
        total[:-distance] += reach[distance] * cosines[distance:]
    return total / (reach[0] + 2 * sum(reach[1:]))


def rarity(counts: Sequence[float], units: int) -> Scores:
    """How much each word says, by how many of the ``units`` hold it: the idf of BM25."""
    held = np.asarray(counts, dtype=np.float64)
    return np.asarray(np.log1p((np.maximum(units - held, 0.0) + 0.5) / (held + 0.5)))


def most_wanted(holding: Sequence[Ids], rarities: Scores, limit: int) -> Ids:
    """The ``limit`` ids that hold the most of the words, by their rarity; ascending. Equals go by id, newest first."""
    if not holding:
        return np.zeros(0, np.int64)
    ids = np.concatenate(list(holding))
    order = np.argsort(ids, kind="stable")  # stable: the same words are then added in the same order, and ties are ties
    ids = ids[order]
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(ids)), np.bool_), ids[1:] != ids[:-1]]))
    if len(first) <= limit:
        return ids[first]
    sums = np.add.reduceat(np.repeat(rarities, [len(found) for found in holding])[order], first)
    least = np.partition(sums, len(sums) - limit)[len(sums) - limit]
    more, equal = np.flatnonzero(sums > least), np.flatnonzero(sums == least)
    return np.sort(ids[first[np.concatenate([more, equal[len(equal) - (limit - len(more)) :]])]])


def standing_in(pool: Ids, holding: Sequence[Ids]) -> npt.NDArray[np.bool_]:
    """Which word stands in which unit of ``pool``, shape ``(words, len(pool))``."""
    held = np.zeros((len(holding), len(pool)), np.bool_)
    for row, ids in zip(held, holding, strict=True):
        if len(ids):  # the pool is looked up in the holders: there may be thousands of those
            row[:] = ids.take(ids.searchsorted(pool), mode="clip") == pool
    return held
