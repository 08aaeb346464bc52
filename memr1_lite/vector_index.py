"""Nearest vectors by id: exact while they are few, an HNSW graph above (hnswlib, Malkov and Yashunin 2016).

The index is a cache of the store: its ids are row ids, its ``position`` is the place in the store's log that it
stands for, and whatever is missing, stale or damaged is built anew. This is the only module that imports hnswlib.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from memr1_lite import index_file
from memr1_lite.control import current_call
from memr1_lite.errors import StoreError, VectorIndexError
from memr1_lite.exact_vectors import ExactVectors, Ids, Matrix, best
from memr1_lite.index_file import Header, Stamps

if TYPE_CHECKING:
    import hnswlib

NEIGHBOURS = 16
EF_CONSTRUCTION = 200
EF_SEARCH = 128
"""Breadth of a search; 128 keeps recall@10 above 0.98 where the vectors are not adversarial."""
MANY_ALLOWED, WIDE = 1_000, 25
"""From so many allowed ids on, and from the root of 25 times what there is, a filtered search asks the graph.

Looking at each costs some 25 microseconds, the graph the more the less is let through: of 100,000, both are even near
1,600 allowed ids."""
FIRST_CAPACITY = 1_024
PARALLEL = 1_000
"""So many vectors at once are added on all cores; fewer on one, so that a small graph is the same each time."""
PIECE = 512
"""So many vectors are added before the call is asked whether it must end."""
_ONE = np.zeros(1, dtype=np.int64)
SAVED_SHARE = 4
"""An index is written as soon as a quarter of it is not on disk: a killed process costs no more than that to redo."""


class _Graph:
    """Vectors in an hnswlib graph, with our own account of what is alive: hnswlib counts the removed as well."""

    def __init__(self, graph: hnswlib.Index, live: set[int], removed: set[int]) -> None:
        self._graph = graph
        self._live = live
        self.removed = removed
        graph.set_ef(EF_SEARCH)  # not saved with the graph

    @classmethod
    def empty(cls, dimension: int, capacity: int) -> _Graph:
        import hnswlib

        graph = hnswlib.Index(space="ip", dim=dimension)
        graph.init_index(
            max_elements=max(capacity, FIRST_CAPACITY),
            M=NEIGHBOURS,
            ef_construction=EF_CONSTRUCTION,
            random_seed=100,
            allow_replace_deleted=False,  # True makes adding a removed id an error
        )
        return cls(graph, set(), set())

    @classmethod
    def read(cls, path: Path, header: Header) -> _Graph | None:
        """The graph of ``path``, None where it is not what ``header`` says. The digest has been checked already."""
        import hnswlib

        graph = hnswlib.Index(space="ip", dim=header.dimension)
        try:
            graph.load_index(str(path))
        except RuntimeError:
            return None
        live, removed = set(graph.get_ids_list()), set(header.removed)
        known = removed <= live
        live -= removed
        return cls(graph, live, removed) if known and len(live) == header.count else None

    @property
    def ids(self) -> Collection[int]:
        return self._live

    def add(self, ids: Ids, matrix: Matrix) -> None:
        """Add or replace; where the call is stopped, some of them."""
        capacity = self._graph.get_max_elements()
        needed = self._graph.get_current_count() + len(ids)
        if needed > capacity:  # beforehand: a full graph takes part of a batch and then raises
            self._graph.resize_index(max(needed, 2 * capacity))
        known = np.fromiter((item in self._live or item in self.removed for item in ids.tolist()), bool, len(ids))
        # Replacing is not safe on several threads; adding on several gives another graph each time.
        for rows, threads in ((np.flatnonzero(known), 1), (np.flatnonzero(~known), 1 if len(ids) < PARALLEL else -1)):
            for start in range(0, len(rows), PIECE):
                current_call().check()
                piece = rows[start : start + PIECE]
                self._graph.add_items(matrix[piece], ids[piece], num_threads=threads)
                self._live.update(ids[piece].tolist())
                self.removed.difference_update(ids[piece].tolist())

    def remove(self, ids: Iterable[int]) -> None:
        for item in self._live.intersection(ids):
            self._graph.mark_deleted(item)
            self._live.remove(item)
            self.removed.add(item)

    def search(self, vector: Matrix, k: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        through = None
        if allowed is not None:
            # Inside hnswlib a narrow filter costs more than looking at all it lets through, and finds fewer than k.
            if len(allowed) < MANY_ALLOWED or len(allowed) ** 2 < WIDE * len(self._live):
                ids, matrix = self.items_of(allowed)
                return best(ids, matrix @ vector, k)
            through = set(allowed.tolist()).__contains__
        everything = self._graph.get_current_count()
        for breadth in (max(EF_SEARCH, 2 * k), max(10 * EF_SEARCH, 20 * k)):
            self._graph.set_ef(min(breadth, max(everything, k)))
            try:
                labels, distances = self._graph.knn_query(vector[None, :], k=k, num_threads=1, filter=through)
            except RuntimeError:  # too many removed or not allowed on the way: fewer than k were reached
                continue
            return best(labels[0].astype(np.int64), 1.0 - distances[0], k)
        ids, matrix = self.items() if allowed is None else self.items_of(allowed)
        return best(ids, matrix @ vector, k)

    def items_of(self, ids: Ids) -> tuple[Ids, Matrix]:
        kept = np.array([item for item in ids.tolist() if item in self._live], dtype=np.int64)
        return kept, self._vectors_of(kept)

    def items(self) -> tuple[Ids, Matrix]:
        ids = np.array(sorted(self._live), dtype=np.int64)
        return ids, self._vectors_of(ids)

    def _vectors_of(self, ids: Ids) -> Matrix:
        if not len(ids):
            return np.zeros((0, self._graph.dim), dtype=np.float32)
        return np.asarray(self._graph.get_items(ids, return_type="numpy"), dtype=np.float32)

    def write(self, path: Path) -> None:
        self._graph.save_index(str(path))
        if path.stat().st_size != self._graph.index_file_size():  # hnswlib does not notice a full disk
            raise OSError(f"{path} was not written completely")


class VectorIndex:
    """The vectors of one kind of row, searchable by cosine. Safe to use from several threads.

    :param path: where :meth:`save` writes the graph, with a header beside it; None keeps everything in memory
    :param dimension: length of every vector
    :param exact_below: up to this many vectors are searched exactly, and not saved: they are read back quickly
    :param embedder: name of what made the vectors; a saved index of another one is not loaded
    :param stamps: where the bank notes which saved index is its own; None trusts the file's place
    """

    def __init__(
        self,
        path: Path | None,
        dimension: int,
        *,
        exact_below: int,
        embedder: str = "",
        stamps: Stamps | None = None,
    ) -> None:
        self._path = path
        self._dimension = dimension
        self._exact_below = exact_below
        self._embedder = embedder
        self._stamps = stamps
        self._lock = threading.RLock()
        self._vectors: ExactVectors | _Graph = ExactVectors(dimension)
        self._position = 0
        self._unsaved = 0

    @property
    def position(self) -> int:
        """The place in the store's log that the index stands for; 0 is an empty index."""
        return self._position

    def __len__(self) -> int:
        return len(self._vectors.ids)

    def ids(self) -> list[int]:
        """The ids that can be found, ascending."""
        with self._lock:
            return sorted(self._vectors.ids)

    def catch_up(self, position: int, touched: Sequence[int], vectors: tuple[Ids, Matrix]) -> None:
        """Take over the present state of the ``touched`` ids: with a vector they are put, without one removed.

        :param vectors: ids, shape ``(n,)``, and their vectors, shape ``(n, dimension)``
        :raises VectorIndexError: a vector of another dimension or not finite; nothing was changed then
        """
        ids, matrix = self._checked(*vectors)
        with self._lock:
            self._vectors.remove(set(touched).difference(ids.tolist()))
            self._put(ids, matrix)
            self._choose()
            # A position alone is not worth a new file: coming from the old one costs a look at the log.
            self._unsaved += max(len(touched), len(ids))
            self._position = position
            self._save_much()

    def rebuild(self, position: int, ids: Ids, matrix: Matrix) -> None:
        """Forget everything, then hold these vectors. No trace of a removed vector is left, unlike after removal.

        :raises VectorIndexError: a vector of another dimension or not finite; nothing was changed then
        """
        ids, matrix = self._checked(ids, matrix)
        with self._lock:
            # What is left where the call is stopped: nothing, to be built anew.
            self._vectors, self._unsaved, self._position = ExactVectors(self._dimension), 0, 0
            self._put(ids, matrix)
            self._unsaved, self._position = max(1, len(ids)), position
            self._save_much()

    def search(self, vector: Matrix, k: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        """Return up to ``k`` pairs of id and cosine, best first, ties by id.

        :param allowed: look only among these ids, exactly where they are few; unknown ones are no matter
        :raises VectorIndexError: ``vector`` has another dimension or is not finite
        """
        query = self._query(vector)
        with current_call().holding(self._lock):
            k = min(k, len(self))  # hnswlib raises when asked for more than it has
            return self._vectors.search(query, k, allowed) if k > 0 else []

    def cosines(self, vector: Matrix, ids: Ids) -> npt.NDArray[np.float64] | None:
        """Return the cosine of each of ``ids`` with ``vector``, NaN where there is none; None above
        ``exact_below``, where the vectors themselves are not at hand.

        :raises VectorIndexError: ``vector`` has another dimension or is not finite
        """
        query = self._query(vector)
        with current_call().holding(self._lock):
            if isinstance(self._vectors, _Graph):
                return None
            return self._vectors.cosines(query, ids)

    def _query(self, vector: Matrix) -> Matrix:
        checked: Matrix = self._checked(_ONE, np.asarray(vector, dtype=np.float32)[None])[1][0]
        return checked

    def save(self) -> None:
        """Write the graph, then the header that vouches for it. Few vectors leave no file, and remove an old one.

        :raises VectorIndexError: it could not be written; the store is none the worse for it
        """
        with self._lock:
            if self._path is None or not self._unsaved:
                return
            try:
                self._write(self._path)
            except (OSError, RuntimeError, StoreError) as error:
                raise VectorIndexError(
                    f"The index {str(self._path)!r} could not be written ({error}). It is only a cache of the bank: "
                    "make room or fix the permissions, and it will be built anew."
                ) from error
            self._unsaved = 0

    def load(self) -> bool:
        """Read what :meth:`save` wrote; False, and the index as it was, where that cannot be used as it is."""
        with self._lock:
            if self._path is None:
                return False
            found = index_file.read(self._path, self._dimension, self._embedder, self._stamps, _Graph.read)
            if found is None:
                return False
            header, self._vectors = found
            self._position, self._unsaved = header.position, 0
            return True

    def _checked(self, ids: Ids, matrix: Matrix) -> tuple[Ids, Matrix]:
        """Unit vectors in the layout that hnswlib reads without a check: a wrong length there is a crash."""
        ids, matrix = np.asarray(ids, dtype=np.int64), np.ascontiguousarray(matrix, dtype=np.float32)
        if matrix.ndim != 2 or matrix.shape != (len(ids), self._dimension):
            raise VectorIndexError(
                f"{len(ids)} vectors of dimension {self._dimension} were expected, not an array of shape "
                f"{matrix.shape}: use the embedder that the index was made for."
            )
        if not np.isfinite(matrix).all():
            raise VectorIndexError("A vector holds NaN or infinity: the embedder is at fault.")
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        return ids, matrix / np.maximum(lengths, np.float32(1e-12))

    def _put(self, ids: Ids, matrix: Matrix) -> None:
        last = {item: row for row, item in enumerate(ids.tolist())}  # of an id given twice, the last counts
        if len(last) < len(ids):
            rows = list(last.values())
            ids, matrix = ids[rows], matrix[rows]
        if isinstance(self._vectors, ExactVectors) and len(last.keys() | set(self._vectors.ids)) > self._exact_below:
            graph = _Graph.empty(self._dimension, 2 * (len(self) + len(ids)))
            graph.add(*self._vectors.items())
            graph.add(ids, matrix)
            self._vectors = graph  # whole: until then what was there can be searched
        else:
            self._vectors.add(ids, matrix)

    def _choose(self) -> None:
        """Leave a graph that became small or is mostly made of removed vectors."""
        if not isinstance(self._vectors, _Graph):
            return
        live = len(self._vectors.ids)
        # At half the limit, so that a bank at the limit does not go back and forth.
        if live <= self._exact_below // 2 or len(self._vectors.removed) > max(live, FIRST_CAPACITY):
            self.rebuild(self._position, *(self._vectors.items() if live else ExactVectors(self._dimension).items()))

    def _save_much(self) -> None:
        """Save a graph that would cost much to build again, where that can be done."""
        # Where it cannot, save() says so at the end; a search is no place to fail for the sake of a cache.
        if isinstance(self._vectors, _Graph) and self._unsaved >= max(len(self) // SAVED_SHARE, FIRST_CAPACITY):
            with suppress(VectorIndexError):
                self.save()

    def _write(self, path: Path) -> None:
        if isinstance(self._vectors, ExactVectors):
            index_file.remove(path)
            return
        header = Header(
            dimension=self._dimension,
            embedder=self._embedder,
            count=len(self._vectors.ids),
            position=self._position,
            removed=tuple(sorted(self._vectors.removed)),
        )
        index_file.write(path, header, self._vectors.write, self._stamps)
