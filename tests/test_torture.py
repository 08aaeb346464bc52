"""The torture in a shortened form, and that its witness notices a loss. The whole of it is ``make torture``."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from torture.agents import open_bank
from torture.crash import Witness, as_told

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_nothing_is_lost_by_kills_full_disks_read_only_files_or_many_processes():
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "torture"]
    numbers = ["--kills", "25", "--disks", "3", "--seconds", "3", "--files", "4", "--encoders", "8"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # processes are forked
    done = subprocess.run(command + numbers, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["losses: 0"]), done.stdout + done.stderr
    assert "25 kills" in done.stdout
    assert re.search(r"size limit: 3 disks filled, [1-9]\d* refusals", done.stdout)
    assert re.search(r"processes at once: 4 processes, [1-9]\d* written, [1-9]", done.stdout)
    assert re.search(r"damaged sentence encoders: \d+ ", done.stdout)


@pytest.fixture
def witnessed(tmp_path):
    """A bank, a witness who heard everything, and its path."""
    path, witness = tmp_path / "bank.db", Witness()
    with open_bank(path) as bank:
        for text in ("set subjecta marka", "set subjectb markb", "set subjectb markc"):
            told = as_told(bank.remember(text))
            witness.hears([{"begun": "remember", "text": text}, {"done": "remember", "text": text, "change": told}])
        witness.hears([{"begun": "purge", "memory": 2}])
        bank.forget(2, purge=True)
        assert witness.losses(bank, tmp_path) == []
    return path, witness


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM messages WHERE id = 1", "the turn 'set subjecta marka' is lost"),
        ("UPDATE messages SET text = 'set subjecta other' WHERE id = 1", "nobody said"),
        ("UPDATE operations SET new_text = 'subjecta other' WHERE memory_id = 1", "change 1 is"),
        ("DELETE FROM memories WHERE id = 1", "and the log says {1: 'subjecta marka'}"),
        ("INSERT INTO settings VALUES ('left', 'subjectb markb')", "was purged and is still in a file"),
        ("UPDATE memories SET embedding = zeroblob(96) WHERE id = 1", "not found by vector and by word"),
    ],
)
def test_the_witness_notices(witnessed, damage, said):
    path, witness = witnessed
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    for index in path.parent.glob("*.hnsw"):
        index.unlink()
    with open_bank(path) as bank:
        assert any(said in loss for loss in witness.losses(bank, path.parent))
