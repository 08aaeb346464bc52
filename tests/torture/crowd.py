"""Several processes, each with several threads, on one bank: nothing is lost, nobody is told to come back later."""

from __future__ import annotations

import threading
import time
from collections import Counter

from torture.agents import open_bank
from torture.children import Child

SUBJECTS = ["apples", "pears"]
THREADS = 2


def _add(bank, name, until, done):
    while time.monotonic() < until:
        number = sum(done.values())
        subject = SUBJECTS[number % len(SUBJECTS)]
        bank.remember(f"add one to {subject} {name} {number}")
        done[subject] += 1


def _write(path, name, seconds, say):
    """Count up, from several threads, in a bank that others count up in too."""
    failures, done = [], [Counter() for _ in range(THREADS)]
    with open_bank(path, thinking=0.002, decide_again=10_000) as bank:
        say({"ready": name})
        until = time.monotonic() + seconds

        def work(number):
            try:
                _add(bank, f"{name}{number}", until, done[number])
            except BaseException as error:
                failures.append(repr(error))
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    say({"counted": dict(sum(done, Counter())), "failures": failures})


def _read(path, seconds, say):
    """What a reader sees never goes back, and in the end is what the writers left."""
    seen, failures, searches = Counter(), [], 0
    with open_bank(path) as bank:
        say({"ready": "reader"})
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for subject in SUBJECTS:
                now = _value(bank, subject)
                searches += 1
                if now < seen[subject]:
                    failures.append(f"{subject} went back from {seen[subject]} to {now}")
                seen[subject] = now
        say({"searches": searches, "failures": failures})
        while not (path.parent / "written").exists():
            time.sleep(0.05)
        say({"seen": {subject: _value(bank, subject) for subject in SUBJECTS}, "damage": bank.check()})


def _value(bank, subject):
    hits = [hit for hit in bank.search(subject, 20) if hit.kind == "memory" and hit.text.split()[0] == subject]
    return int(hits[0].text.split()[1])


def crowd(folder, seconds, writers=2, readers=2):
    """Let writers and readers at one bank; return counts and losses."""
    path = folder / "crowd.db"
    with open_bank(path) as bank:
        for subject in SUBJECTS:
            bank.remember(f"set {subject} 0")
    children = [Child(lambda say, n=n: _write(path, f"writer{n}", seconds, say)) for n in range(writers)]
    children += [Child(lambda say: _read(path, seconds, say)) for _ in range(readers)]
    said = [child.finish() for child in children[:writers]]
    (folder / "written").touch()
    said += [child.finish() for child in children[writers:]]
    losses = [line["failed"] for lines in said for line in lines if "failed" in line]
    losses += [failure for lines in said for line in lines for failure in line.get("failures", [])]
    counted = sum((Counter(lines[-1].get("counted")) for lines in said[:writers]), Counter())
    with open_bank(path) as bank:
        left = {subject: _value(bank, subject) for subject in SUBJECTS}
        if left != dict(counted):
            losses.append(f"counted up {dict(counted)}, and the bank says {left}")
        losses += bank.check() + [f"pending: {turn}" for turn in bank.pending()]
        turns = bank.stats().messages - len(SUBJECTS)
    if turns != sum(counted.values()):
        losses.append(f"{sum(counted.values())} turns were acknowledged, and {turns} are there")
    for lines in said[writers:]:
        if lines[-1].get("seen") != left or lines[-1]["damage"]:
            losses.append(f"a reader ends with {lines[-1]}, and the bank says {left}")
    searches = sum(line.get("searches", 0) for lines in said for line in lines)
    return {"processes": writers + readers, "written": turns, "searches": searches}, losses
