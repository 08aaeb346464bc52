"""Decisions, applied and taken back: every write to a memory is a line of the log that can be reversed."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Literal

from memr1_lite.errors import (
    ChangeNotFoundError,
    InvalidInputError,
    MemoryNotFoundError,
    StaleDecisionError,
    UndoConflictError,
)
from memr1_lite.records import Add, AppliedOperation, Change, Delete, Noop, Operation, OperationName, Update
from memr1_lite.store.connection import Value, listed, now
from memr1_lite.store.memories import Memories
from memr1_lite.store.messages import moment
from memr1_lite.store.vectors import Vector

Reason = Literal["manager", "gate", "forget", "undo"]

_INSERT_OPERATION = """
    INSERT INTO operations (change_id, op, memory_id, old_text, new_text, old_version, new_version,
        old_message_id, old_at, old_embedding, old_created_at, confidence)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OPERATION_COLUMNS = "seq, change_id, op, memory_id, old_text, new_text, confidence"

# A later change is in the way unless it and the one that took it back are both later: together they are nothing.
_LATER = f"""
    SELECT {", ".join("operations." + name for name in _OPERATION_COLUMNS.split(", "))} FROM operations
    JOIN changes AS later ON later.id = operations.change_id
    LEFT JOIN changes AS undone ON undone.id = later.undoes
    WHERE later.id > ?1 AND later.undone_by IS NULL
        AND NOT (undone.id IS NOT NULL AND undone.id > ?1 AND undone.undone_by = later.id)
        AND operations.memory_id IN (SELECT memory_id FROM operations WHERE change_id = ?1)
    ORDER BY operations.seq DESC
"""
_PURGED = """
    SELECT DISTINCT memory_id FROM operations
    WHERE memory_id IN (SELECT value FROM json_each(?)) AND old_text IS NULL AND new_text IS NULL ORDER BY memory_id
"""


