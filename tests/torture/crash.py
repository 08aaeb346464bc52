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
    "compact": 2,
    "backup": 2,
}
LIVES = 12
"""Lives of one bank, before a new one is begun."""


class Writer:
    """Writes until it is killed: says what it begins, and what is done once the bank has returned."""

    def __init__(self, path, seed):
        self.path, self.seed, self.number = path, seed, 0
        self.chance = random.Random(seed)
        self.bank = open_bank(path)

    def work(self, say):
        """Never return."""
        say({"done": "open"})
        while True:
            self.number += 1
            step = self.chance.choices(list(STEPS), STEPS.values())[0]
            word = "drop" if self.chance.random() < 0.1 else "set"
            # The end is marked too: no mark is the beginning of another, which would look like a trace of it.
            text = f"{word} {self.chance.choice(SUBJECTS)} mark{self.seed}x{self.number}e"
            live = [memory.id for memory in self.bank.list()]
            if step in ("forget", "purge") and not live:
                continue
            memory_id = self.chance.choice(live) if live else None
            say({"begun": step, "text": text, "memory": memory_id})
            say({"done": step} | (getattr(self, step)(text, memory_id) or {}))

    def remember(self, text, _):
        return {"text": text, "change": as_told(self.bank.remember(text))}

    def record(self, text, _):
        return {"text": text, "turn": self.bank.record(text).id}

    def decide(self, *_):
        return {"changes": [as_told(change) for change in self.bank.remember_pending()]}

    def forget(self, _, memory_id):
        return {"change": as_told(self.bank.forget(memory_id))}

    def undo(self, *_):
        for change in self.chance.sample(self.bank.history()[-5:], k=1 if self.bank.stats().changes else 0):
            with suppress(UndoConflictError):
                return {"change": as_told(self.bank.undo(change))}
        return {}

    def purge(self, _, memory_id):
        self.bank.forget(memory_id, purge=True)

    def reindex(self, *_):
        self.bank.reindex()

    def search(self, text, _):
        self.bank.search(text)

    def compact(self, *_):
        self.bank.compact()

    def backup(self, *_):
        self.bank.backup(self.path.with_name(f"backup{self.seed}x{self.number}.db"))

    def reopen(self, *_):
        self.bank.close()
        self.bank = open_bank(self.path)


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
        for copy in folder.glob("backup*.db"):
            with open_bank(copy) as backup:
                found += [f"{copy.name}: {damage}" for damage in backup.check()]
            for file in folder.glob(f"{copy.name}*"):
                file.unlink()
        self.changes = history | {number: told for number, told in self.changes.items() if number not in worded}
        return found + _replayed(bank) + _unfindable(bank)

    def _touches_purged(self, told):
        return any(operation["memory_id"] in self.purged for operation in told["operations"])

    def _left_behind(self, history, worded, folder):
        """What a purge that came to its end should have erased from every file."""
        # Backups are copies elsewhere, which a purge does not reach; they only stand in the same folder here.
        files = b"".join(file.read_bytes() for file in folder.iterdir() if not file.name.startswith("backup"))
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
        if memory.id not in hits or hits[memory.id].cosine is None or not hits[memory.id].words:
            found.append(f"memory {memory.id} is not found by vector and by word")
    return found


def kill_writers(folder, kills, seed):
    """Kill so many writers; return counts: kills, reopenings, what was in flight, losses."""
    chance, counts, in_flight, losses = random.Random(seed), Counter(), Counter(), []
    for life in range(kills):
        if life % LIVES == 0:
            path, witness = folder / f"{life // LIVES}" / "bank.db", Witness()
            path.parent.mkdir()
        child = Child(lambda say, path=path, life=life: Writer(path, seed * 1_000_003 + life).work(say))
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
