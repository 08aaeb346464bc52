"""SQLite: turns, memories, and the log of what happened to them. The truth; every index is a cache of it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from memr1_lite.errors import EmbedderMismatchError, InvalidInputError, StoreError
from memr1_lite.records import Record
from memr1_lite.store.connection import BUSY_SECONDS, connect
from memr1_lite.store.copies import EXPORT_FORMAT, export_header, new_file
from memr1_lite.store.erasure import Erasure
from memr1_lite.store.finding import Finding
from memr1_lite.store.messages import Messages
from memr1_lite.store.reembedding import Reembedding
from memr1_lite.store.stamps import Stamps
from memr1_lite.store.vectors import Kind

__all__ = ["EXPORT_FORMAT", "Kind", "Stats", "Store", "export_header", "new_file"]


class Stats(Record):
    """How much a bank holds: counts, ``bytes`` of the database, and the name of the embedder that made its vectors."""

    memories: int
    messages: int
    pending: int
    changes: int
    operations: int
    bytes: int
    embedder: str


class Store(Messages, Erasure, Finding, Reembedding):
    """A memory bank's file. Safe to use from several threads, and from several processes at once."""

    @classmethod
    def open(cls, path: str | Path, *, embedder: str, dimension: int, busy_seconds: float = BUSY_SECONDS) -> Store:
        """Open the bank at ``path``, or create it; ``":memory:"`` is a bank that dies with the process.

        :param embedder: name of what makes the vectors; a bank never mixes those of two
        :param dimension: length of every vector
        :param busy_seconds: how long to wait for another writer
        :raises NotABankError: the file is something else; it was not touched
        :raises SchemaTooNewError: a newer version wrote it; it was not touched
        :raises EmbedderMismatchError: its vectors are of another embedder
        :raises StoreError: it cannot be opened, or is damaged
        """
        if dimension < 1:
            raise InvalidInputError(f"A vector has at least one dimension, not {dimension}.")
        store = cls(str(path), connect(str(path), busy_seconds))
        store.embedder, store.dimension = embedder, dimension
        try:
            store._settle_embedder()
            store._finish_erasure()
            store._mend_full_text()
        except BaseException:
            store.close()
            raise
        return store

    @staticmethod
    def embedder_of(path: str | Path) -> str | None:
        """The name of the embedder that the bank at ``path`` was made with; None where there is no bank yet.

        :raises StoreError: as :meth:`open` does
        """
        if not Path(path).exists():
            return None
        peek = Store(str(path), connect(str(path), BUSY_SECONDS))
        try:
            return peek._embedder_settings().get("embedder")
        finally:
            peek.close()

    @classmethod
    def as_made(cls, path: str | Path) -> Store:
        """Open the bank at ``path`` with the embedder that it has, whichever that is.

        :raises StoreError: there is none, or as :meth:`open` does
        """
        if not Path(path).exists():
            raise StoreError(f"There is no bank at {str(path)!r}.")
        store = cls(str(path), connect(str(path), BUSY_SECONDS))
        found = store._embedder_settings()
        store.embedder, store.dimension = found.get("embedder", ""), int(found.get("dimension", 0))
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def stats(self) -> Stats:
        """Count what there is."""
        with self._snapshot():
            tables = ("memories", "messages", "changes", "operations")
            counts = {table: self._number(f"SELECT count(*) FROM {table}") for table in tables}
            pending = self._number("SELECT count(*) FROM messages WHERE state = 'pending'")
            size = self._number("PRAGMA page_count") * self._number("PRAGMA page_size")
        return Stats(**counts, pending=pending, bytes=size, embedder=self.embedder)

    def index_stamps(self, kind: Kind) -> Stamps:
        """Where the stamps of this kind's saved index are kept."""
        return Stamps(self, kind)

    def _settle_embedder(self) -> None:
        mine = {"embedder": self.embedder, "dimension": str(self.dimension)}
        found = self._embedder_settings()
        if not found:
            with self.transaction():
                # Whoever comes first decides, also between two processes that create the bank at once.
                for key, value in mine.items():
                    self._write("INSERT OR IGNORE INTO settings (key, value) VALUES (?, ?)", key, value)
                found = self._embedder_settings()
        if found["embedder"] != self.embedder:
            raise EmbedderMismatchError(found["embedder"], self.embedder)
        if found != mine:
            expected, got = (f"{each['embedder']} ({each['dimension']} dimensions)" for each in (found, mine))
            raise EmbedderMismatchError(expected, got)

    def _embedder_settings(self) -> dict[str, str]:
        rows = self._rows("SELECT key, value FROM settings WHERE key IN ('embedder', 'dimension')")
        return {row["key"]: row["value"] for row in rows}
