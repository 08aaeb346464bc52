"""A disk that is full, and a file that cannot be written: an error that says so, and nothing lost."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections import Counter

from memr1_lite.errors import StoreError, VectorIndexError
from torture.agents import open_bank
from torture.children import Child
from torture.crash import Witness, as_told

NOBODY = 65_534
PER_LIMIT = 400
"""Messages at most: more than fit below any of the limits."""


def fill(path, seed, say, make_room):
    """Remember until the disk is full, make room, and remember once more in the same process."""
    chance, refused = random.Random(seed), 0
    bank = open_bank(path)
    for number in range(PER_LIMIT):
        text = f"set subject{chance.choice('abcdef')} mark{seed}x{number} {'more ' * chance.randrange(60)}"
        say({"begun": "remember", "text": text})
        try:
            change = bank.remember(text)
        except StoreError as error:
            say({"refused": str(error)})
            refused += 1
            if refused == 3:
                break
        else:
            say({"done": "remember", "text": text, "change": as_told(change)})
    try:
        bank.reindex()
    except (StoreError, VectorIndexError) as error:
        say({"refused": str(error)})
    make_room()
    text = f"set subjectg mark{seed}xlast"
    say({"begun": "remember", "text": text})
    say({"done": "remember", "text": text, "change": as_told(bank.remember(text)), "last": True})
    bank.close()


def _limited(path, seed, size, say):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_bank(path):
        pass  # a limit below an empty bank would only show that none can be made
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    fill(path, seed, say, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))


def fill_disks(folder, rounds, seed):
    """Fill so many disks, by a limit on the size of files; return counts and losses."""
    chance, counts, losses = random.Random(seed), Counter(), []
    for number in range(rounds):
        path = folder / f"limit{number}" / "bank.db"
        path.parent.mkdir()
        size = round(150_000 * 30 ** chance.random())  # up to where the log is moved into the file
        child = Child(lambda say, path=path, n=number, size=size: _limited(path, seed * 1000 + n, size, say))
        losses += _judged(child.finish(), path, counts, f"limit of {size} bytes")
    return dict(counts), losses


def fill_small_file_system(folder, rounds, seed):
    """The same on a real file system of 1 to 3 MB, where this process may mount one; else no rounds."""
    counts, losses, chance = Counter(), [], random.Random(seed)
    for number in range(rounds):
        place = folder / f"small{number}"
        place.mkdir()
        size = chance.randrange(1_000, 3_000)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
            break
        try:
            reserve = place / "reserve"
            reserve.write_bytes(bytes(400_000))
            path = place / "bank.db"
            child = Child(lambda say, n=number, path=path, free=reserve.unlink: fill(path, seed * 1000 + n, say, free))
            losses += _judged(child.finish(), path, counts, f"file system of {size} KB")
        finally:
            subprocess.run(["umount", str(place)], check=True)
    return dict(counts), losses


def _judged(said, path, counts, where):
    counts["disks filled"] += 1
    counts["refusals"] += sum("refused" in line for line in said)
    counts["without advice"] += sum("SQLite reports" in line.get("refused", "") for line in said)
    counts["acknowledged"] += sum("done" in line for line in said)
    failed = [line["failed"] for line in said if "failed" in line]
    if failed or not said[-1].get("last"):
        return [f"{where}: {failed or said[-1]}"]
    witness = Witness()
    witness.hears(said)
    with open_bank(path) as bank:
        counts["reopenings"] += 1
        return [f"{where}: {loss}" for loss in witness.losses(bank, path.parent)]


def read_only(folder):
    """Losses of a bank whose file may not be written; None where this process can write everything anyway."""
    path = folder / "read-only" / "bank.db"
    path.parent.mkdir()
    with open_bank(path) as bank:
        bank.remember("set subjecta mark1")
    before = path.read_bytes()
    path.chmod(0o444)
    path.parent.chmod(0o777)

    def work(say):
        if os.geteuid() == 0:
            os.setresuid(NOBODY, NOBODY, NOBODY)
        bank = open_bank(path)
        say({"found": [hit.text for hit in bank.search("subjecta", 1)]})
        for write in (lambda: bank.remember("set subjecta mark2"), bank.reindex, lambda: bank.forget(1)):
            try:
                write()
            except StoreError as error:
                say({"refused": str(error)})

    os.chmod(folder, 0o755)
    said = Child(work).finish()
    losses = [] if path.read_bytes() == before else ["a read-only bank was changed"]
    if said[0] != {"found": ["subjecta mark1"]}:
        losses.append(f"a read-only bank could not be searched: {said}")
    if [("cannot be written" in line.get("refused", "")) for line in said[1:]] != [True] * 3:
        losses.append(f"writing to a read-only bank was not refused as it should: {said}")
    return losses
