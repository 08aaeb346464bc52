"""Moving a bank from one embedder to another: in batches that stay when the process dies, then all at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from memr1_lite.errors import InvalidInputError, VectorIndexError
from memr1_lite.store.stamps import PREFIX
from memr1_lite.store.vectors import Vector, Vectors

Spoken = Callable[[str, str], str]
"""From a turn's speaker and text to what is embedded of it."""

TARGET = "reembedding"
"""The setting that says which embedder the vectors in ``fresh_vectors`` are of."""

# Where there are vectors, with the column that holds them, and how to say what each is the vector of.
_HOLDERS = (
    ("memories", "id", "embedding", "SELECT id, NULL, text FROM memories"),
    ("operations", "seq", "old_embedding", "SELECT seq, NULL, old_text FROM operations WHERE old_text IS NOT NULL"),
    ("messages", "id", "embedding", "SELECT id, speaker, text FROM messages"),
)


class Reembedding(Vectors):
    """The part of the store that changes its embedder. New vectors are kept by a digest of their text, beside the old
    ones, until every text has one; a purge erases them all, and they are made again."""

    def begin_reembedding(self, embedder: str, dimension: int) -> None:
        """Say where to. Vectors that were made for this embedder before stay, those for another one go."""
        target = f"{dimension} {embedder}"
        with self.transaction():
            if self._setting(TARGET) != target:
                self._write("DELETE FROM fresh_vectors")
                self._set_setting(TARGET, target)

    def not_reembedded(self, spoken: Spoken) -> list[str]:
        """The texts that have no new vector yet, each once."""
        with self._snapshot():
            there = {row[0] for row in self._rows("SELECT digest FROM fresh_vectors")}
            missing = {}
            for _, _, _, text in self._embedded(spoken):
                if (digest := _digest(text)) not in there:
                    missing[digest] = text
        return list(missing.values())

    def add_fresh_vectors(self, embedder: str, texts: Sequence[str], vectors: Vector) -> None:
        """Keep new vectors, shape ``(len(texts), d)``; they are on disk when this returns.

        :raises InvalidInputError: another move has begun meanwhile
        :raises VectorIndexError: vectors of another shape, or not finite
        """
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise VectorIndexError(
                f"{len(texts)} finite vectors were expected, not {vectors.shape}: check the embedder."
            )
        with self.transaction():
            self._check_target(f"{vectors.shape[1]} {embedder}")
            for text, vector in zip(texts, vectors, strict=True):
                blob = vector.astype("<f4").tobytes()
                self._write("INSERT OR REPLACE INTO fresh_vectors VALUES (?, ?)", _digest(text), blob)

    def switch_embedder(self, embedder: str, dimension: int, spoken: Spoken) -> bool:
        """Put the new vectors in place of all old ones, in one transaction; False, and nothing done, where a text has
        none, since somebody wrote it meanwhile. Banks that are open then refuse to search and to write.

        :raises InvalidInputError: another move has begun meanwhile
        """
        with self.transaction(), self._use() as connection:
            self._check_target(f"{dimension} {embedder}")
            places = [(table, key, row, _digest(text)) for table, key, row, text in self._embedded(spoken)]
            there = {row[0] for row in self._rows("SELECT digest FROM fresh_vectors")}
            if any(digest not in there for *_, digest in places):
                return False
            for table, key, column, _ in _HOLDERS:
                fresh = "(SELECT embedding FROM fresh_vectors WHERE digest = ?)"
                sql = f"UPDATE {table} SET {column} = {fresh} WHERE {key} = ?"
                connection.executemany(sql, ((digest, row) for of, _, row, digest in places if of == table))
            self._write("DELETE FROM fresh_vectors")
            # Saved indexes are of the old vectors.
            self._write("DELETE FROM settings WHERE key = ? OR substr(key, 1, ?) = ?", TARGET, len(PREFIX), PREFIX)
            for name, value in (("embedder", embedder), ("dimension", str(dimension))):
                self._set_setting(name, value)
        self.embedder, self.dimension = embedder, dimension
        return True

    def _embedded(self, spoken: Spoken) -> Iterator[tuple[str, str, int, str]]:
        """Table, key column, key, and the text that its vector is of, for all that have or should have one."""
        for table, key, _, sql in _HOLDERS:
            for row in self._rows(sql):
                yield table, key, row[0], row[2] if row[1] is None else spoken(row[1], row[2])

    def _check_target(self, target: str) -> None:
        if self._setting(TARGET) != target:
            raise InvalidInputError(f"Bank {self.path!r} is being moved to another embedder, or was moved: try again.")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
