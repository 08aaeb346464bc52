"""The schema of a bank, as numbered steps; a step that has shipped is never edited, a new one is added.

``user_version`` counts the steps, so that a file of a newer version is recognised from its first hundred bytes.
"""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

APPLICATION_ID = 0x4D523142
"""Marks a SQLite file as a memory bank: ``MR1B`` in ASCII."""

migrations = Migrations("memr1_lite")

_TABLES = (
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        speaker TEXT NOT NULL,
        text TEXT NOT NULL,
        at TEXT,
        source_id TEXT UNIQUE,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done')),
        embedding BLOB,
        recorded_at TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE memories (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        text TEXT NOT NULL,
        version INTEGER NOT NULL,
        message_id INTEGER REFERENCES messages (id) ON DELETE SET NULL,
        at TEXT,
        embedding BLOB NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE changes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id INTEGER REFERENCES messages (id) ON DELETE SET NULL,
        reason TEXT NOT NULL CHECK (reason IN ('manager', 'gate', 'forget', 'undo')),
        model TEXT,
        confidence REAL,
        undoes INTEGER REFERENCES changes (id),
        undone_by INTEGER REFERENCES changes (id),
        created_at TEXT NOT NULL
    )
    """,
    # The old_ columns are all that undo needs: whatever an operation replaced can be put back from its own line.
    """
    CREATE TABLE operations (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        change_id INTEGER NOT NULL REFERENCES changes (id),
        op TEXT NOT NULL CHECK (op IN ('ADD', 'UPDATE', 'DELETE', 'NOOP')),
        memory_id INTEGER,
        old_text TEXT,
        new_text TEXT,
        old_version INTEGER,
        new_version INTEGER,
        old_message_id INTEGER REFERENCES messages (id) ON DELETE SET NULL,
        old_at TEXT,
        old_embedding BLOB,
        old_created_at TEXT
    )
    """,
    # One line per turn whose vector was set or which was purged; a later touch takes a new, higher position.
    """
    CREATE TABLE turn_touches (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id INTEGER NOT NULL UNIQUE
    )
    """,
    "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX messages_pending ON messages (id) WHERE state = 'pending'",
    "CREATE INDEX messages_speaker ON messages (speaker)",
    "CREATE INDEX memories_message_id ON memories (message_id)",
    "CREATE INDEX changes_message_id ON changes (message_id)",
    "CREATE INDEX operations_change_id ON operations (change_id)",
    "CREATE INDEX operations_memory_id ON operations (memory_id)",
    """
    CREATE TRIGGER messages_vector_set AFTER UPDATE OF embedding ON messages BEGIN
        INSERT OR REPLACE INTO turn_touches (message_id) VALUES (new.id);
    END
    """,
    """
    CREATE TRIGGER messages_purged AFTER DELETE ON messages BEGIN
        INSERT OR REPLACE INTO turn_touches (message_id) VALUES (old.id);
    END
    """,
)


def full_text(table: str) -> tuple[str, ...]:
    """Statements that keep the texts of ``table`` searchable by word; what is there already, they leave."""
    added = f"INSERT INTO {table}_fts (rowid, text) VALUES (new.id, new.text);"
    removed = f"INSERT INTO {table}_fts ({table}_fts, rowid, text) VALUES ('delete', old.id, old.text);"
    return (
        f"CREATE VIRTUAL TABLE IF NOT EXISTS {table}_fts USING fts5"
        f"(text, content='{table}', content_rowid='id', tokenize='porter unicode61')",
        f"CREATE TRIGGER IF NOT EXISTS {table}_fts_added AFTER INSERT ON {table} BEGIN {added} END",
        f"CREATE TRIGGER IF NOT EXISTS {table}_fts_removed AFTER DELETE ON {table} BEGIN {removed} END",
        f"CREATE TRIGGER IF NOT EXISTS {table}_fts_changed AFTER UPDATE OF text ON {table} BEGIN {removed} {added} END",
    )


@migrations()
def m001_tables(db: Database) -> None:
    """Turns, memories, the log of changes, full text, settings."""
    # One by one: executescript() would commit the transaction that makes creation all-or-nothing.
    for statement in (*_TABLES, *full_text("memories"), *full_text("messages")):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")


@migrations()
def m002_fresh_vectors(db: Database) -> None:
    """Vectors of another embedder, by a digest of their text, until the bank moves to it."""
    db.execute("CREATE TABLE fresh_vectors (digest BLOB PRIMARY KEY, embedding BLOB NOT NULL) WITHOUT ROWID")
    db.execute("PRAGMA user_version = 2")


@migrations()
def m003_confidence_of_operations(db: Database) -> None:
    """How sure the Manager was of each operation; not known of those that are there."""
    db.execute("ALTER TABLE operations ADD COLUMN confidence REAL")
    db.execute("PRAGMA user_version = 3")


SCHEMA_VERSION = 3
"""The newest schema that this package knows: the number of its last migration."""
