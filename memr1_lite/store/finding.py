"""What retrieval asks of the store: who holds a word, who said what and when, and what was written from which turn."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from memr1_lite.errors import EmbedderMismatchError, InvalidInputError
from memr1_lite.records import Span
from memr1_lite.store.connection import Value, listed
from memr1_lite.store.vectors import TABLES, Kind, Vectors

Ids = npt.NDArray[np.int64]

MAX_SPEAKERS = 256
"""Where more people speak, names in questions are read as words like others."""

# A skip from each name to the next one in the index: DISTINCT would read all of it.
_SPEAKERS = """
    WITH RECURSIVE names (name) AS (
        SELECT min(speaker) FROM messages
        UNION ALL SELECT (SELECT min(speaker) FROM messages WHERE speaker > name) FROM names WHERE name IS NOT NULL
    )
    SELECT name FROM names WHERE name IS NOT NULL LIMIT ?
"""
_JOINS: dict[Kind, str] = {
    "turn": "JOIN messages ON messages.id = messages_fts.rowid",
    "memory": "JOIN memories ON memories.id = memories_fts.rowid LEFT JOIN messages ON messages.id = message_id",
}
_PLAIN: dict[Kind, str] = {
    "turn": "messages",
    "memory": "memories LEFT JOIN messages ON messages.id = memories.message_id",
}
_UNCOVERED = """
    NOT EXISTS (SELECT 1 FROM changes JOIN operations ON operations.change_id = changes.id
        WHERE changes.message_id = messages.id AND changes.undone_by IS NULL
            AND (operations.op <> 'NOOP' OR changes.reason = 'gate'))
"""
"""The condition that a row of ``messages`` changed no memory: what it says is nowhere but in it.

A turn whose memory was deleted since counts as covered: it says what was taken back. So does one that the gate passed
over: it says nothing, or what another turn said."""
_TRAITS: dict[Kind, str] = {
    "turn": f"""
        SELECT messages.id, speaker, at FROM json_each(?) CROSS JOIN messages ON messages.id = json_each.value
        WHERE {_UNCOVERED}
    """,
    "memory": """
        SELECT memories.id, speaker, memories.at FROM json_each(?) CROSS JOIN memories ON memories.id = json_each.value
        LEFT JOIN messages ON messages.id = message_id
    """,
}
_STANDINGS = """
    SELECT (SELECT ifnull(max(position), 0) FROM turn_touches), (SELECT ifnull(max(id), 0) FROM messages),
        (SELECT ifnull(max(seq), 0) FROM operations), (SELECT ifnull(max(id), 0) FROM memories),
        (SELECT value FROM settings WHERE key = 'embedder')
"""
_LINEAGE = """
    SELECT DISTINCT changes.message_id, operations.memory_id FROM changes
    JOIN operations ON operations.change_id = changes.id JOIN memories ON memories.id = operations.memory_id
    WHERE changes.message_id IN (SELECT value FROM json_each(?))
        AND changes.undone_by IS NULL AND operations.op IN ('ADD', 'UPDATE')
