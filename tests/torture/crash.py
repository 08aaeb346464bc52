"""A writer, killed by SIGKILL at random moments, and what must then be in its bank."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress

from memr1_lite.errors import UndoConflictError
from torture.agents import open_bank
from torture.children import Child

SUBJECTS = [f"subject{letter}" for letter in "abcdefghijkl"]
STEPS = {
    "remember": 50,
    "record": 8,
    "decide": 6,
    "forget": 5,
    "undo": 6,
    "purge": 3,
    "reindex": 4,
    "search": 6,
    "reopen": 6,
}
LIVES = 12
"""Lives of one bank, before a new one is begun."""


def write(path, seed, say):
    """Write until killed: say what is begun, and what is done once the bank has returned."""
    chance, number = random.Random(seed), 0
    bank = open_bank(path)
    say({"done": "open"})
    while True:
        number += 1
        step = chance.choices(list(STEPS), STEPS.values())[0]
        subject = chance.choice(SUBJECTS)
        text = f"{'drop' if chance.random() < 0.1 else 'set'} {subject} mark{seed}x{number}"
        live = [memory.id for memory in bank.list()]
        if step in ("forget", "purge") and not live:
            continue
        done = {"done": step}
        chosen = chance.choice(live) if live else None
        say({"begun": step, "text": text, "memory": chosen})
        if step == "remember":
            done |= {"text": text, "change": as_told(bank.remember(text))}
        elif step == "record":
            done |= {"text": text, "turn": bank.record(text).id}
        elif step == "decide":
            done |= {"changes": [as_told(change) for change in bank.remember_pending()]}
        elif step == "forget":
            done |= {"change": as_told(bank.forget(chosen))}
        elif step == "undo":
            with suppress(UndoConflictError):
                for change in chance.sample(bank.history()[-5:], k=1 if bank.stats().changes else 0):
                    done |= {"change": as_told(bank.undo(change))}
        elif step == "purge":
            bank.forget(chosen, purge=True)
        elif step == "reindex":
            bank.reindex()
        elif step == "search":
            bank.search(subject)
        else:
            bank.close()
            bank = open_bank(path)
        say(done)


def as_told(change):
    return change.model_dump(mode="json", exclude={"undoes"})


class Witness:
    """What a bank's writers said, life after life, and what must therefore be in it."""

    def __init__(self):
        self.turns, self.changes, self.purged, self.begun = {}, {}, set(), set()

    def hears(self, said):
        """Take in one life."""
        for line in said:
            assert "failed" not in line, line["failed"]
            if line.get("begun") == "purge":
                self.purged.add(line["memory"])
            if line.get("begun") in ("remember", "record"):
                self.begun.add(line["text"])
            for change in [line["change"]] if "change" in line else line.get("changes", []):
                self.changes[change["id"]] = change
            if line.get("done") in ("remember", "record"):
                turn = line["turn"] if "turn" in line else line["change"]["message_id"]
                self.turns[turn] = line["text"]

    def losses(self, bank, folder):
        """Sentences about what is not as it must be."""
        found = bank.check()
        history = {change.id: as_told(change) for change in bank.history()}
        turns = {turn.id: turn.text for turn in bank._store.messages()}
        # A purge takes the words of all changes of its memory, and the turns that these came from.
        worded = {number for number, told in self.changes.items() if not self._touches_purged(told)}
        excused = {told["message_id"] for number, told in self.changes.items() if number not in worded}
        for number, told in self.changes.items():
            kept = history.get(number)
            if kept is None:
                found.append(f"change {number} is lost")
            elif number in worded and kept != told and (kept | {"message_id": None} != told | {"message_id": None}):
                found.append(f"change {number} is {kept}, not {told}")
        for number, text in self.turns.items():
            if turns.get(number) != text and number not in excused:
                found.append(f"the turn {text!r} is lost")
        if strange := set(turns.values()) - self.begun:
            found.append(f"nobody said {strange}")
        found += self._left_behind(history, worded, folder)
        self.changes = history | {number: told for number, told in self.changes.items() if number not in worded}
        return found + _replayed(bank) + _unfindable(bank)

    def _touches_purged(self, told):
        return any(operation["memory_id"] in self.purged for operation in told["operations"])

    def _left_behind(self, history, worded, folder):
        """What a purge that came to its end should have erased from every file."""
        files = b"".join(file.read_bytes() for file in folder.iterdir())
        found = []
        for number in set(self.changes) - worded:
            for then, now in zip(self.changes[number]["operations"], history[number]["operations"], strict=True):
                erased = now["new_text"] is None and then["new_text"] is not None
                if erased and then["new_text"].split()[1].encode() in files:
                    found.append(f"{then['new_text']!r} was purged and is still in a file")
        return found


def _replayed(bank):
    """The memories must be what the log says, independently of how the store counts."""
    texts = {}
    for change in bank.history():
        for operation in change.operations:
            if operation.op in ("ADD", "UPDATE"):
                texts[operation.memory_id] = operation.new_text
            elif operation.op == "DELETE":
                del texts[operation.memory_id]
    live = {memory.id: memory.text for memory in bank.list()}
    return [] if live == texts else [f"the memories are {live}, and the log says {texts}"]


def _unfindable(bank):
    found = []
    for memory in bank.list():
        subject, mark = memory.text.split()[0], memory.text.split()[-1]
        hits = {hit.id: hit for hit in bank.search(f"{subject} {mark}", 40) if hit.kind == "memory"}
        if memory.id not in hits or None in (hits[memory.id].vector_rank, hits[memory.id].keyword_rank):
            found.append(f"memory {memory.id} is not found by vector and by word")
    return found


def kill_writers(folder, kills, seed):
    """Kill so many writers; return counts: kills, reopenings, what was in flight, losses."""
    chance, counts, in_flight, losses = random.Random(seed), Counter(), Counter(), []
    for life in range(kills):
        if life % LIVES == 0:
            path, witness = folder / f"{life // LIVES}" / "bank.db", Witness()
            path.parent.mkdir()
        child = Child(lambda say, path=path, life=life: write(path, seed * 1_000_003 + life, say))
        if chance.random() < 0.9:  # the others are killed while they open, or create, the bank
            child.hear(30)
        child.hear(chance.uniform(0, 0.15), lines=10**9)
        said = child.kill()
        counts["kills"] += 1
        counts["acknowledged"] += sum("done" in line for line in said)
        if said and "begun" in said[-1]:
            in_flight[said[-1]["begun"]] += 1
        elif not said:
            in_flight["open"] += 1
        witness.hears(said)
        with open_bank(path) as bank:
            counts["reopenings"] += 1
            losses += [f"seed {seed}, life {life}: {loss}" for loss in witness.losses(bank, path.parent)]
        if losses:
            break
    return dict(counts), dict(in_flight), losses
