import sqlite3
from contextlib import closing

import pytest
from sqlite_utils import Database

from memr1_lite.errors import NotABankError, SchemaTooNewError, StoreError
from memr1_lite.migrations import APPLICATION_ID, SCHEMA_VERSION, migrations
from memr1_lite.records import Noop
from memr1_lite.store import Store


def open_bank(path):
    return Store.open(path, embedder="test", dimension=4)


def pragma(path, name):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_new_bank_carries_our_mark_and_the_newest_schema(tmp_path):
    open_bank(tmp_path / "a.db").close()
    assert pragma(tmp_path / "a.db", "application_id") == APPLICATION_ID
    assert pragma(tmp_path / "a.db", "user_version") == SCHEMA_VERSION
    assert pragma(tmp_path / "a.db", "journal_mode") == "wal"


def test_the_schema_version_is_the_number_of_migrations():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        database = Database(connection)
        migrations.apply(database)
        assert len(migrations.applied(database)) == SCHEMA_VERSION
        assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION


def test_an_id_is_never_reused_in_any_table_that_counts(tmp_path):
    open_bank(tmp_path / "a.db").close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        tables = ("messages", "memories", "changes", "operations", "turn_touches")
        for table in tables:
            (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            assert "AUTOINCREMENT" in sql, table


def test_a_newer_schema_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "a.db"
    open_bank(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(SchemaTooNewError) as caught:
        open_bank(path)
    assert (caught.value.found, caught.value.supported) == (SCHEMA_VERSION + 1, SCHEMA_VERSION)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.db"]


def foreign_sqlite(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.execute("PRAGMA application_id = 7")
        connection.commit()


def foreign_sqlite_in_wal_mode(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").close()
        connection.execute("CREATE TABLE messages (id INTEGER)")
        connection.commit()


@pytest.mark.parametrize(
    "make",
    [
        foreign_sqlite,
        foreign_sqlite_in_wal_mode,
        lambda path: path.write_text("Dear diary"),
        lambda path: path.write_bytes(b"SQLite format 3\0"),
        lambda path: path.write_bytes(bytes(8192)),
    ],
    ids=["sqlite", "sqlite-wal", "text", "cut", "zeros"],
)
def test_a_file_of_somebody_else_is_refused_and_not_touched(tmp_path, make):
    path = tmp_path / "a.db"
    make(path)
    before, mode = path.read_bytes(), path.stat().st_mode
    with pytest.raises(NotABankError):
        open_bank(path)
    assert path.read_bytes() == before
    assert path.stat().st_mode == mode
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.db"]


def test_a_folder_is_not_a_bank(tmp_path):
    with pytest.raises(NotABankError):
        open_bank(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StoreError, match="no-such-folder"):
        open_bank(tmp_path / "no-such-folder" / "a.db")


def test_an_empty_file_becomes_a_bank(tmp_path):
    (tmp_path / "a.db").touch()
    with open_bank(tmp_path / "a.db") as store:
        assert store.stats().memories == 0


def test_a_creation_that_failed_half_way_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        migrations.apply(Database(connection))
    assert path.stat().st_size == 0
    with open_bank(path) as store:
        assert store.record("Andrew", "Hello", None).id == 1


def test_a_damaged_bank_is_an_error_and_not_an_empty_bank(tmp_path):
    path = tmp_path / "a.db"
    with open_bank(path) as store:
        store.record("Andrew", "Hello", None)
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 50_000)
    with pytest.raises(StoreError, match="damaged"):
        open_bank(path)


def test_a_bank_whose_tables_are_gone_is_an_error(tmp_path):
    path = tmp_path / "a.db"
    open_bank(path).close()
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(StoreError):
        open_bank(path).stats()


def test_a_bank_of_the_second_schema_is_taken_on(tmp_path):
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrations.apply(Database(connection), stop_before="m003_confidence_of_operations")
        for setting in (("embedder", "test"), ("dimension", "4")):
            connection.execute("INSERT INTO settings VALUES (?, ?)", setting)
        connection.execute("INSERT INTO changes (reason, created_at) VALUES ('gate', '2023-06-16T00:00:00+00:00')")
        connection.execute("INSERT INTO operations (change_id, op) VALUES (1, 'NOOP')")
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 2
    with open_bank(path) as store:
        assert [line.confidence for line in store.change(1).operations] == [None]
        noop = store.apply([Noop(op="NOOP", confidence=0.5)], message_id=None, reason="manager", vectors={})
        assert [line.confidence for line in noop.operations] == [0.5]
        assert store.check() == []
    assert pragma(path, "user_version") == SCHEMA_VERSION