"""


class Standing(NamedTuple):
    """How far one kind of unit has come: the place in its log, and the highest id, 0 where there is none."""

    position: int
    highest: int


class Finding(Vectors):
    """The part of the store that retrieval stands on. Every filter is part of the query itself."""

    def standings(self) -> dict[Kind, Standing]:
        """How far each kind has come; about how many units there are, told without counting them.

        :raises EmbedderMismatchError: the bank was moved to another embedder since it was opened
        """
        with self._use() as connection:
            turn, turns, memory, memories, embedder = connection.execute(_STANDINGS).fetchone()
        if embedder != self.embedder:
            raise EmbedderMismatchError(embedder, self.embedder)
        return {"turn": Standing(turn, turns), "memory": Standing(memory, memories)}

    def holding(
        self, kind: Kind, words: Sequence[str], limit: int, span: Span | None = None, *, uncovered: bool = False
    ) -> list[Ids]:
        """For each word the newest ``limit`` units that hold it in any of its English forms, by id, ascending.

        :param uncovered: only turns that changed no memory
        """
        table = f"{TABLES[kind]}_fts"
        where, values = _conditions(kind, span, uncovered=uncovered)
        join = _JOINS[kind] if where else ""
        sql = f"SELECT {table}.rowid AS id FROM {table} {join} WHERE {table} MATCH ?{where}"
        sql = f"{sql} ORDER BY {table}.rowid DESC LIMIT ?"
        found = []
        with self._use() as connection:
            for word in words:
                asked = (_quoted(word), *values, limit)
                found.append(_ids(connection, sql, asked) if word.strip("\0 ") else np.zeros(0, np.int64))
        return found

    def keyword_search(
        self, kind: Kind, words: Sequence[str], limit: int, span: Span | None = None, *, uncovered: bool = False
    ) -> list[int]:
        """Ids of the units that hold any of ``words``, best BM25 first, at most ``limit``; no words find nothing.

        :param uncovered: only turns that changed no memory
        """
        quoted = [_quoted(word) for word in words if word.strip("\0 ")]
        if not quoted or limit <= 0:
            return []
        table = f"{TABLES[kind]}_fts"
        where, values = _conditions(kind, span, uncovered=uncovered)
        join = _JOINS[kind] if where else ""
        sql = f"SELECT {table}.rowid FROM {table} {join} WHERE {table} MATCH ?{where}"
        sql = f"{sql} ORDER BY rank, {table}.rowid LIMIT ?"
        return [row[0] for row in self._rows(sql, " OR ".join(quoted), *values, limit)]

    def within(self, kind: Kind, span: Span | None, *, uncovered: bool = False) -> Ids:
        """The units that ``span`` lets through, by id, ascending.

        :param uncovered: only turns that changed no memory
        """
        where, values = _conditions(kind, span, uncovered=uncovered)
        with self._use() as connection:
            return _ids(connection, f"SELECT {TABLES[kind]}.id FROM {_PLAIN[kind]} WHERE 1{where}", values)

    def speakers(self) -> list[str]:
        """Who speaks in this bank; nobody where there are more than 256."""
        names = [row[0] for row in self._rows(_SPEAKERS, MAX_SPEAKERS + 1)]
        return names if len(names) <= MAX_SPEAKERS else []

    def speaker_called(self, name: str) -> str:
        """The name of a speaker as it was recorded, where ``name`` may differ from it in upper and lower case.

        :raises InvalidInputError: several differ only so, and none is written exactly like ``name``
        """
        if self._row("SELECT 1 FROM messages WHERE speaker = ? LIMIT 1", name) is not None:
            return name
        called = [row[0] for row in self._rows(_SPEAKERS, -1) if row[0].casefold() == name.casefold()]
        if len(called) > 1:
            raise InvalidInputError(f"speaker={name!r} may be {' or '.join(map(repr, called))}: write it like that.")
        return called[0] if called else name

    def traits(self, kind: Kind, ids: Sequence[int]) -> dict[int, tuple[str | None, str | None]]:
        """Of those among ``ids`` that may be shown: who said it (a memory: its latest turn) and when, as it is stored.

        Memories that live, and turns that changed no memory.
        """
        if not ids:
            return {}
        with self._use() as connection:
            return {row[0]: (row[1], row[2]) for row in connection.execute(_TRAITS[kind], (listed(ids),))}

    def written_from(self, message_ids: Sequence[int]) -> Ids:
        """Pairs of a turn among ``message_ids`` and a live memory that it wrote or rewrote, shape ``(n, 2)``."""
        with self._use() as connection:
            rows = connection.execute(_LINEAGE, (listed(message_ids),)) if message_ids else ()
            return np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, 2)


def _quoted(word: str) -> str:
    """Quoted, a word is a word whatever is in it: a bare question would be a syntax error to FTS5."""
    return '"' + word.replace("\0", " ").replace('"', '""') + '"'


def _ids(connection: sqlite3.Connection, sql: str, values: Sequence[Value]) -> Ids:
    """The column ``id`` of a query, ascending. As one text: row by row, a thousand ids take twice the time."""
    together = connection.execute(f"SELECT group_concat(id) FROM ({sql})", values).fetchone()[0]
    ids: Ids = np.fromstring(together or "", np.int64, sep=",")
    ids.sort()
    return ids


def _conditions(kind: Kind, span: Span | None, *, uncovered: bool = False) -> tuple[str, list[Value]]:
    only = f" AND {_UNCOVERED}" if uncovered else ""
    if span is None:
        return only, []
    at = f"{TABLES[kind]}.at"
    asked: list[tuple[str, Value]] = [
        (" AND messages.speaker = ?", span.speaker),
        (f" AND {at} >= ?", None if span.since is None else span.since.isoformat()),
        (f" AND {at} < ?", None if span.until is None else span.until.isoformat()),
    ]
    kept = [(sql, value) for sql, value in asked if value is not None]
    return "".join(sql for sql, _ in kept) + only, [value for _, value in kept]
