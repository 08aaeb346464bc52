"""The memories as they are now, by id."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from memr1_lite.errors import InvalidInputError, MemoryNotFoundError
from memr1_lite.records import Memory
from memr1_lite.store.connection import listed
from memr1_lite.store.messages import moment
from memr1_lite.store.vectors import Vectors

_COLUMNS = "id, text, version, message_id, at"


def memory_of(row: sqlite3.Row) -> Memory:
    """The record of a row of ``memories``."""
    return Memory(
        id=row["id"], text=row["text"], version=row["version"], message_id=row["message_id"], at=moment(row["at"])
    )


class Memories(Vectors):
    """The part of the store that reads memories."""

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
