"""Vectors in one matrix, searched by a product: exact, and quicker than any index while they are few."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

MANY = 4
"""From a quarter of all rows on, multiplying all of them is quicker than picking some."""


def best(ids: Ids, cosines: npt.NDArray[np.floating[Any]], k: int) -> list[tuple[int, float]]:
    """Return the best ``k`` pairs of id and cosine, ties by id."""
    # Rounded, because equal vectors differ in the last bits by where they lie in memory, and ties must be ties.
    cosines = np.round(np.clip(cosines.astype(np.float64), -1.0, 1.0), 6)
    if k < len(cosines):
        worst = np.partition(cosines, len(cosines) - k)[len(cosines) - k]
        kept = np.flatnonzero(cosines >= worst)
        ids, cosines = ids[kept], cosines[kept]
    order = np.lexsort((ids, -cosines))[:k]
    return [(int(ids[row]), float(cosines[row])) for row in order]


class ExactVectors:
    """Unit vectors by id. Checks nothing and locks nothing: that is for its owner."""

    def __init__(self, dimension: int) -> None:
        self._rows: dict[int, int] = {}
        self._ids: Ids = np.zeros(0, dtype=np.int64)
        self._matrix: Matrix = np.zeros((0, dimension), dtype=np.float32)

    @property
    def ids(self) -> Collection[int]:
        """What can be found."""
        return self._rows.keys()

    def add(self, ids: Ids, matrix: Matrix) -> None:
        """Add or replace; ``matrix`` has one row per id."""
        self._reserve(len(self._rows) + len(ids))
        for item, vector in zip(ids.tolist(), matrix, strict=True):
            row = self._rows.setdefault(item, len(self._rows))
            self._ids[row] = item
            self._matrix[row] = vector

    def _reserve(self, count: int) -> None:
        if count > len(self._ids):
            more = max(count, 2 * len(self._ids)) - len(self._ids)
            self._ids = np.concatenate([self._ids, np.zeros(more, dtype=np.int64)])
            self._matrix = np.concatenate([self._matrix, np.zeros((more, self._matrix.shape[1]), dtype=np.float32)])

    def remove(self, ids: Iterable[int]) -> None:
        """Forget these; unknown ones are no matter."""
        for item in ids:
            row = self._rows.pop(item, None)
            if row is None:
                continue
            last = len(self._rows)
            if row != last:  # the last one moves into the gap
                self._ids[row], self._matrix[row] = self._ids[last], self._matrix[last]
                self._rows[int(self._ids[row])] = row
            self._matrix[last] = 0.0

    def search(self, vector: Matrix, k: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        """Return the best ``k`` for ``vector``, shape ``(dimension,)``, of all or of the ``allowed`` ids."""
        if allowed is not None:
            ids, matrix = self.items_of(allowed)
            return best(ids, matrix @ vector, k)
        count = len(self._rows)
        return best(self._ids[:count], self._matrix[:count] @ vector, k)

    def cosines(self, vector: Matrix, ids: Ids) -> npt.NDArray[np.float64]:
        """Return the cosine of each of ``ids`` with ``vector``, NaN where there is none."""
        rows = self._rows_of(ids)
        there = np.flatnonzero(rows >= 0)
        cosines = np.full(len(ids), np.nan)
        if MANY * len(there) < len(self._rows):
            cosines[there] = self._matrix[rows[there]] @ vector
        else:
            cosines[there] = (self._matrix[: len(self._rows)] @ vector)[rows[there]]
        return cosines

    def _rows_of(self, ids: Ids) -> Ids:
        return np.fromiter((self._rows.get(item, -1) for item in ids.tolist()), np.int64, len(ids))

    def items_of(self, ids: Ids) -> tuple[Ids, Matrix]:
        """Those of ``ids`` that are here, and their vectors."""
        rows = self._rows_of(ids)
        return ids[rows >= 0], self._matrix[rows[rows >= 0]]

    def items(self) -> tuple[Ids, Matrix]:
        """Return views on all ids, shape ``(n,)``, and their vectors, shape ``(n, dimension)``."""
        count = len(self._rows)
        return self._ids[:count], self._matrix[:count]
