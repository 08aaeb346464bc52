"""Copies of a bank: another file of the same kind, or JSON Lines that hold every row of it."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from memr1_lite.errors import ConversationFormatError, InvalidInputError, SchemaTooNewError
from memr1_lite.migrations import SCHEMA_VERSION
from memr1_lite.store.checking import Checking
from memr1_lite.store.connection import Value, store_error
from memr1_lite.store.reembedding import TARGET
from memr1_lite.store.stamps import PREFIX

EXPORT_FORMAT = "memr1-bank"
TABLES = ("messages", "changes", "memories", "operations", "turn_touches", "settings", "sqlite_sequence")
"""Every table with a truth in it, in the order in which rows name each other; full text follows by itself."""
_OWN_SETTINGS = ("embedder", "dimension", TARGET)
_NOT_TAKEN = (sqlite3.IntegrityError, sqlite3.ProgrammingError, KeyError)


class Copies(Checking):
    """The part of the store that gets it out and in."""

    def backup(self, path: str | Path) -> None:
        """Copy the bank, as it is at this moment, into a new file at ``path``; readers and writers go on meanwhile.

        :raises InvalidInputError: there is a file already
        :raises StoreError: the copy cannot be written; none is left then
        """
        with new_file(Path(path)) as unfinished, self._apart() as source:
            try:
                with closing(sqlite3.connect(unfinished)) as copy:
                    source.backup(copy)
            except sqlite3.Error as error:
                raise store_error(str(path), error) from error

    def export_lines(self) -> Iterator[str]:
        """Every row of the bank as it is at this moment: a line with its kind, a line per row, a line with counts.

        Vectors are base64 of little-endian float32. The same bank gives the same lines.
        """
        counts = {}
        with self._apart() as source:
            version = source.execute("PRAGMA user_version").fetchone()[0]
            head = {"format": EXPORT_FORMAT, "version": version, "embedder": self.embedder, "dimension": self.dimension}
            yield _line(head)
            for table in TABLES:
                rows = source.execute(f"SELECT * FROM {table} ORDER BY 1")
                names = [column[0] for column in rows.description]
                counts[table] = 0
                for row in rows:
                    if table != "settings" or not (row[0] in _OWN_SETTINGS or row[0].startswith(PREFIX)):
                        yield _line({"table": table} | {n: _told(v) for n, v in zip(names, row, strict=True)})
                        counts[table] += 1
        yield _line({"end": counts})

    def import_lines(self, lines: Iterable[str]) -> None:
        """Take over the rows of another bank, all or none; this one has to be empty.

        :raises InvalidInputError: the bank is not empty
        :raises ConversationFormatError: the lines are not a whole, sound export; the first is read already
        """
        with self.transaction(), self._use() as connection:
            if self._number("SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM changes)"):
                raise InvalidInputError(f"Bank {self.path!r} is not empty: an export is imported into a new bank.")
            connection.execute("PRAGMA defer_foreign_keys = ON")
            columns = {table: _columns(connection, table) for table in TABLES}
            counts, end = dict.fromkeys(TABLES, 0), None
            for number, line in enumerate(lines, start=2):
                row = _object(line, number)
                if "end" in row:
                    end = row["end"]
                    continue
                table = row.pop("table", None)
                if not isinstance(table, str) or not row or row.keys() - columns.get(table, {}).keys():
                    raise _wrong(number, "a row of a bank", line)
                try:
                    values = {name: _value(given, columns[table][name], self.dimension) for name, given in row.items()}
                    _insert(connection, table, values)
                except (*_NOT_TAKEN, ValueError, TypeError, OverflowError) as error:
                    raise _wrong(number, "a row that the bank takes", f"{line:.80} ({error})") from error
                counts[table] += 1
            if end != counts:
                raise ConversationFormatError(f"The export is cut off: it holds {counts}, and should hold {end}.")
            if found := self.check():
                raise ConversationFormatError(f"The export does not agree with itself: {found[0]}")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name to write to that takes the place of ``path`` once all is written and synced; nothing is left otherwise.

    :raises InvalidInputError: there is a file already, or its folder cannot be written
    """
    if path.exists():
        raise InvalidInputError(f"{str(path)!r} is there already: choose another name, or remove it first.")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise InvalidInputError(f"{str(path)!r} cannot be written: {error.strerror}.") from error
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def export_header(line: str) -> tuple[str, int]:
    """The embedder and dimension that the first line of an export names.

    :raises ConversationFormatError: it is not the first line of an export
    :raises SchemaTooNewError: a newer version wrote it
    """
    head = _object(line, 1)
    version, embedder, dimension = head.get("version"), head.get("embedder"), head.get("dimension")
    known = head.get("format") == EXPORT_FORMAT and isinstance(embedder, str)
    if not (known and isinstance(version, int) and isinstance(dimension, int) and dimension > 0):
        raise _wrong(1, f"the first line of an export, with format {EXPORT_FORMAT!r}", line)
    if version > SCHEMA_VERSION:
        raise SchemaTooNewError("the export", version, SCHEMA_VERSION)
    return str(embedder), dimension


def _insert(connection: sqlite3.Connection, table: str, values: dict[str, Value]) -> None:
    if table == "sqlite_sequence":  # the rows before have left a count of their own
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (values["name"],))
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    return {row[1]: row[2] for row in connection.execute(f"PRAGMA table_info({table})")}


def _line(row: dict[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _told(value: Value) -> str | int | float | None:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _value(given: object, kind: str, dimension: int) -> Value:
    if kind != "BLOB" or given is None:
        if given is not None and not isinstance(given, str | int | float):
            raise TypeError("a value that is neither text nor number")
        return given
    if not isinstance(given, str):
        raise TypeError("a vector that is not base64")
    blob = base64.b64decode(given, validate=True)
    if len(blob) != 4 * dimension or not np.isfinite(np.frombuffer(blob, "<f4")).all():
        raise ValueError(f"a vector that is not {dimension} finite numbers")
    return blob


def _object(line: str, number: int) -> dict[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _wrong(number, "JSON", str(error)) from error
    if not isinstance(found, dict):
        raise _wrong(number, "an object", line)
    return found


def _wrong(number: int, expected: str, found: str) -> ConversationFormatError:
    return ConversationFormatError(f"Line {number} of the export: expected {expected}, found {found:.120}.")
