"""The memories as they are now, and how to find them: by id, by word, by vector."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from memr1_lite.errors import InvalidInputError, MemoryNotFoundError, StoreError, VectorIndexError
from memr1_lite.records import Memory
from memr1_lite.store.connection import Connection, listed
from memr1_lite.store.messages import moment

Kind = Literal["memory", "turn"]
Vector = npt.NDArray[np.float32]

_COLUMNS = "id, text, version, message_id, at"
_TABLES = {"memory": "memories", "turn": "messages"}
_LOGS = {"memory": ("operations", "seq", "memory_id"), "turn": ("turn_touches", "position", "message_id")}
_CHUNK = 1024


def memory_of(row: sqlite3.Row) -> Memory:
    """The record of a row of ``memories``."""
    return Memory(
        id=row["id"], text=row["text"], version=row["version"], message_id=row["message_id"], at=moment(row["at"])
    )


class Memories(Connection):
    """The part of the store that reads memories and serves retrieval."""

    dimension: int

    def memory(self, memory_id: int) -> Memory:
        """The live memory with this id.

        :raises MemoryNotFoundError: there is none
        """
        row = self._row(f"SELECT {_COLUMNS} FROM memories WHERE id = ?", memory_id)
        if row is None:
            raise MemoryNotFoundError(memory_id)
        return memory_of(row)

    def memories(self, *, limit: int | None = None, offset: int = 0) -> list[Memory]:
        """Live memories by id, at most ``limit`` of them after the first ``offset``."""
        if offset < 0 or (limit is not None and limit < 0):
            raise InvalidInputError(f"limit and offset count from 0, not {limit} and {offset}.")
        sql = f"SELECT {_COLUMNS} FROM memories ORDER BY id LIMIT ? OFFSET ?"
        return [memory_of(row) for row in self._rows(sql, -1 if limit is None else limit, offset)]

    def fetch_memories(self, ids: Sequence[int]) -> dict[int, Memory]:
        """The live memories among ``ids``, by id."""
        sql = f"SELECT {_COLUMNS} FROM memories WHERE id IN (SELECT value FROM json_each(?))"
        return {row["id"]: memory_of(row) for row in self._rows(sql, listed(ids))}

    def keyword_search(self, kind: Kind, words: Sequence[str], limit: int) -> list[int]:
        """Ids of the units that hold any of ``words``, best BM25 first, at most ``limit``; no words find nothing."""
        # Quoted, a word is a word whatever is in it: a bare question would be a syntax error to FTS5.
        quoted = ['"' + word.replace("\0", " ").replace('"', '""') + '"' for word in words if word.strip("\0 ")]
        if not quoted or limit <= 0:
            return []
        table = _TABLES[kind]
        sql = f"SELECT rowid FROM {table}_fts WHERE {table}_fts MATCH ? ORDER BY rank, rowid LIMIT ?"
        return [row[0] for row in self._rows(sql, " OR ".join(quoted), limit)]

    def vectors(self, kind: Kind, ids: Sequence[int] | None = None) -> tuple[npt.NDArray[np.int64], Vector]:
        """Ids, ascending, and vectors of the live units that have one, of ``ids`` or all: ``(n,)`` and ``(n, d)``."""
        where, values = f"FROM {_TABLES[kind]} WHERE embedding IS NOT NULL", tuple[str, ...]()
        if ids is not None:
            where, values = f"{where} AND id IN (SELECT value FROM json_each(?))", (listed(ids),)
        with self._snapshot(), self._use() as connection:
            count = self._number(f"SELECT count(*) {where}", *values)
            found, matrix = np.empty(count, np.int64), np.empty((count, self.dimension), np.float32)
            # In chunks: a million vectors would otherwise be in memory three times over.
            cursor = connection.execute(f"SELECT id, embedding {where} ORDER BY id", values)
            for start in range(0, count, _CHUNK):
                rows = cursor.fetchmany(min(_CHUNK, count - start))
                blobs = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f4")
                if blobs.size != len(rows) * self.dimension:
                    raise StoreError(f"Bank {self.path!r}: a vector has the wrong length: restore a backup.")
                found[start : start + len(rows)] = [row[0] for row in rows]
                matrix[start : start + len(rows)] = blobs.reshape(len(rows), self.dimension)
            cursor.close()
        return found, matrix

    def touched_since(self, kind: Kind, position: int) -> tuple[int, list[int]]:
        """The log's position now, and the distinct ids touched after ``position``; 0 is before everything.

        A position that the log has not reached belongs to another state of the file, such as a restored backup: then
        every id is returned, and the new position is smaller than the one given.
        """
        log, seq, unit = _LOGS[kind]
        with self._snapshot():
            reached = self._number(f"SELECT ifnull(max({seq}), 0) FROM {log}")
            after = position if position <= reached else 0
            sql = f"SELECT DISTINCT {unit} FROM {log} WHERE {seq} > ? AND {unit} IS NOT NULL ORDER BY {unit}"
            return reached, [row[0] for row in self._rows(sql, after)]

    def _blob(self, vector: Vector) -> bytes:
        if vector.shape != (self.dimension,):
            raise VectorIndexError(f"A vector has the shape {vector.shape}; this bank's are ({self.dimension},).")
        if not np.isfinite(vector).all():
            raise VectorIndexError("A vector holds values that are not finite: check the embedder.")
        return vector.astype("<f4").tobytes()
