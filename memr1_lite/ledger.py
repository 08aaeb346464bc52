"""What is in a bank and what became of it: reading, the history and taking back, and the care of the file itself."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path

from memr1_lite.dates import as_instant
from memr1_lite.errors import ClosedError, ConversationFormatError, MemR1Error
from memr1_lite.gate import whole
from memr1_lite.llm import Embedder
from memr1_lite.records import Change, Difference, Memory, Message
from memr1_lite.retriever import Retriever, spoken
from memr1_lite.store import Stats, Store, export_header, new_file

EMBEDDED_AT_ONCE = 256
Moment = str | date | datetime | Change | int
"""A moment of this machine's clock, or a change and all before it, by itself or by its id."""


class Ledger:
    """The side of a bank that needs no model: :class:`~memr1_lite.bank.MemoryBank` adds saying and asking."""

    def __init__(self, store: Store, retriever: Retriever, embedder: Embedder) -> None:
        self._store = store
        self._retriever = retriever
        self._embedder = embedder
        self._closed = False

    # What is there

    def get(self, memory_id: int) -> Memory:
        """One memory.

        :raises MemoryNotFoundError: no live memory has this id
        """
        return self._open_store().memory(whole(memory_id, "memory_id"))

    def list(self, limit: int | None = None, offset: int = 0) -> builtins.list[Memory]:
        """The memories, oldest first.

        :raises InvalidInputError: a negative number, or none
        """
        limit = None if limit is None else whole(limit, "limit", 0)
        return self._open_store().memories(limit=limit, offset=whole(offset, "offset", 0))

    def pending(self) -> builtins.list[Message]:
        """The turns that no decision has been made about yet, in the order they were recorded."""
        return self._open_store().messages(state="pending")

    def stats(self) -> Stats:
        """How much is in the bank."""
        return self._open_store().stats()

    # What became of it

    def history(self, memory_id: int | None = None) -> builtins.list[Change]:
        """All changes, oldest first; of one memory only, also a deleted one, where ``memory_id`` is given.

        :raises MemoryNotFoundError: no memory ever had this id
        """
        return self._open_store().history(None if memory_id is None else whole(memory_id, "memory_id"))

    def undo(self, change: Change | int) -> Change:
        """Take one change back, whoever made it; undoing the result is redoing.

        :raises ChangeNotFoundError: no such change
        :raises UndoConflictError: later changes built on it, which the error names; nothing was changed
        """
        return self._open_store().undo(_id_of(change, "change"))

    def forget(self, memory_id: int, *, purge: bool = False) -> Change | None:
        """Delete a memory. It stays in the history and can be undone, unless ``purge`` erases it everywhere.

        Purged are the memory, all its versions, and the turns it was written from; nothing brings them back.

        :raises MemoryNotFoundError: no such memory
        :raises StoreError: the memory is purged, but another process keeps old bytes: close it, purge again
        """
        store = self._open_store()
        try:
            return store.forget(whole(memory_id, "memory_id"), purge=purge)
        finally:
            if purge:  # also where the store could not overwrite all of its own bytes yet
                self._retriever.rebuild()

    def diff(self, since: Moment) -> builtins.list[Difference]:
        """What is different now from how the bank stood at ``since``, memory by memory.

        :param since: a moment of this machine's clock, or a change: right after it
        :raises InvalidInputError: no moment
        :raises ChangeNotFoundError: no such change
        """
        return self._open_store().diff(self._instant(since, "since")[0])

    def _instant(self, moment: Moment, name: str) -> tuple[int, datetime]:
        """The last change up to ``moment``, the argument ``name``, and its time."""
        store = self._open_store()
        if isinstance(moment, Change | int):
            change = store.change(_id_of(moment, name))
            return change.id, change.created_at
        at = as_instant(moment, name)
        return store.change_at(at), at

    # The file

    def reindex(self) -> Stats:
        """Build everything anew that only follows the truth: missing turn vectors, full text, both vector indexes.

        :raises StoreError: the file is busy, read-only or full; what was there before still works
        :raises VectorIndexError: an index could not be written
        """
        store = self._open_store()
        while missing := store.turns_without_vector(EMBEDDED_AT_ONCE):
            vectors = self._embedder.embed([spoken(turn.speaker, turn.text) for turn in missing])
            store.add_turn_vectors([turn.id for turn in missing], vectors)
        store.rebuild_full_text()
        self._retriever.rebuild()
        return store.stats()

    def check(self) -> builtins.list[str]:
        """Look for damage, one sentence per finding; an empty list is a sound bank. Reads everything once.

        :raises StoreError: the file cannot be read or written at all
        """
        store = self._open_store()
        found = store.check()
        for kind in ("memory", "turn"):
            indexed, stored = set(self._retriever.indexed(kind)), set(store.vectors(kind)[0].tolist())
            if indexed != stored:
                ids = sorted(indexed ^ stored)
                found.append(f"The index of {kind} vectors and the store differ in {len(ids)}, such as {ids[0]}.")
        return found

    def compact(self) -> Stats:
        """Give back the space of what is gone, and put the rest in order on the disk; other writers wait meanwhile.

        :raises StoreError: the file is busy for too long, or there is no room for a second copy of it
        """
        self._open_store().compact()
        return self.stats()

    def backup(self, path: str | Path) -> None:
        """Copy the bank, as it is at this moment, into a new file at ``path``; readers and writers go on meanwhile.

        :raises InvalidInputError: there is a file already
        :raises StoreError: the copy cannot be written; none is left then
        """
        self._open_store().backup(path)

    def export(self, path: str | Path) -> None:
        """Write everything that is in the bank, its history and vectors too, into a new file of JSON Lines.

        :meth:`~memr1_lite.MemoryBank.import_bank` makes the same bank of it again.

        :raises InvalidInputError: there is a file already, or it cannot be written
        """
        self._open_store()
        with new_file(Path(path)) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in self.export_lines())

    def export_lines(self) -> Iterator[str]:
        """The lines of :meth:`export`, one by one, without line breaks."""
        return self._open_store().export_lines()

    @staticmethod
    def import_bank(path: str | Path, file: str | Path) -> Stats:
        """Make a new bank at ``path`` of what :meth:`export` wrote; all of it, or nothing is made.

        :raises InvalidInputError: there is a bank at ``path`` that is not empty
        :raises ConversationFormatError: the file is not a whole, sound export
        :raises SchemaTooNewError: a newer version wrote it
        """
        path, file = Path(path), Path(file)
        new = not path.exists()
        try:
            with file.open(encoding="utf-8") as lines:
                embedder, dimension = export_header(lines.readline())
                try:
                    with Store.open(path, embedder=embedder, dimension=dimension) as store:
                        store.import_lines(lines)
                        return store.stats()
                except (MemR1Error, UnicodeDecodeError):
                    if new:
                        path.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise ConversationFormatError(f"Cannot read {str(file)!r}: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise ConversationFormatError(f"{str(file)!r} is not UTF-8 text: {error.reason}.") from error

    @staticmethod
    def reembed(path: str | Path, embedder: Embedder, progress: Callable[[int, int], None] | None = None) -> Stats:
        """Move the bank at ``path`` to another embedder. Interrupted or killed and run again, it goes on.

        Whoever has the bank open goes on searching and writing meanwhile; once it has moved, an open bank raises
        :class:`~memr1_lite.errors.EmbedderMismatchError`, and is to be opened again.

        :param progress: is told how many texts have their new vector, of how many, in this run
        :raises StoreError: there is no bank, or it cannot be written
        """
        with Store.as_made(path) as store:
            if (store.embedder, store.dimension) == (embedder.name, embedder.dimension):
                return store.stats()
            store.begin_reembedding(embedder.name, embedder.dimension)
            while True:
                texts = store.not_reembedded(spoken)
                for start in range(0, len(texts), EMBEDDED_AT_ONCE):
                    part = texts[start : start + EMBEDDED_AT_ONCE]
                    store.add_fresh_vectors(embedder.name, part, embedder.embed(part))
                    if progress is not None:
                        progress(start + len(part), len(texts))
                if store.switch_embedder(embedder.name, embedder.dimension, spoken):
                    return store.stats()

    def _open_store(self) -> Store:
        if self._closed:
            raise ClosedError("This bank was closed: open it again with MemoryBank.open().")
        self._store.refuse_forked()
        return self._store


def _id_of(change: Change | int, name: str) -> int:
    return change.id if isinstance(change, Change) else whole(change, name)
