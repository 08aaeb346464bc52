"""A bank out and in again: exports, backups, compacting, and files of an older version."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from memr1_lite.bank import MemoryBank
from memr1_lite.config import BankConfig
from memr1_lite.errors import (
    ConversationFormatError,
    EmbedderMismatchError,
    InvalidInputError,
    MemoryNotFoundError,
    SchemaTooNewError,
)
from memr1_lite.llm import END
from memr1_lite.memory_manager import MemoryManager
from memr1_lite.migrations import SCHEMA_VERSION
from memr1_lite.store.copies import TABLES
from memr1_lite.testing import HashEmbedder, ScriptedModel

DATA = Path(__file__).parent / "data"
DECISIONS = [
    ("ADD", " Andrew has a dog named Buddy.", END),
    ("UPDATE", "[1]", " Andrew has two dogs, Buddy and Scout.", END),
    ("ADD", " Audrey lives in Z\u00fcrich.", "ADD", " Audrey is 31.", END),
    ("ADD", " Audrey likes tea.", END),
    ("ADD", " Audrey had a secret.", END),
]


NOT_FINITE = base64.b64encode(np.full(16, np.nan, "<f4").tobytes()).decode()


def open_bank(path, *decisions, **options):
    manager = MemoryManager(ScriptedModel(decisions))
    return MemoryBank.open(path, embedder=HashEmbedder(16), memory_manager=manager, **options)


@pytest.fixture
def path(tmp_path):
    """A bank with something of everything in it."""
    with open_bank(tmp_path / "bank.db", *DECISIONS) as bank:
        bank.remember("I adopted a dog named Buddy.", speaker="Andrew", at="2023-05-07", source_id="chat/1")
        change = bank.remember("I adopted another dog named Scout.", speaker="Andrew", at="2023-06-16T09:30")
        bank.remember('I live in Z\u00fcrich, "the city", and am 31.\nReally.', speaker="Audrey")
        tea = bank.remember("I like tea.", speaker="Audrey")
        secret = bank.remember("I have a secret.", speaker="Audrey")
        bank.undo(bank.undo(bank.undo(change)))
        bank.forget(tea.operations[0].memory_id)
        bank.forget(secret.operations[0].memory_id, purge=True)
        bank.remember("Hi! How are you?", speaker="Andrew")
        bank.record("Nobody has decided about this.")
    return tmp_path / "bank.db"


def everything(bank):
    vectors = [[part.tolist() for part in bank._store.vectors(kind)] for kind in ("memory", "turn")]
    return bank.list(), bank.history(), bank._store.messages(), vectors, bank.search("Andrew dogs Audrey", 20)


def exported(path, name="export.jsonl"):
    with open_bank(path) as bank:
        bank.export(path.with_name(name))
    return path.with_name(name)


def test_an_export_makes_the_same_bank_again_with_history_and_vectors(path):
    file, copy = exported(path), path.with_name("copy.db")
    assert MemoryBank.import_bank(copy, file).messages == 6
    assert exported(copy, "again.jsonl").read_bytes() == file.read_bytes()
    with open_bank(path) as bank, open_bank(copy, ("ADD", " Audrey likes coffee.", END)) as other:
        assert everything(other) == everything(bank)
        assert other.check() == []
        # It goes on where the other was: ids are not given twice, changes can be taken back.
        assert other.remember("I like coffee.").operations[0].memory_id == 6
        assert [difference.old for difference in other.diff(bank.history()[-1])] == [None]
        other.undo(other.undo(3))
        with pytest.raises(MemoryNotFoundError):
            other.get(4)


def test_an_export_holds_every_table_that_is_not_made_from_others(path):
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    derived = {name for (name,) in rows if "_fts" in name}
    assert {name for (name,) in rows} - derived - {"_sqlite_migrations", "fresh_vectors"} == set(TABLES)


def test_an_export_leaves_out_a_move_to_another_embedder_that_is_under_way(path):
    with open_bank(path) as bank:
        bank._store.begin_reembedding("other", 3)
    assert '"reembedding"' not in exported(path).read_text(encoding="utf-8")


def test_an_export_to_a_file_that_is_there_is_refused(path):
    file = path.with_name("export.jsonl")
    file.write_text("mine")
    with open_bank(path) as bank:
        for verb in (bank.export, bank.backup):
            with pytest.raises(InvalidInputError, match="is there already"):
                verb(file)
            with pytest.raises(InvalidInputError, match="cannot be written"):
                verb(path.with_name("no such folder") / "file")
    assert file.read_text() == "mine"


def test_an_import_into_a_bank_with_something_in_it_is_refused(path):
    file, before = exported(path), path.read_bytes()
    with pytest.raises(InvalidInputError, match="not empty"):
        MemoryBank.import_bank(path, file)
    assert path.read_bytes() == before


def test_an_import_goes_into_an_empty_bank_of_the_same_embedder_only(path, tmp_path):
    file = exported(path)
    MemoryBank.open(tmp_path / "other.db", embedder=HashEmbedder(32)).close()
    with pytest.raises(EmbedderMismatchError):
        MemoryBank.import_bank(tmp_path / "other.db", file)
    assert (tmp_path / "other.db").exists()
    open_bank(tmp_path / "same.db").close()
    assert MemoryBank.import_bank(tmp_path / "same.db", file).memories == 3


def replaced(line, **values):
    return lambda lines: [*lines[:line], json.dumps(json.loads(lines[line]) | values), *lines[line + 1 :]]


SPOILT = {
    "cut off": lambda lines: lines[:-1],
    "cut in a line": lambda lines: [*lines[:5], lines[5][:30]],
    "a line missing": lambda lines: lines[:3] + lines[4:],
    "a line twice": lambda lines: [*lines[:3], lines[3], *lines[3:]],
    "nothing": lambda lines: [],
    "no export": lambda lines: ['{"speaker": "Ann", "text": "Hi"}'],
    "no object": lambda lines: [lines[0], "[1, 2]", *lines[1:]],
    "no such table": replaced(1, table="recipes"),
    "no such column": replaced(1, taste="good"),
    "no row": lambda lines: [lines[0], '{"table": "messages"}', *lines[1:]],
    "a value that is none": replaced(1, text={"a": 1}),
    "a text that is missing": replaced(1, text=None),
    "an id too large": replaced(1, id=2**70),
    "a vector that is none": replaced(1, embedding="!!!"),
    "a vector of another length": replaced(1, embedding="AAAA"),
    "a vector that is a number": replaced(1, embedding=5),
    "a vector that is not finite": replaced(1, embedding=NOT_FINITE),
    "a reference to nowhere": replaced(8, message_id=77),
    "a memory that the log does not know": lambda lines: [
        line.replace("Audrey is 31.", "Audrey is 30.") if '"memories"' in line else line for line in lines
    ],
    "no dimension": replaced(0, dimension=None),
}


@pytest.mark.parametrize("how", SPOILT)
def test_an_export_that_is_not_whole_and_sound_makes_no_bank(path, how):
    file, copy = exported(path), path.with_name("copy.db")
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(SPOILT[how](lines)), encoding="utf-8")
    with pytest.raises(ConversationFormatError):
        MemoryBank.import_bank(copy, file)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["bank.db", "export.jsonl"]


def test_a_file_that_cannot_be_read_makes_no_bank(path, tmp_path):
    (tmp_path / "latin").write_bytes(exported(path).read_bytes().replace(b"\xc3\xbc", b"\xfc"))
    for file in ("latin", "none"):
        with pytest.raises(ConversationFormatError, match=file):
            MemoryBank.import_bank(tmp_path / "copy.db", tmp_path / file)
    assert not (tmp_path / "copy.db").exists()


def test_an_export_of_a_newer_version_is_refused(path):
    file = exported(path)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(replaced(0, version=SCHEMA_VERSION + 1)(lines)), encoding="utf-8")
    with pytest.raises(SchemaTooNewError):
        MemoryBank.import_bank(path.with_name("copy.db"), file)


def test_a_bank_in_memory_is_exported_and_backed_up_too(tmp_path):
    with open_bank(":memory:", DECISIONS[0]) as bank:
        bank.remember("I adopted a dog named Buddy.")
        bank.export(tmp_path / "export.jsonl")
        bank.backup(tmp_path / "backup.db")
    MemoryBank.import_bank(tmp_path / "copy.db", tmp_path / "export.jsonl")
    for name in ("copy.db", "backup.db"):
        with open_bank(tmp_path / name) as again:
            assert [memory.text for memory in again.list()] == ["Andrew has a dog named Buddy."]


def test_a_backup_made_while_others_write_is_a_whole_bank_of_one_moment(tmp_path):
    path, stop, failures = tmp_path / "bank.db", threading.Event(), []

    def write():
        with open_bank(path) as own:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    own.record(f"Turn {number}.")
                except BaseException as error:
                    failures.append(error)
                    raise

    with open_bank(path) as bank:
        thread = threading.Thread(target=write)
        thread.start()
        for number in range(5):
            while bank.stats().messages < 10 * (number + 1):
                pass
            bank.backup(tmp_path / f"backup{number}.db")
        stop.set()
        thread.join()
        assert failures == []
        assert stat.S_IMODE((tmp_path / "backup0.db").stat().st_mode) == 0o600
        for number in range(5):
            with open_bank(tmp_path / f"backup{number}.db") as copy:
                assert copy.check() == []
                turns = copy._store.messages()
                assert len(turns) >= 10 * (number + 1)
                assert turns == bank._store.messages(limit=len(turns))


def test_a_backup_put_in_the_place_of_its_bank_works_with_the_index_that_is_there(path, tmp_path):
    with open_bank(path, config=BankConfig(exact_below=0)) as bank:
        bank.search("dog")
        bank.backup(tmp_path / "backup.db")
        before = everything(bank)
        bank.forget(1)
    shutil.move(tmp_path / "backup.db", path)
    with open_bank(path, config=BankConfig(exact_below=0)) as bank:
        assert everything(bank) == before
        assert bank.check() == []


def test_compacting_gives_back_space_and_changes_nothing_else(tmp_path):
    with open_bank(tmp_path / "bank.db") as bank:
        with bank._store.transaction():
            for number in range(600):
                bank.record(f"Turn {number} {'about many things ' * 40}")
        with bank._store.transaction():
            bank._store._write("DELETE FROM messages WHERE id > 20")
        before, left = bank.stats().bytes, everything(bank)
        assert bank.compact().bytes < before / 5
        assert everything(bank) == left
        assert bank.check() == []
        with bank._store.transaction(), pytest.raises(InvalidInputError, match="part of a transaction"):
            bank.compact()


# ---- real files of older versions


@pytest.fixture(params=["schema1.db", "schema2.db"])
def old(request, tmp_path):
    """A bank as an earlier version wrote it; the second was being moved to another embedder."""
    return Path(shutil.copy(DATA / request.param, tmp_path / "old.db"))


def open_old(path):
    return MemoryBank.open(path, embedder=HashEmbedder(8), memory_manager=MemoryManager(ScriptedModel([])))


def test_a_bank_of_an_older_schema_is_opened_read_and_looked_back_into(old):
    with open_old(old) as bank:
        assert bank.check() == []
        assert [(memory.id, memory.text, memory.at) for memory in bank.list()] == [
            (1, "Andrew has two dogs, Buddy and Scout.", datetime(2023, 6, 16)),
            (2, "Audrey lives in Paris.", datetime(2023, 6, 17)),
        ]
        assert [turn.text for turn in bank.pending()] == ["Nobody has decided about this."]
        assert [hit.text for hit in bank.search("dog", as_of=1)] == ["Andrew has a dog named Buddy."]
        bank.undo(2)
        assert bank.get(1).text == "Andrew has a dog named Buddy."


@pytest.mark.parametrize("old", ["schema1.db"], indirect=True)  # later ones embed a turn as it is recorded
def test_a_bank_of_an_older_schema_gets_the_turn_vectors_that_it_lacks(old):
    with open_old(old) as bank:
        assert len(bank._store.turns_without_vector()) == 2  # pending, and passed over by the gate
        bank.reindex()
        assert bank._store.turns_without_vector() == []
        assert bank.check() == []


def test_a_bank_of_an_older_schema_moves_to_another_embedder(old):
    MemoryBank.reembed(old, HashEmbedder(4))
    with MemoryBank.open(old, embedder=HashEmbedder(4)) as bank:
        assert bank.check() == []
        assert bank._store.turns_without_vector() == []
        assert [hit.text for hit in bank.search("dog", as_of=1)] == ["Andrew has a dog named Buddy."]


def test_a_bank_of_an_older_schema_is_exported_and_imported(old):
    MemoryBank.import_bank(old.with_name("new.db"), exported_old(old))
    with open_old(old) as bank, open_old(old.with_name("new.db")) as copy:
        assert everything(copy) == everything(bank)


def exported_old(old):
    with open_old(old) as bank:
        bank.export(old.with_name("export.jsonl"))
    return old.with_name("export.jsonl")


def test_operations_of_older_schemas_have_no_confidence_and_new_ones_do(old):
    with open_old(old) as bank:
        assert {line.confidence for change in bank.history() for line in change.operations} == {None}
    told = MemoryManager(ScriptedModel([("ADD", " Audrey likes tea.", END)]))
    with MemoryBank.open(old, embedder=HashEmbedder(8), memory_manager=told) as bank:
        assert [line.confidence for line in bank.remember("I like tea.").operations] == [1.0]
        assert bank.check() == []


def test_an_export_of_the_second_schema_is_taken(path):
    lines = [json.loads(line) for line in exported(path).read_text(encoding="utf-8").splitlines()]
    assert lines[0].pop("version") == SCHEMA_VERSION
    lines[0]["version"] = 2
    for line in lines:
        if line.get("table") == "operations":
            assert "confidence" in line
            del line["confidence"]
    file = path.with_name("second.jsonl")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    MemoryBank.import_bank(path.with_name("copy.db"), file)
    with open_bank(path.with_name("copy.db")) as copy, open_bank(path) as bank:
        assert copy.list() == bank.list()
        assert {line.confidence for change in copy.history() for line in change.operations} == {None}
        assert {line.confidence for change in bank.history() for line in change.operations} == {None, 1.0}
