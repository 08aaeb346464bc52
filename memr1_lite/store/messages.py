"""The raw turns: written first, never changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime

from memr1_lite.records import Message, MessageState
from memr1_lite.store.connection import Value, listed, now
from memr1_lite.store.vectors import Vector, Vectors

_COLUMNS = "id, speaker, text, at, source_id, state"

# A memory's turns are those of its changes that still hold; a change that was undone wrote nothing that stands.
_ORIGINS = """
    SELECT operations.memory_id, changes.message_id
    FROM operations JOIN changes ON changes.id = operations.change_id
    WHERE changes.undone_by IS NULL AND changes.message_id IS NOT NULL AND operations.op IN ('ADD', 'UPDATE')
        AND operations.memory_id IN (SELECT value FROM json_each(?))
    GROUP BY operations.memory_id, changes.message_id ORDER BY max(operations.seq) DESC
"""


def message_of(row: sqlite3.Row) -> Message:
    """The record of a row of ``messages``."""
    return Message(
        id=row["id"],
        speaker=row["speaker"],
        text=row["text"],
        at=moment(row["at"]),
        source_id=row["source_id"],
        state=row["state"],
    )


def moment(written: str | None) -> datetime | None:
    """A stored moment."""
    return None if written is None else datetime.fromisoformat(written)


class Messages(Vectors):
    """The part of the store that keeps turns."""

    def record(
        self,
        speaker: str,
        text: str,
        at: datetime | None,
        source_id: str | None = None,
        *,
        vector: Vector | None = None,
    ) -> Message:
        """Write a turn and return it; it is on disk when this returns.

        A ``source_id`` that is there already returns the turn it names, and writes nothing.

        :param vector: the turn's vector, shape ``(d,)``; None leaves the turn to full text until it gets one
        :raises InvalidInputError: a text that is not valid Unicode
        :raises VectorIndexError: a vector of another dimension, or not finite
        """
        blob = None if vector is None else self._blob(vector)
        with self.transaction():
            known = None if source_id is None else self.message_by_source(source_id)
            if known is not None:
                return known
            written = None if at is None else at.isoformat()
            message_id = self._write(
                "INSERT INTO messages (speaker, text, at, source_id, recorded_at) VALUES (?, ?, ?, ?, ?)",
                speaker,
                text,
                written,
                source_id,
                now(),
            )
            if blob is not None:
                self._check_embedder()
                self._set_vector(message_id, blob)
        return Message(id=message_id, speaker=speaker, text=text, at=at, source_id=source_id)

    def turns_without_vector(self, limit: int | None = None) -> list[Message]:
        """The first ``limit`` turns that only full text finds: their embedder failed, or an old version wrote them."""
        sql = f"SELECT {_COLUMNS} FROM messages WHERE embedding IS NULL ORDER BY id LIMIT ?"
        return [message_of(row) for row in self._rows(sql, -1 if limit is None else limit)]

    def add_turn_vectors(self, ids: Sequence[int], vectors: Vector) -> None:
        """Give turns that have none their vectors, shape ``(len(ids), d)``; a turn purged meanwhile is left out.

        :raises VectorIndexError: vectors of another dimension, or not finite
        """
        blobs = [self._blob(vector) for vector in vectors]
        with self.transaction():
            self._check_embedder()
            for message_id, blob in zip(ids, blobs, strict=True):
                self._set_vector(message_id, blob)

    def _set_vector(self, message_id: int, blob: bytes) -> None:
        # An update, also for a new turn: that is what the log of touched turns is written by.
        self._write("UPDATE messages SET embedding = ? WHERE id = ? AND embedding IS NULL", blob, message_id)

    def message(self, message_id: int) -> Message | None:
        """The turn with this id, or None."""
        row = self._row(f"SELECT {_COLUMNS} FROM messages WHERE id = ?", message_id)
        return None if row is None else message_of(row)

    def message_by_source(self, source_id: str) -> Message | None:
        """The turn that was recorded under this ``source_id``, or None."""
        row = self._row(f"SELECT {_COLUMNS} FROM messages WHERE source_id = ?", source_id)
        return None if row is None else message_of(row)

    def messages(
        self, *, state: MessageState | None = None, speaker: str | None = None, limit: int | None = None
    ) -> list[Message]:
        """Turns in the order they were recorded, the first ``limit`` of those that match."""
        conditions, values = ["1"], list[Value]()
        if state is not None:
            # Written out: only a literal lets SQLite use the partial index of pending turns.
            conditions.append("state = 'pending'" if state == "pending" else "state = 'done'")
        if speaker is not None:
            conditions.append("speaker = ?")
            values.append(speaker)
        sql = f"SELECT {_COLUMNS} FROM messages WHERE {' AND '.join(conditions)} ORDER BY id LIMIT ?"
        return [message_of(row) for row in self._rows(sql, *values, -1 if limit is None else limit)]

    def fetch_messages(self, ids: Sequence[int]) -> dict[int, Message]:
        """The turns among ``ids`` that exist, by id."""
        sql = f"SELECT {_COLUMNS} FROM messages WHERE id IN (SELECT value FROM json_each(?))"
        return {row["id"]: message_of(row) for row in self._rows(sql, listed(ids))}

    def origins(self, memory_ids: Collection[int]) -> dict[int, list[int]]:
        """By memory, the ids of the turns that it was written from, the latest first; also of a deleted memory."""
        found: dict[int, list[int]] = {memory_id: [] for memory_id in memory_ids}
        for row in self._rows(_ORIGINS, listed(list(memory_ids))):
            found[row["memory_id"]].append(row["message_id"])
        return found
