"""Looking for damage, SQLite's own and whether the parts of the bank still say the same; and putting in order."""

from __future__ import annotations

import sqlite3

from memr1_lite.errors import InvalidInputError
from memr1_lite.store.full_text import FullText

# One row per disagreement, with the id that it is about.
_AGREEMENTS = {
    "Memory {} differs from what the log last wrote": """
        SELECT memories.id FROM memories LEFT JOIN operations ON operations.seq = (
            SELECT max(seq) FROM operations AS its WHERE its.memory_id = memories.id)
        WHERE operations.new_text IS NOT memories.text OR operations.new_version IS NOT memories.version
    """,
    "Memory {} is in the log and not in the bank": """
        SELECT memory_id FROM operations WHERE op <> 'DELETE' AND memory_id NOT IN (SELECT id FROM memories)
            AND seq = (SELECT max(seq) FROM operations AS its WHERE its.memory_id = operations.memory_id)
    """,
    "Turn {} is done without a change that says how": """
        SELECT id FROM messages WHERE state = 'done' AND id NOT IN (
            SELECT message_id FROM changes WHERE message_id IS NOT NULL)
    """,
    "Turn {} is pending and yet has a change": """
        SELECT id FROM messages WHERE state = 'pending' AND id IN (
            SELECT message_id FROM changes WHERE message_id IS NOT NULL)
    """,
    "Change {} has no operations": "SELECT id FROM changes WHERE id NOT IN (SELECT change_id FROM operations)",
    "Turn {} has a vector that no index will hear of": """
        SELECT id FROM messages WHERE embedding IS NOT NULL AND id NOT IN (SELECT message_id FROM turn_touches)
    """,
    "Memory {} has a vector of the wrong length": "SELECT id FROM memories WHERE length(embedding) <> :bytes",
    "Turn {} has a vector of the wrong length": "SELECT id FROM messages WHERE length(embedding) <> :bytes",
}


class Checking(FullText):
    """The part of the store that looks after itself."""

    def check(self) -> list[str]:
        """Every damage found, a sentence each; nothing is changed.

        :raises StoreError: the file cannot be read, or is read-only
        """
        found = []
        with self.transaction(), self._use() as connection:  # one state throughout
            for name, sound in (("integrity_check", "ok"), ("foreign_key_check", None)):
                for row in self._rows(f"PRAGMA {name}"):
                    if row[0] != sound:
                        found.append(f"SQLite's {name} says: {', '.join(str(value) for value in row)}.")
            for table in ("memories", "messages"):
                try:
                    # rank 1 compares the index with the texts themselves, not only with itself.
                    connection.execute(f"INSERT INTO {table}_fts ({table}_fts, rank) VALUES ('integrity-check', 1)")
                except sqlite3.DatabaseError as error:
                    found.append(f"The full text of {table} differs from their texts ({error}): reindex the bank.")
            for sentence, sql in _AGREEMENTS.items():
                for row in connection.execute(sql, {"bytes": 4 * self.dimension}):
                    found.append(sentence.format(row[0]) + ".")
        return found

    def compact(self) -> None:
        """Give back the space of what is gone, and put the rest in order on the disk; other writers wait meanwhile.

        :raises InvalidInputError: inside a transaction()
        :raises StoreError: the file is busy for too long, or there is no room for a second copy of it
        """
        with self._use() as connection:
            if connection.in_transaction:
                raise InvalidInputError("Compacting rewrites the file and cannot be part of a transaction().")
            with self.transaction():
                for table in ("memories_fts", "messages_fts"):
                    self._write(f"INSERT INTO {table} ({table}) VALUES ('optimize')")
            connection.execute("VACUUM")
            # A reader elsewhere may hold some of the log back: then the last to close the file cuts it.
            self._checkpointed()

    def _checkpointed(self) -> bool:
        """Move the write-ahead log into the file and cut it to nothing; False where somebody is in the way."""
        row = self._row("PRAGMA wal_checkpoint(TRUNCATE)")
        return row is not None and row[0] == 0
