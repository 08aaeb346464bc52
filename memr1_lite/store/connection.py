"""The open file: what may be opened, transactions, and SQLite's errors in our own words."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from sqlite_utils import Database

from memr1_lite.errors import ClosedError, InvalidInputError, NotABankError, SchemaTooNewError, StoreError
from memr1_lite.migrations import APPLICATION_ID, SCHEMA_VERSION, migrations

MEMORY = ":memory:"
BUSY_SECONDS = 10.0
"""How long a writer waits for another one before it gives up."""
CACHE_KIB = 16_384
"""Pages kept in memory, at most: a search of a big bank touches some hundred of them, all over the file."""

Value = str | int | float | bytes | None

_ADVICE = (
    (("locked", "busy"), "another process has been writing to it for too long: try again"),
    (("readonly",), "it cannot be written: check the permissions of the file and its folder"),
    (("disk is full",), "the disk is full: free some space; nothing was half-written"),
    (("disk I/O error",), "the disk failed, or a limit on it was reached: check it; nothing was half-written"),
    (("_fts", "fts5"), "its full text is missing or damaged: reindex the bank"),
    (("malformed",), "the file is damaged: reindex the bank, and where that does not help, restore it from a backup"),
    (("not a database",), "the file is damaged: restore it from a backup"),
    (("unable to open",), "it cannot be opened: check that its folder exists and can be written"),
)


def store_error(path: str, error: sqlite3.Error) -> StoreError:
    """The error of ours that says what happened to the bank at ``path`` and what to do."""
    said = str(error)
    for marks, advice in _ADVICE:
        if any(mark in said for mark in marks):
            return StoreError(f"Bank {path!r}: {advice} (SQLite: {said}).")
    return StoreError(f"Bank {path!r}: SQLite reports: {said}.")


def now() -> str:
    """The present moment in UTC, as it is stored."""
    return datetime.now(timezone.utc).isoformat()


class Connection:
    """One SQLite connection behind one lock: any thread may use it, one at a time."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._closed = False
        self._process = os.getpid()
        self._connection = connection

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that opened the file."""
        return os.getpid() != self._process

    def refuse_forked(self) -> None:
        """Refuse a file that the parent opened.

        :raises StoreError: this process is a fork of the one that opened it
        """
        if self.forked:
            raise StoreError(
                f"The bank {self.path!r} was opened before this process was forked, and SQLite files can be damaged so:"
                " open it in the child, or start processes with 'spawn'."
            )

    def close(self) -> None:
        """Close the file; twice is fine. A fork leaves it to the process that opened it."""
        if self.forked:
            return
        with self._lock:
            self._closed = True
            self._connection.close()

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock, refuse a closed or a forked bank, and turn SQLite's errors into ours."""
        self.refuse_forked()  # before the lock: a thread that does not exist in the child may have held it
        with self._lock:
            if self._closed:
                raise ClosedError(f"The bank {self.path!r} has been closed: open it again.")
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise store_error(self.path, error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """The only door to writes: all of the block happens, or nothing of it. Blocks may nest.

        :raises StoreError: the file is busy for too long, read-only, full or damaged
        :raises ClosedError: after close()
        """
        with self._use() as connection:
            nested = connection.in_transaction
            try:
                # Inside the try: an interrupt just after it would leave a transaction open that nobody commits.
                # IMMEDIATE: a transaction that began by reading could not wait for another writer, only fail.
                connection.execute("SAVEPOINT nested" if nested else "BEGIN IMMEDIATE")
                yield
                connection.execute("RELEASE nested" if nested else "COMMIT")
            except BaseException:
                # A full disk may already have ended the whole transaction; rolling back again would hide why.
                if connection.in_transaction:
                    connection.execute("ROLLBACK TO nested" if nested else "ROLLBACK")
                if nested and connection.in_transaction:
                    connection.execute("RELEASE nested")
                raise

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Let several reads see one state, whatever another process writes meanwhile."""
        with self._use() as connection:
            if connection.in_transaction:
                yield
                return
            try:
                connection.execute("BEGIN")
                yield
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    @contextmanager
    def _apart(self) -> Iterator[sqlite3.Connection]:
        """A reading connection in which a long look at one state does not hold up this store's other threads."""
        if self.path == MEMORY:
            with self._snapshot(), self._use() as connection:
                yield connection
            return
        # As SQLite knows it: the process may have changed its folder since.
        other = connect(self._rows("PRAGMA database_list")[0]["file"], BUSY_SECONDS)
        with closing(other):
            try:
                other.execute("BEGIN")
                yield other
            except sqlite3.Error as error:
                raise store_error(self.path, error) from error

    def _rows(self, sql: str, *values: Value) -> list[sqlite3.Row]:
        with self._use() as connection:
            cursor = connection.cursor()
            cursor.row_factory = sqlite3.Row
            try:
                return cursor.execute(sql, values).fetchall()
            except (OverflowError, UnicodeEncodeError) as error:
                raise InvalidInputError(f"SQLite cannot hold one of the values given: {error}.") from error

    def _row(self, sql: str, *values: Value) -> sqlite3.Row | None:
        rows = self._rows(sql, *values)
        return rows[0] if rows else None

    def _setting(self, key: str) -> str | None:
        row = self._row("SELECT value FROM settings WHERE key = ?", key)
        return None if row is None else str(row["value"])

    def _set_setting(self, key: str, value: str) -> None:
        self._write("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", key, value)

    def _number(self, sql: str, *values: Value) -> int:
        return int(self._rows(sql, *values)[0][0])

    def _write(self, sql: str, *values: Value) -> int:
        """Run a writing statement inside a transaction; return the id of the row it inserted, if it did."""
        with self._use() as connection:
            if not connection.in_transaction:
                raise StoreError(f"Bank {self.path!r}: a write outside transaction().")
            try:
                return connection.execute(sql, values).lastrowid or 0
            except (OverflowError, UnicodeEncodeError) as error:
                raise InvalidInputError(f"SQLite cannot hold one of the values given: {error}.") from error


def connect(path: str, busy_seconds: float) -> sqlite3.Connection:
    """Open the bank at ``path``, creating it where there is nothing or an empty file, with its schema up to date.

    :raises NotABankError: the file is something else; it was not touched
    :raises SchemaTooNewError: a newer version wrote it; it was not touched
    :raises StoreError: it cannot be opened, or is damaged
    """
    if path != MEMORY:
        _create_or_check(Path(path))
    try:
        # isolation_level=None: the driver begins no transactions behind our back.
        # An absolute path: SQLite may be built to read a name such as "file:..." as a URI.
        name = path if path == MEMORY else os.path.abspath(path)
        connection = sqlite3.connect(name, timeout=busy_seconds, check_same_thread=False, isolation_level=None)
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    try:
        _prepare(connection, path, busy_seconds)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise store_error(path, error) from error
        raise
    return connection


def _create_or_check(path: Path) -> None:
    """Refuse by its first bytes what is not a bank: opening a stranger's file with SQLite may already write to it."""
    try:
        # A bank holds private words: nobody else may read it. SQLite gives -wal and -shm the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return
    except FileExistsError:
        pass
    except (OSError, ValueError) as error:
        raise StoreError(
            f"Bank {str(path)!r} cannot be created: {error}. Check that its folder exists and can be written."
        ) from error
    _check_header(path)


def _check_header(path: Path) -> None:
    if not path.is_file():
        raise NotABankError(f"{str(path)!r} is not a file: name a file for the bank.")
    try:
        with path.open("rb") as file:
            header = file.read(100)
        if not header:
            path.chmod(0o600)
            return
    except OSError as error:
        raise StoreError(f"Bank {str(path)!r} cannot be read: {error}. Check its permissions.") from error
    if len(header) < 100 or header[:16] != b"SQLite format 3\0":
        raise NotABankError(f"{str(path)!r} is not a memory bank, nor any SQLite file: choose another path.")
    # Offsets of the SQLite file format: user_version at 60, application_id at 68, both big-endian.
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise NotABankError(f"{str(path)!r} is another program's SQLite file: choose another path for the bank.")
    found = int.from_bytes(header[60:64], "big")
    if found > SCHEMA_VERSION:
        raise SchemaTooNewError(str(path), found, SCHEMA_VERSION)


def _prepare(connection: sqlite3.Connection, path: str, busy_seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}")
    # FULL: in WAL mode anything less may lose an acknowledged turn when the power fails.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > SCHEMA_VERSION:
        raise SchemaTooNewError(path, found, SCHEMA_VERSION)
    if found < SCHEMA_VERSION:
        _migrate(connection)
    # Only after creation, which so leaves its mark in the file's own header and not in the log beside it.
    _use_write_ahead_log(connection, busy_seconds)


def _migrate(connection: sqlite3.Connection) -> None:
    # Without plugins: what else is installed must not decide how a bank behaves.
    database = Database(connection, execute_plugins=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(database)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _use_write_ahead_log(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Switch to WAL; SQLite's own waiting does not cover this switch, so two that create a bank at once take turns."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def listed(values: Sequence[int]) -> str:
    """Ids as JSON, for ``json_each``: any number of them in one parameter."""
    return "[" + ",".join(map(str, map(int, values))) + "]"
