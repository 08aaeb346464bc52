"""Full text: it follows the texts of memories and turns, and is built anew where it does not."""

from __future__ import annotations

from contextlib import suppress

from memr1_lite.errors import StoreError
from memr1_lite.migrations import full_text
from memr1_lite.store.vectors import TABLES, Vectors

_PARTS = """
    SELECT count(*) FROM sqlite_master WHERE name IN
        ('{0}_fts', '{0}_fts_added', '{0}_fts_removed', '{0}_fts_changed')
"""
_COUNTS = "SELECT (SELECT count(*) FROM {0}_fts_docsize) = (SELECT count(*) FROM {0})"
_ANY_WORD = "SELECT count(*) FROM (SELECT 1 FROM {0}_fts WHERE {0}_fts MATCH 'x' LIMIT 1)"
# What FTS5 keeps a table in, and what an empty one holds: without these not even DROP TABLE works.
# https://sqlite.org/fts5.html, "FTS5 Data Structures"
_EMPTY = (
    "CREATE TABLE IF NOT EXISTS {0}_fts_data (id INTEGER PRIMARY KEY, block BLOB)",
    "CREATE TABLE IF NOT EXISTS {0}_fts_idx (segid, term, pgno, PRIMARY KEY (segid, term)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS {0}_fts_docsize (id INTEGER PRIMARY KEY, sz BLOB)",
    "CREATE TABLE IF NOT EXISTS {0}_fts_config (k PRIMARY KEY, v) WITHOUT ROWID",
    "INSERT OR REPLACE INTO {0}_fts_config (k, v) VALUES ('version', 4)",
    "INSERT OR REPLACE INTO {0}_fts_data (id, block) VALUES (1, x''), (10, zeroblob(7))",
)


class FullText(Vectors):
    """The part of the store that keeps texts searchable by word. Triggers write it, with the texts themselves."""

    def rebuild_full_text(self) -> None:
        """Build the full text of memories and turns anew from their texts, whatever is left of it.

        :raises StoreError: the file is busy for too long, read-only, full or damaged elsewhere
        """
        with self.transaction():
            for table in TABLES.values():
                try:
                    with self.transaction():
                        self._build(table)
                except StoreError:
                    self._drop(table)
                    self._build(table)

    def _mend_full_text(self) -> None:
        """Rebuild full text that is missing or damaged, as far as a look without reading it all tells, when the bank
        is opened."""
        if not all(self._stands(table) for table in TABLES.values()):
            # A writer elsewhere, a full disk or a read-only file leaves it for the next time: the bank must open.
            with suppress(StoreError):
                self.rebuild_full_text()

    def _stands(self, table: str) -> bool:
        """Whether a full text has all its parts, as many rows as there are texts, and can be asked."""
        try:
            with self._snapshot():
                whole = self._number(_PARTS.format(table)) == 4 and self._number(_COUNTS.format(table)) == 1
                return whole and self._number(_ANY_WORD.format(table)) >= 0
        except StoreError:
            return False

    def _build(self, table: str) -> None:
        for statement in full_text(table):
            self._write(statement)
        # A deleted word stays in FTS5's segments until they happen to be merged.
        self._write(f"INSERT INTO {table}_fts ({table}_fts) VALUES ('rebuild')")

    def _drop(self, table: str) -> None:
        if self._row("SELECT 1 FROM sqlite_master WHERE name = ?", f"{table}_fts") is not None:
            for statement in _EMPTY:
                self._write(statement.format(table))
            self._write(f"DROP TABLE {table}_fts")
