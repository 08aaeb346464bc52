"""Any sequence of writes, with rollbacks and reopenings: store, full text and index always agree."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memr1_lite.bank import MemoryBank
from memr1_lite.config import BankConfig
from memr1_lite.errors import ModelError, UndoConflictError
from memr1_lite.records import Add, Decision, Delete, Noop, Turn, Update
from memr1_lite.testing import HashEmbedder

CHOICES = st.integers(0, 10**6)


class Told:
    """A Manager that decides what it was told to, or fails."""

    operations = ()

    def decide(self, message, similar):
        if self.operations is None:
            raise ModelError("told to fail")
        # One decision for several pending turns: their texts are to differ all the same.
        own = []
        for operation in self.operations:
            if operation.op == "ADD":
                operation = operation.model_copy(update={"text": f"{operation.text}x{message.id}"})
            own.append(operation)
        return Decision(operations=tuple(own))


class AnySequence(RuleBasedStateMachine):
    """A bank with a graph from the fourth vector on, beside a plain dictionary of what has to be in it."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "0.db"
        self.manager = Told()
        self.number, self.dimension = 0, 64
        self.memories = {}
        self.turns = set()
        self.after = {}

    def teardown(self):
        self.bank.close()
        self.other.close()
        self.folder.cleanup()

    @initialize()
    def open(self):
        self.bank, self.other = self._opened(), self._opened()

    def _opened(self):
        config = BankConfig(exact_below=3)
        return MemoryBank.open(
            self.path, embedder=HashEmbedder(self.dimension), memory_manager=self.manager, config=config
        )

    def _word(self):
        self.number += 1
        return f"word{self.number}"

    def _operations(self, kind, chosen):
        live = sorted(self.memories)
        if kind == "noop" or (kind != "add" and not live):
            return (Noop(op="NOOP"),)
        if kind == "add":
            return tuple(Add(op="ADD", text=self._word()) for _ in range(1 + chosen % 2))
        memory = self.bank.get(live[chosen % len(live)])
        if kind == "delete":
            return (Delete(op="DELETE", memory_id=memory.id, version=memory.version),)
        update = Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=self._word())
        return update, Add(op="ADD", text=self._word())

    def _follow(self, change):
        for operation in change.operations:
            if operation.op in ("ADD", "UPDATE"):
                self.memories[operation.memory_id] = operation.new_text
            elif operation.op == "DELETE":
                assert self.memories.pop(operation.memory_id) == operation.old_text
        self.after[change.id] = dict(self.memories)

    def _say(self, bank, kind, chosen):
        self.manager.operations = self._operations(kind, chosen)
        text = self._word()
        change = bank.remember(text)
        self.turns.add(text)
        return change

    @rule(kind=st.sampled_from(["add", "add", "update", "delete", "noop"]), chosen=CHOICES, elsewhere=st.booleans())
    def remember(self, kind, chosen, elsewhere):
        self._follow(self._say(self.other if elsewhere else self.bank, kind, chosen))

    @rule()
    def record_what_no_model_can_decide(self):
        self.manager.operations = None
        text = self._word()
        with pytest.raises(ModelError):
            self.bank.remember(text)
        self.turns.add(text)

    @rule(count=st.integers(1, 5), again=st.booleans(), elsewhere=st.booleans())
    def record_several_at_once(self, count, again, elsewhere):
        words = [self._word() for _ in range(count)]
        turns = [Turn(speaker="Andrew", text=word, source_id=word) for word in words]
        recorded = (self.other if elsewhere else self.bank).record_many([*turns, turns[0]])
        assert [message.text for message in recorded] == [*words, words[0]]
        if again:  # nothing is written twice
            assert self.bank.record_many(turns) == recorded[:-1]
            assert self.bank.record(words[0], speaker="Andrew", source_id=words[0]) == recorded[0]
        self.turns |= set(words)

    @rule(kind=st.sampled_from(["add", "noop"]), chosen=CHOICES)
    def decide_what_is_pending(self, kind, chosen):
        self.manager.operations = self._operations(kind, chosen)
        for change in self.bank.remember_pending():
            self._follow(change)

    @precondition(lambda self: self.memories)
    @rule(chosen=CHOICES)
    def forget(self, chosen):
        live = sorted(self.memories)
        self._follow(self.bank.forget(live[chosen % len(live)]))

    @precondition(lambda self: self.memories)
    @rule(chosen=CHOICES)
    def purge(self, chosen):
        memory_id = sorted(self.memories)[chosen % len(self.memories)]
        store = self.bank._store
        sources = {turn.text for turn in store.fetch_messages(store.origins([memory_id])[memory_id]).values()}
        self.bank.forget(memory_id, purge=True)
        left = {turn.text for turn in store.messages()}
        assert left <= self.turns - sources
        self.turns = left
        del self.memories[memory_id]
        for state in self.after.values():
            state.pop(memory_id, None)
        self.after[self.bank.history()[-1].id] = dict(self.memories)

    @precondition(lambda self: self.after)
    @rule(chosen=CHOICES)
    def undo(self, chosen):
        changes = sorted(self.after)
        before = self.bank.list()
        try:
            self._follow(self.bank.undo(changes[-1 - chosen % min(4, len(changes))]))
        except UndoConflictError:
            assert self.bank.list() == before

    @rule(kind=st.sampled_from(["add", "update", "delete"]), chosen=CHOICES)
    def roll_back(self, kind, chosen):
        turns = set(self.turns)
        with pytest.raises(ZeroDivisionError):
            self._say_and_fail(kind, chosen)
        self.turns = turns

    def _say_and_fail(self, kind, chosen):
        with self.bank._store.transaction():
            self._say(self.bank, kind, chosen)
            raise ZeroDivisionError

    @rule(elsewhere=st.booleans())
    def reopen(self, elsewhere):
        if elsewhere:
            self.other.close()
            self.other = self._opened()
        else:
            self.bank.close()
            self.bank = self._opened()

    @rule(step=st.sampled_from(["reindex", "compact"]))
    def put_in_order(self, step):
        getattr(self.bank, step)()

    @rule(dimension=st.sampled_from([32, 64]))
    def reembed(self, dimension):
        self.bank.close()
        self.other.close()
        self.dimension = dimension
        MemoryBank.reembed(self.path, HashEmbedder(dimension))
        self.open()

    @rule(way=st.sampled_from(["export", "backup"]))
    def move_to_a_copy(self, way):
        self.number += 1
        moved = Path(self.folder.name) / f"{self.number}.db"
        if way == "backup":
            self.bank.backup(moved)
        else:
            self.bank.export(moved.with_suffix(".jsonl"))
            MemoryBank.import_bank(moved, moved.with_suffix(".jsonl"))
        self.bank.close()
        self.other.close()
        self.path = moved
        self.open()

    @rule(chosen=CHOICES)
    @precondition(lambda self: self.after)
    def look_back(self, chosen):
        change_id = sorted(self.after)[chosen % len(self.after)]
        then = self.after[change_id]
        assert {memory.id: memory.text for memory in self.bank._store.memories_as_of(change_id)} == then
        for text in list(then.values())[:3]:
            assert text in [hit.text for hit in self.bank.search(text, 50, as_of=change_id)]

    @invariant()
    def everything_agrees(self):
        assert {memory.id: memory.text for memory in self.bank.list()} == self.memories
        assert {turn.text for turn in self.bank._store.messages()} == self.turns
        assert self.bank.check() == []
        assert self.other.check() == []
        for memory_id, text in list(self.memories.items())[-3:]:
            found = {hit.id: hit for hit in self.other.search(text, 20) if hit.kind == "memory"}
            assert found[memory_id].text == text
            assert found[memory_id].keyword_rank is not None


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
