"""The vectors of memories and turns, and the log by which indexes follow them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Literal

import numpy as np
import numpy.typing as npt

from memr1_lite.control import current_call
from memr1_lite.errors import EmbedderMismatchError, StoreError, VectorIndexError
from memr1_lite.store.connection import Connection

Kind = Literal["memory", "turn"]
Vector = npt.NDArray[np.float32]

TABLES: dict[Kind, str] = {"memory": "memories", "turn": "messages"}
_LOGS = {"memory": ("operations", "seq", "memory_id"), "turn": ("turn_touches", "position", "message_id")}
_CHUNK = 1024
_ASKED = 128


class Vectors(Connection):
    """The part of the store that keeps vectors. A vector is written with what it stands for, never on its own."""

    embedder: str
    dimension: int

    def vectors(self, kind: Kind, ids: Sequence[int] | None = None) -> tuple[npt.NDArray[np.int64], Vector]:
        """Ids, ascending, and vectors of the live units that have one, of ``ids`` or all: ``(n,)`` and ``(n, d)``."""
        sql = f"SELECT id, embedding FROM {TABLES[kind]} WHERE embedding IS NOT NULL"
        with self._snapshot(), self._use() as connection:
            if ids is None:
                return self._read(
                    self._number(f"SELECT count(*) FROM ({sql})"), connection.execute(f"{sql} ORDER BY id")
                )
            asked: list[int | None] = [*sorted(set(ids))]
            # Bound one by one, and so many at a time: reading them out of JSON takes as long as finding the rows.
            sql = f"{sql} AND id IN ({', '.join('?' * _ASKED)}) ORDER BY id"
            parts = [asked[start : start + _ASKED] for start in range(0, len(asked), _ASKED)]
            cursors = (connection.execute(sql, part + [None] * (_ASKED - len(part))) for part in parts)
            # Counting those asked for would take as long as reading them: there are hardly fewer than asked for.
            return self._read(len(asked), chain.from_iterable(cursors))

    def _read(self, count: int, rows: Iterator[tuple[int, bytes]]) -> tuple[npt.NDArray[np.int64], Vector]:
        """Ids and vectors of at most ``count`` rows."""
        found, matrix = np.empty(count, np.int64), np.empty((count, self.dimension), np.float32)
        read, call = 0, current_call()
        while part := list(islice(rows, _CHUNK)):  # a million vectors would otherwise be in memory three times over
            numbers, blobs = zip(*part, strict=True)
            vectors = np.frombuffer(b"".join(blobs), dtype="<f4")
            if vectors.size != len(part) * self.dimension:
                raise StoreError(f"Bank {self.path!r}: a vector has the wrong length: restore a backup.")
            found[read : read + len(part)] = numbers
            matrix[read : read + len(part)] = vectors.reshape(len(part), self.dimension)
            read += len(part)
            call.check()  # a big bank's take seconds
        return found[:read], matrix[:read]

    def touched_since(self, kind: Kind, position: int) -> tuple[int, list[int]]:
        """The log's position now, and the distinct ids touched after ``position``; 0 is before everything.

        A position that the log has not reached belongs to another state of the file, such as a restored backup: then
        every id is returned, and the new position is smaller than the one given.
        """
        log, seq, unit = _LOGS[kind]
        with self._snapshot():
            reached = self._number(f"SELECT ifnull(max({seq}), 0) FROM {log}")
            if reached == position:
                return reached, []
            after = position if position <= reached else 0
            sql = f"SELECT DISTINCT {unit} FROM {log} WHERE {seq} > ? AND {unit} IS NOT NULL ORDER BY {unit}"
            return reached, [row[0] for row in self._rows(sql, after)]

    def _check_embedder(self) -> None:
        """Refuse to mix vectors: somebody may have moved the bank to another embedder since it was opened."""
        found = self._setting("embedder")
        if found != self.embedder:
            raise EmbedderMismatchError(str(found), self.embedder)

    def sound(self, vectors: Vector, count: int) -> Vector:
        """``vectors`` themselves, where they are ``count`` that this bank can keep.

        :raises VectorIndexError: vectors of another shape, or not finite
        """
        if vectors.shape != (count, self.dimension):
            raise VectorIndexError(
                f"{count} vectors of {self.dimension} numbers were expected, not {vectors.shape}: check the embedder."
            )
        for vector in vectors:
            self._blob(vector)
        return vectors

    def _blob(self, vector: Vector) -> bytes:
        if vector.shape != (self.dimension,):
            raise VectorIndexError(f"A vector has the shape {vector.shape}; this bank's are ({self.dimension},).")
        if not np.isfinite(vector).all():
            raise VectorIndexError("A vector holds values that are not finite: check the embedder.")
        return vector.astype("<f4").tobytes()
