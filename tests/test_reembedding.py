"""Moving a bank to another embedder."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from memr1_lite.bank import MemoryBank
from memr1_lite.cli import main
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import EmbedderMismatchError, StoreError
from memr1_lite.records import Add, Update
from memr1_lite.retriever import spoken
from memr1_lite.store import Store
from memr1_lite.testing import HashEmbedder

OLD, NEW = HashEmbedder(16), LexicalEmbedder()


class Killed(BaseException):
    """What a SIGKILL is to the rest of a run: nothing after it happens."""


def filled(path, turns=600):
    with MemoryBank.open(path, embedder=OLD) as bank:
        store = bank._store
        for number in range(turns):
            bank.record(f"Turn number {number} about cheese.", speaker="Andrew")
        for operation in (
            Add(op="ADD", text="Andrew has a dog."),
            Update(op="UPDATE", memory_id=1, version=1, text="Andrew has two dogs."),
        ):
            vectors = {operation.text: OLD.embed([operation.text])[0]}
            store.apply([operation], message_id=None, reason="manager", vectors=vectors)
    return path


def test_every_vector_is_the_new_embedder_s_afterwards_those_of_the_past_too(tmp_path):
    path = filled(tmp_path / "a.db", 20)
    told = []
    MemoryBank.reembed(path, NEW, lambda done, of: told.append((done, of)))
    assert told[-1] == (22, 22)
    with MemoryBank.open(path) as bank:  # found by the name that it now has
        store = bank._store
        for kind, texts in (
            ("memory", ["Andrew has two dogs."]),
            ("turn", [spoken("Andrew", turn.text) for turn in store.messages()]),
        ):
            np.testing.assert_array_equal(store.vectors(kind)[1], NEW.embed(texts))
        assert bank.check() == []
        assert bank.search("dogs", legs="vectors")[0].text == "Andrew has two dogs."
        assert bank.search("dogs", legs="vectors", as_of=1)[0].text == "Andrew has a dog."
        bank.undo(2)
        np.testing.assert_array_equal(store.vectors("memory")[1], NEW.embed(["Andrew has a dog."]))
        assert store._number("SELECT count(*) FROM fresh_vectors") == 0


def test_interrupted_anywhere_it_goes_on_and_embeds_nothing_twice(tmp_path):
    path = filled(tmp_path / "a.db")
    embedded = []

    class Dies:
        name, dimension = NEW.name, NEW.dimension

        def embed(self, texts):
            if len(embedded) == 256 and not died:
                died.append(True)
                raise Killed
            embedded.extend(texts)
            return NEW.embed(texts)

    died = []
    with pytest.raises(Killed):
        MemoryBank.reembed(path, Dies())
    with MemoryBank.open(path, embedder=OLD) as bank:  # as it was
        assert bank.search("Andrew has two dogs.", legs="vectors")[0].text == "Andrew has two dogs."
    MemoryBank.reembed(path, Dies())
    assert len(embedded) == len(set(embedded)) == 602
    with MemoryBank.open(path, embedder=NEW) as bank:
        assert bank.check() == []


CHILD = """
import os, signal, sys
from memr1_lite.bank import MemoryBank
from memr1_lite.embedders import LexicalEmbedder

def progress(done, of):
    if done >= 300:
        os.kill(os.getpid(), signal.SIGKILL)

MemoryBank.reembed(sys.argv[1], LexicalEmbedder(), progress)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_it_keeps_what_it_had_and_goes_on(tmp_path):
    path = filled(tmp_path / "a.db")
    assert subprocess.run([sys.executable, "-c", CHILD, path]).returncode == -9
    with Store.as_made(path) as store:
        assert (store.embedder, store.check()) == (OLD.name, [])
        assert store._number("SELECT count(*) FROM fresh_vectors") == 512
    left = []
    MemoryBank.reembed(path, NEW, lambda done, of: left.append(of))
    assert left == [90]
    with MemoryBank.open(path, embedder=NEW) as bank:
        assert bank.check() == []


def test_the_command_moves_a_bank(tmp_path):
    path = str(filled(tmp_path / "a.db", 3))
    moved = CliRunner().invoke(main, ["reembed", path, "--embedder", "lexical"])
    assert (moved.exit_code, moved.stdout) == (0, "1 memories and 3 turns moved\n")
    found = CliRunner().invoke(main, ["search", path, "dogs", "-k", "1"])
    assert "Andrew has two dogs." in found.stdout


def test_the_command_says_how_to_get_an_embedder_where_none_was_built(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    path = str(filled(tmp_path / "a.db", 3))
    told = CliRunner().invoke(main, ["reembed", path])
    assert told.exit_code == 1
    assert "embedder.gguf': run `make embedder` in the repository, or give --embedder." in told.stderr
    with Store.as_made(path) as store:
        assert store.embedder == OLD.name


def test_what_is_said_meanwhile_is_moved_too_and_an_open_bank_is_told(tmp_path):
    path = filled(tmp_path / "a.db", 3)
    with MemoryBank.open(path, embedder=OLD) as other:

        def meanwhile(done, of):
            if of > 1:
                other.record("Something new.", speaker="Audrey")
                assert other.search("dogs", legs="vectors")

        MemoryBank.reembed(path, NEW, meanwhile)
        add, vectors = Add(op="ADD", text="Late."), {"Late.": OLD.embed(["Late."])[0]}
        for late in (
            lambda: other.search("dogs"),
            lambda: other.record("Too late.", speaker="Audrey"),
            lambda: other._store.apply([add], message_id=None, reason="manager", vectors=vectors),
        ):
            with pytest.raises(EmbedderMismatchError):
                late()
        assert len(other.pending()) == 4
    with MemoryBank.open(path, embedder=NEW) as bank:
        assert bank.check() == []
        assert len(bank._store.vectors("turn")[0]) == 4


def test_a_purge_erases_new_vectors_too(tmp_path):
    path = filled(tmp_path / "a.db", 1)
    with Store.as_made(path) as store:
        store.begin_reembedding(NEW.name, NEW.dimension)
        store.add_fresh_vectors(NEW.name, ["Andrew has a dog."], NEW.embed(["Andrew has a dog."]))
        store.forget(1, purge=True)
    assert NEW.embed(["Andrew has a dog."])[0].tobytes()[:64] not in path.read_bytes()
    MemoryBank.reembed(path, NEW)
    with MemoryBank.open(path, embedder=NEW) as bank:
        assert bank.check() == []


def test_vectors_made_for_another_embedder_are_not_taken(tmp_path):
    path = filled(tmp_path / "a.db", 2)
    other = HashEmbedder(8)
    with Store.as_made(path) as store:
        store.begin_reembedding(other.name, other.dimension)
        store.add_fresh_vectors(other.name, ["Andrew has two dogs."], other.embed(["Andrew has two dogs."]))
    MemoryBank.reembed(path, NEW)
    with Store.as_made(path) as store:
        assert store.vectors("memory")[1].shape == (1, NEW.dimension)
        np.testing.assert_array_equal(store.vectors("memory")[1], NEW.embed(["Andrew has two dogs."]))
        assert store.check() == []


def test_no_bank_is_an_error_and_makes_none(tmp_path):
    with pytest.raises(StoreError, match="no bank"):
        MemoryBank.reembed(tmp_path / "a.db", NEW)
    assert not list(tmp_path.iterdir())
