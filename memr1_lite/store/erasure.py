"""Forgetting: as a change that can be undone, or for good."""

from __future__ import annotations

from contextlib import suppress

from memr1_lite.errors import InvalidInputError, MemoryNotFoundError, StoreError
from memr1_lite.records import Change
from memr1_lite.store.connection import listed
from memr1_lite.store.copies import Copies
from memr1_lite.store.past import Past
from memr1_lite.store.stamps import PREFIX

_UNFINISHED = "erasure_unfinished"


class Erasure(Past, Copies):
    """The part of the store that forgets."""

    def forget(self, memory_id: int, *, purge: bool = False) -> Change | None:
        """Delete a memory as a change that can be undone and return it; or, with ``purge``, erase it for good.

        A purge also takes a memory that is deleted already. It erases every text and vector the memory ever had, the
        turns it was written from with all turns that say exactly the same, their full text, and the bytes in the file
        that held them; the log keeps that something was forgotten, without words. Another memory written from such a
        turn stays. Copies elsewhere, such as backups, are not reached.

        :raises MemoryNotFoundError: no such memory; with ``purge``, no memory ever had this id
        :raises StoreError: another process has the file open, so that not all bytes could be overwritten yet
        """
        if purge:
            self._purge(memory_id)
            return None
        with self.transaction():
            memory = self.memory(memory_id)
            change_id = self._new_change("forget")
            self._remove(change_id, self._seen(memory_id, memory.version))
            return self.change(change_id)

    def _purge(self, memory_id: int) -> None:
        with self._use() as connection:
            if connection.in_transaction:
                raise InvalidInputError("A purge rewrites the file and cannot be part of a transaction().")
            with self.transaction():
                self._erase_rows(memory_id)
                # A saved index still holds the vectors: should this process die now, no later one takes it up.
                self._write("DELETE FROM settings WHERE substr(key, 1, ?) = ?", len(PREFIX), PREFIX)
                self._set_setting(_UNFINISHED, "1")
            if not self._overwrite_free_bytes():
                raise StoreError(
                    f"Bank {self.path!r}: memory {memory_id} is gone, but another process has the file open, so old"
                    " bytes may remain. Close the other process, then purge again or reopen the bank."
                )

    def _erase_rows(self, memory_id: int) -> None:
        if self._row("SELECT 1 FROM operations WHERE memory_id = ?", memory_id) is None:
            raise MemoryNotFoundError(memory_id)
        turns = listed(self._turns_to_purge(memory_id))
        live = self._row("SELECT * FROM memories WHERE id = ?", memory_id)
        if live is not None:
            self._remove(self._new_change("forget"), live)
        self._write(
            "UPDATE operations SET old_text = NULL, new_text = NULL, old_at = NULL, old_embedding = NULL,"
            " old_message_id = NULL WHERE memory_id = ?",
            memory_id,
        )
        self._write("DELETE FROM fresh_vectors")
        self._write("DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?))", turns)

    def _turns_to_purge(self, memory_id: int) -> list[int]:
        sources = {
            row[0]
            for row in self._rows(
                "SELECT message_id FROM changes WHERE id IN (SELECT change_id FROM operations WHERE memory_id = ?1)"
                " UNION SELECT old_message_id FROM operations WHERE memory_id = ?1"
                " UNION SELECT message_id FROM memories WHERE id = ?1",
                memory_id,
            )
        }
        rows = self._rows("SELECT id, text FROM messages")
        turns = [(row["id"], " ".join(row["text"].split()).casefold()) for row in rows]
        # The gate passes over a turn that was said before, so its copies belong to no memory.
        said = {text for message_id, text in turns if message_id in sources}
        return [message_id for message_id, text in turns if text in said]

    def _overwrite_free_bytes(self) -> bool:
        """Leave no byte of what was erased; return False if another connection kept some of them in the log."""
        with self._use() as connection:
            self.rebuild_full_text()
            connection.execute("VACUUM")
            if self._checkpointed():
                with self.transaction():
                    self._write("DELETE FROM settings WHERE key = ?", _UNFINISHED)
                return self._checkpointed()
        return False

    def _finish_erasure(self) -> None:
        """Finish a purge that was interrupted, when the bank is opened and no one else is in the way."""
        if self._setting(_UNFINISHED) is not None:
            # A writer elsewhere or a full disk leaves it for the next time: the bank must open all the same.
            with suppress(StoreError):
                self._overwrite_free_bytes()
