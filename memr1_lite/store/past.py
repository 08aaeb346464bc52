"""The bank as it stood: what the log says that a moment of the past looked like."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TypeVar

from memr1_lite.control import Call, current_call
from memr1_lite.errors import ChangeNotFoundError, ModelError, StoreError
from memr1_lite.records import Difference, Memory
from memr1_lite.store.changes import Changes
from memr1_lite.store.connection import MEMORY
from memr1_lite.store.memories import memory_of

# What a memory was after change ?1 is kept by its first operation after that; an ADD keeps nothing: it was not there.
_FIRST_LATER = """
    SELECT min(seq) FROM operations WHERE change_id > ?1 AND memory_id IS NOT NULL GROUP BY memory_id
"""
_AS_OF = f"""
    SELECT id, text, version, message_id, at FROM memories
        WHERE id NOT IN (SELECT memory_id FROM operations WHERE change_id > ?1 AND memory_id IS NOT NULL)
    UNION ALL
    SELECT memory_id, old_text, old_version, old_message_id, old_at FROM operations
        WHERE seq IN ({_FIRST_LATER}) AND old_text IS NOT NULL
    ORDER BY 1
"""
_WIND_BACK = (
    "DELETE FROM memories WHERE id IN (SELECT memory_id FROM operations WHERE change_id > ?1)",
    f"""
    INSERT INTO memories (id, text, version, message_id, at, embedding, created_at, updated_at)
        SELECT memory_id, old_text, old_version, old_message_id, old_at, old_embedding, old_created_at, old_created_at
        FROM operations WHERE seq IN ({_FIRST_LATER}) AND old_text IS NOT NULL
    """,
    "DELETE FROM operations WHERE change_id > ?1",
    "UPDATE changes SET undone_by = NULL",
    "DELETE FROM changes WHERE id > ?1",
)
_NOT_YET_DECIDED = """
    UPDATE messages SET state = 'pending'
        WHERE state = 'done' AND id NOT IN (SELECT message_id FROM changes WHERE message_id IS NOT NULL)
"""

PAGES = 1_024
"""Copied at a time: between two stretches it is looked whether the call must end."""
STEPS = 10_000
"""Instructions of SQLite's between two such looks: well under a millisecond."""


Itself = TypeVar("Itself", bound="Past")


class Past(Changes):
    """The part of the store that looks back."""

    def change_at(self, at: datetime) -> int:
        """The id of the last change made up to ``at``, which has a time zone; 0 where there is none."""
        written = at.astimezone(timezone.utc).isoformat()
        return self._number("SELECT ifnull(max(id), 0) FROM changes WHERE created_at <= ?", written)

    def memories_as_of(self, change_id: int) -> list[Memory]:
        """The memories as they stood right after a change, by id; 0 is before the first one.

        A memory that was purged since is not among them.

        :raises ChangeNotFoundError: there is no such change
        """
        self._exists(change_id)
        return [memory_of(row) for row in self._rows(_AS_OF, change_id)]

    def diff(self, change_id: int) -> list[Difference]:
        """What is different now from right after a change, by memory; what came and went in between is not.

        :raises ChangeNotFoundError: there is no such change
        """
        with self._snapshot():
            self._exists(change_id)
            then = {memory.id: memory.text for memory in self.memories_as_of(change_id)}
            now = {memory.id: memory.text for memory in self.memories()}
        return [
            Difference(memory_id=memory_id, old=then.get(memory_id), new=now.get(memory_id))
            for memory_id in sorted(then.keys() | now.keys())
            if then.get(memory_id) != now.get(memory_id)
        ]

    def as_of(self: Itself, change_id: int, at: datetime) -> Itself:
        """A copy of the bank in memory, wound back to right after ``change_id``, with the turns recorded up to ``at``.

        It takes as much memory as the bank has bytes; the bank itself is not touched.

        :raises ChangeNotFoundError: there is no such change
        :raises DeadlineError: the call's deadline passed, or a CallCancelledError where it was cancelled
        """
        self._exists(change_id)
        call = current_call()
        copy = sqlite3.connect(MEMORY, check_same_thread=False, isolation_level=None)
        with ExitStack() as on_failure:
            on_failure.callback(copy.close)
            with self._apart() as source:
                # One state, though it is copied in several steps: that begins with the first read.
                source.execute("SELECT max(id) FROM changes").fetchall()
                source.backup(copy, pages=PAGES, progress=lambda *_: call.check())
            past = type(self)(MEMORY, copy)
            past.embedder, past.dimension = self.embedder, self.dimension
            copy.set_progress_handler(lambda: _is_over(call), STEPS)
            try:
                past._wind_back(change_id, at)
            except StoreError:
                call.check()  # that was why
                raise
            copy.set_progress_handler(None, 0)
            on_failure.pop_all()
        return past

    def _wind_back(self, change_id: int, at: datetime) -> None:
        with self.transaction():
            self._write("PRAGMA defer_foreign_keys = ON")
            for statement in _WIND_BACK:
                self._write(statement, *([change_id] if "?1" in statement else []))
            self._write("DELETE FROM messages WHERE recorded_at > ?", at.astimezone(timezone.utc).isoformat())
            self._write(_NOT_YET_DECIDED)
            # Which change was taken back by which is what the undoing ones say, told again from the first.
            for undo in self._rows("SELECT id, undoes FROM changes WHERE undoes IS NOT NULL ORDER BY id"):
                self._mark_undone(undo["undoes"], undo["id"])

    def _exists(self, change_id: int) -> None:
        if change_id != 0 and self._row("SELECT 1 FROM changes WHERE id = ?", change_id) is None:
            raise ChangeNotFoundError(change_id)


def _is_over(call: Call) -> bool:
    try:
        call.check()
    except ModelError:
        return True
    return False