class Changes(Memories):
    """The part of the store that writes memories, and keeps the log."""

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        message_id: int | None,
        reason: Reason,
        vectors: Mapping[str, Vector],
        turn_vector: Vector | None = None,
        model: str | None = None,
        confidence: float | None = None,
    ) -> Change:
        """Carry out a decision in one transaction: memories, vectors, full text, log, and the turn marked as done.

        A turn that is done already was decided elsewhere meanwhile: that change is returned and nothing is written.

        :param vectors: the vector, shape ``(d,)``, of every text that is added or updated
        :param turn_vector: the vector of the turn itself, where it has none yet
        :raises MemoryNotFoundError: an operation names a memory that is not there
        :raises StaleDecisionError: it names another version than there is
        :raises InvalidInputError: no operations, two on one memory, a blank text, a text without a vector, no such turn
        :raises VectorIndexError: a vector of another dimension, or not finite
        """
        blobs = self._checked(operations, vectors)
        turn_blob = None if turn_vector is None else self._blob(turn_vector)
        with self.transaction():
            self._check_embedder()
            at: str | None = None
            if message_id is not None:
                turn = self._row("SELECT at, state FROM messages WHERE id = ?", message_id)
                if turn is None:
                    raise InvalidInputError(f"No turn has the id {message_id}: record it first.")
                decided = self.change_of_message(message_id)
                if turn["state"] == "done" and decided is not None:
                    return decided
                at = turn["at"]
            change_id = self._new_change(reason, message_id=message_id, model=model, confidence=confidence)
            for operation in operations:
                self._apply_one(change_id, operation, blobs, message_id, at)
            if message_id is not None:
                self._write("UPDATE messages SET state = 'done' WHERE id = ?", message_id)
                if turn_blob is not None:
                    self._write(
                        "UPDATE messages SET embedding = ? WHERE id = ? AND embedding IS NULL", turn_blob, message_id
                    )
            return self.change(change_id)

    def undo(self, change_id: int) -> Change:
        """Take a change back, as a new change that can itself be taken back.

        Texts, vectors and origins return; a deleted memory returns under its old id. Versions go on counting, so that
        an agent that saw the memory before cannot mistake it for unchanged.

        :raises ChangeNotFoundError: there is no such change
        :raises UndoConflictError: it was undone already, later changes touch its memories, or its texts were purged
        """
        with self.transaction():
            row = self._row("SELECT undone_by FROM changes WHERE id = ?", change_id)
            if row is None:
                raise ChangeNotFoundError(change_id)
            lines = self._rows("SELECT * FROM operations WHERE change_id = ? ORDER BY seq DESC", change_id)
            self._refuse_conflict(change_id, [line["memory_id"] for line in lines], row["undone_by"])
            new_id = self._new_change("undo", undoes=change_id)
            for line in lines:
                self._reverse(new_id, line)
            self._mark_undone(change_id, new_id)
            return self.change(new_id)

    def _refuse_conflict(self, change_id: int, touched: Sequence[int | None], undone_by: int | None) -> None:
        memory_ids = [memory_id for memory_id in touched if memory_id is not None]
        if undone_by is not None:
            raise UndoConflictError(change_id, memory_ids, f"change {undone_by} has done so already")
        if purged := [row["memory_id"] for row in self._rows(_PURGED, listed(memory_ids))]:
            raise UndoConflictError(change_id, purged, f"the words of memory {_joined(purged)} were purged")
        if later := self._rows(_LATER, change_id):
            said = [f"change {row['change_id']} ({AppliedOperation(**dict(row))})" for row in later]
            memory_ids = sorted({row["memory_id"] for row in later})
            changes = list(dict.fromkeys(row["change_id"] for row in later))
            why = f"{_joined(said)} built on it; undo change {_joined(changes)} first, in this order"
            raise UndoConflictError(change_id, memory_ids, why, changes)

    def change(self, change_id: int) -> Change:
        """The change with this id.

        :raises ChangeNotFoundError: there is none
        """
        found = self._changes("id = ?", "change_id = ?", change_id)
        if not found:
            raise ChangeNotFoundError(change_id)
        return found[0]

    def change_of_message(self, message_id: int) -> Change | None:
        """The change that a turn brought about, or None while it is pending."""
        row = self._row("SELECT min(id) AS id FROM changes WHERE message_id = ?", message_id)
        return None if row is None or row["id"] is None else self.change(row["id"])

    def history(self, memory_id: int | None = None) -> list[Change]:
        """All changes, the oldest first; or those that touched one memory, live or not, with its operations only.

        :raises MemoryNotFoundError: no memory ever had this id
        """
        if memory_id is None:
            return self._changes("1", "1")
        of_it = "id IN (SELECT change_id FROM operations WHERE memory_id = ?)"
        found = self._changes(of_it, "memory_id = ?", memory_id)
        if not found:
            raise MemoryNotFoundError(memory_id)
        return found

    def _changes(self, which: str, lines: str, *values: Value) -> list[Change]:
        """Changes and, of their operations, those that the condition ``lines`` lets through."""
        operations: dict[int, list[AppliedOperation]] = {}
        with self._snapshot():
            rows = self._rows(f"SELECT * FROM changes WHERE {which} ORDER BY id", *values)
            sql = f"SELECT {_OPERATION_COLUMNS} FROM operations WHERE {lines} ORDER BY seq"
            for line in self._rows(sql, *values):
                operations.setdefault(line["change_id"], []).append(AppliedOperation(**dict(line)))
        return [_change_of(row, operations.get(row["id"], [])) for row in rows]

    def _checked(self, operations: Sequence[Operation], vectors: Mapping[str, Vector]) -> dict[str, bytes]:
        """The vectors that ``operations`` need, as they are stored."""
        if not operations:
            raise InvalidInputError("There is nothing to apply: a decision to do nothing is one Noop.")
        named = [operation.memory_id for operation in operations if isinstance(operation, Update | Delete)]
        if len(set(named)) < len(named):
            raise InvalidInputError(f"Two operations in one decision name the same memory, of {sorted(named)}.")
        blobs = {}
        for operation in operations:
            if isinstance(operation, Add | Update):
                if not operation.text.strip():
                    raise InvalidInputError("A memory's text cannot be blank.")
                if operation.text not in vectors:
                    raise InvalidInputError(f"The text {operation.text!r} comes without its vector.")
                blobs[operation.text] = self._blob(vectors[operation.text])
        return blobs

    def _new_change(
        self,
        reason: Reason,
        *,
        message_id: int | None = None,
        model: str | None = None,
        confidence: float | None = None,
        undoes: int | None = None,
    ) -> int:
        return self._write(
            "INSERT INTO changes (message_id, reason, model, confidence, undoes, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            message_id,
            reason,
            model,
            confidence,
            undoes,
            now(),
        )

    def _apply_one(
        self, change_id: int, operation: Operation, blobs: Mapping[str, bytes], message_id: int | None, at: str | None
    ) -> None:
        sure = operation.confidence
        match operation:
            case Noop():
                self._log(change_id, "NOOP", None, None, None, None, sure)
            case Add(text=text):
                self._insert(change_id, None, text, message_id, at, blobs[text], None, sure)
            case Update(memory_id=memory_id, version=version, text=text):
                old = self._seen(memory_id, version)
                self._replace(change_id, old, text, message_id, at, blobs[text], sure)
            case Delete(memory_id=memory_id, version=version):
                self._remove(change_id, self._seen(memory_id, version), sure)

    def _seen(self, memory_id: int, version: int) -> sqlite3.Row:
        row = self._row("SELECT * FROM memories WHERE id = ?", memory_id)
        if row is None:
            raise MemoryNotFoundError(memory_id)
        if row["version"] != version:
            raise StaleDecisionError(memory_id)
        return row

    def _reverse(self, change_id: int, line: sqlite3.Row) -> None:
        """Put back what an operation found, whatever it was."""
        if line["op"] == "NOOP":
            self._log(change_id, "NOOP", None, None, None, None)
            return
        origin = line["old_message_id"], line["old_at"], line["old_embedding"]
        if line["op"] == "DELETE":
            self._insert(change_id, line["memory_id"], line["old_text"], *origin, line["old_created_at"])
            return
        current = self._row("SELECT * FROM memories WHERE id = ?", line["memory_id"])
        if current is None:
            raise MemoryNotFoundError(line["memory_id"])
        if line["op"] == "ADD":
            self._remove(change_id, current)
        else:
            self._replace(change_id, current, line["old_text"], *origin)

    def _mark_undone(self, change_id: int, undone_by: int) -> None:
        """Record that a change no longer holds; if it was itself an undo, what it undid holds again, and so on."""
        current: int | None = change_id
        marker: int | None = undone_by
        while current is not None:
            self._write("UPDATE changes SET undone_by = ? WHERE id = ?", marker, current)
            row = self._row("SELECT undoes FROM changes WHERE id = ?", current)
            marker, current = (current if marker is None else None), (None if row is None else row["undoes"])

    def _insert(
        self,
        change_id: int,
        memory_id: int | None,
        text: str,
        message_id: int | None,
        at: str | None,
        embedding: bytes,
        created_at: str | None,
        confidence: float | None = None,
    ) -> None:
        version = 1
        if memory_id is not None:
            sql = "SELECT max(max(ifnull(old_version, 0), ifnull(new_version, 0))) FROM operations WHERE memory_id = ?"
            version = self._number(sql, memory_id) + 1
        moment_now = now()
        new_id = self._write(
            "INSERT INTO memories (id, text, version, message_id, at, embedding, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            memory_id,
            text,
            version,
            message_id,
            at,
            embedding,
            created_at or moment_now,
            moment_now,
        )
        self._log(change_id, "ADD", new_id, None, text, version, confidence)

    def _replace(
        self,
        change_id: int,
        old: sqlite3.Row,
        text: str,
        message_id: int | None,
        at: str | None,
        embedding: bytes,
        confidence: float | None = None,
    ) -> None:
        version = old["version"] + 1
        self._write(
            "UPDATE memories SET text = ?, version = ?, message_id = ?, at = ?, embedding = ?, updated_at = ?"
            " WHERE id = ?",
            text,
            version,
            message_id,
            at,
            embedding,
            now(),
            old["id"],
        )
        self._log(change_id, "UPDATE", old["id"], old, text, version, confidence)

    def _remove(self, change_id: int, old: sqlite3.Row, confidence: float | None = None) -> None:
        self._write("DELETE FROM memories WHERE id = ?", old["id"])
        self._log(change_id, "DELETE", old["id"], old, None, None, confidence)

    def _log(
        self,
        change_id: int,
        op: OperationName,
        memory_id: int | None,
        old: sqlite3.Row | None,
        text: str | None,
        version: int | None,
        confidence: float | None = None,
    ) -> None:
        before: tuple[Value, ...] = (None,) * 6
        if old is not None:
            before = tuple(old[key] for key in ("text", "version", "message_id", "at", "embedding", "created_at"))
        names = change_id, op, memory_id, before[0], text, before[1], version
        self._write(_INSERT_OPERATION, *names, *before[2:], confidence)


def _change_of(row: sqlite3.Row, operations: Sequence[AppliedOperation]) -> Change:
    created_at = moment(row["created_at"])
    assert created_at is not None
    return Change(
        id=row["id"],
        message_id=row["message_id"],
        reason=row["reason"],
        operations=tuple(operations),
        created_at=created_at,
        model=row["model"],
        confidence=row["confidence"],
        undoes=row["undoes"],
    )


def _joined(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
