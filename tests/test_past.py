"""Looking back: the bank as it stood, what is different since, and what stands in the way of an undo."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memr1_lite.bank import MemoryBank
from memr1_lite.errors import ChangeNotFoundError, InvalidInputError, StoreError, UndoConflictError
from memr1_lite.records import Add, Decision, Delete, Difference, Noop, Update
from memr1_lite.store import Store
from memr1_lite.testing import HashEmbedder


class Told:
    """A Manager that decides what the test tells it."""

    def decide(self, message, similar):
        return Decision(operations=tuple(self.operations))


@pytest.fixture
def bank(tmp_path):
    manager = Told()
    with MemoryBank.open(tmp_path / "bank.db", embedder=HashEmbedder(256), memory_manager=manager) as opened:

        def say(text, *operations):
            manager.operations = operations or [Noop(op="NOOP")]
            return opened.remember(text, speaker="Audrey")

        opened.say = say
        yield opened


def add(text):
    return Add(op="ADD", text=text)


def update(bank, memory_id, text):
    return Update(op="UPDATE", memory_id=memory_id, version=bank.get(memory_id).version, text=text)


def moved_house(bank):
    """Audrey in Paris, then in Lyon, then nothing known; returns the three changes."""
    paris = bank.say("I live in Paris.", add("Audrey lives in Paris."))
    lyon = bank.say("I moved to Lyon.", update(bank, 1, "Audrey lives in Lyon."))
    return paris, lyon, bank.forget(1)


def found(bank, query, as_of):
    return [hit.text for hit in bank.search(query, as_of=as_of) if hit.kind == "memory"]


def test_a_search_of_the_past_finds_what_was_known_then(bank):
    paris, lyon, gone = moved_house(bank)
    assert found(bank, "Audrey lives", paris) == ["Audrey lives in Paris."]
    assert found(bank, "Audrey lives", lyon.id) == ["Audrey lives in Lyon."]
    assert found(bank, "Audrey lives", gone) == found(bank, "Audrey lives", None) == []
    # The turn about Paris leads to the memory, as it stood by then.
    assert "Audrey lives in Paris." not in found(bank, "Paris", lyon)
    assert bank.list() == []


def test_a_moment_is_one_of_this_machines_clock(bank):
    _, lyon, gone = moved_house(bank)
    between = lyon.created_at + (gone.created_at - lyon.created_at) / 2
    for moment in (between, between.astimezone().replace(tzinfo=None), between.isoformat()):
        assert found(bank, "Audrey", moment) == ["Audrey lives in Lyon."]
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    assert bank.search("Audrey lives in Paris", as_of=yesterday) == []
    assert bank.search("Audrey lives in Paris", as_of=yesterday.date().isoformat()) == []
    assert [difference.new for difference in bank.diff(yesterday)] == []


def test_turns_too_are_found_as_they_stood(bank):
    first = bank.say("The concert was loud.")
    bank.record("Another concert is planned.")
    second = bank.say("The concert was in Lyon.", add("Audrey was at a concert."))
    then = bank.search("concert", as_of=first)
    assert [(hit.kind, hit.text) for hit in then] == [("turn", "The concert was loud.")]
    assert len(bank.search("concert", as_of=second)) == 3
    bank.undo(second)
    assert len(bank.search("concert", as_of=second)) == 3
    assert {hit.kind for hit in bank.search("concert")} == {"turn"}


def test_a_moment_that_is_none_and_a_change_that_is_none_are_errors(bank):
    moved_house(bank)
    for verb in (lambda at: bank.search("Audrey", as_of=at), bank.diff):
        with pytest.raises(InvalidInputError, match="soon"):
            verb("soon")
        for unknown in (99, 0):
            with pytest.raises(ChangeNotFoundError):
                verb(unknown)


def test_what_was_purged_is_not_found_in_the_past_either(bank):
    paris, *_ = moved_house(bank)
    bank.forget(1, purge=True)
    assert bank.search("Audrey lives in Paris", as_of=paris) == []
    assert bank.diff(paris) == []


def test_a_difference_leaves_out_what_came_and_went_or_came_back(bank):
    start = bank.say("Hm, a start.", add("Audrey has a cat."), add("Audrey has a car."), add("Audrey has a dog."))
    bank.say("Tom is my cat.", update(bank, 1, "Audrey has a cat named Tom."))
    bank.undo(bank.say("No car.", Delete(op="DELETE", memory_id=2, version=1)))
    bank.forget(3)
    bank.forget(bank.say("Brief.", add("Audrey was here.")).operations[0].memory_id)
    bank.say("I like tea.", add("Audrey likes tea."))
    assert bank.diff(start) == [
        Difference(memory_id=1, old="Audrey has a cat.", new="Audrey has a cat named Tom."),
        Difference(memory_id=3, old="Audrey has a dog.", new=None),
        Difference(memory_id=5, old=None, new="Audrey likes tea."),
    ]
    assert bank.diff(bank.history()[-1]) == []


def test_an_undo_that_later_changes_built_on_names_them_and_how_to_go_on(bank):
    paris = bank.say("I live in Paris.", add("Audrey lives in Paris."))
    lyon = bank.say("I moved to Lyon.", update(bank, 1, "Audrey lives in Lyon."))
    oslo = bank.say("I moved to Oslo.", update(bank, 1, "Audrey lives in Oslo."))
    before = bank.list()
    with pytest.raises(UndoConflictError, match=r"change 3 \(UPDATE \[1\] 'Audrey lives in Lyon.'") as caught:
        bank.undo(paris)
    assert (caught.value.memory_ids, caught.value.later) == ((1,), (oslo.id, lyon.id))
    assert bank.list() == before
    for change in caught.value.later:
        bank.undo(change)
    bank.undo(paris)
    assert bank.list() == []


def test_an_undo_that_nothing_can_help_says_why(bank):
    paris, *_, gone = moved_house(bank)
    bank.undo(gone)
    with pytest.raises(UndoConflictError, match="change 4 has done so already") as caught:
        bank.undo(gone)
    assert caught.value.later == ()
    bank.forget(1, purge=True)
    with pytest.raises(UndoConflictError, match="words of memory 1 were purged"):
        bank.undo(paris)


# ---- any history


def vector(text):
    return np.frombuffer(text.encode().ljust(4, b"_")[-4:], np.uint8).astype(np.float32)


KINDS = ["add", "add", "update", "update", "delete", "undo", "undo", "noop"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 99)), max_size=25)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_past_is_what_the_present_was(steps):
    def state(store):
        ids, matrix = store.vectors("memory")
        # Of versions and turns only the texts matter here: what a search can find.
        memories = [(memory.id, memory.text, memory.version, memory.message_id) for memory in store.memories()]
        lineage = store.origins(range(1, 60))  # no sequence of steps makes more memories
        uncovered = store.traits("turn", [turn.id for turn in store.messages()]).keys()
        return memories, ids.tolist(), matrix.tolist(), set(uncovered), lineage, store.messages()

    with Store.open(":memory:", embedder="test", dimension=4) as store:
        states = {}
        for number, (step, chosen) in enumerate(steps):
            live = [memory.id for memory in store.memories()]
            if step in ("update", "delete") and not live:
                continue
            text, operations = f"text {number}", [Noop(op="NOOP")]
            if step == "undo":
                try:
                    change = store.undo(chosen % (len(states) + 1))
                except StoreError:
                    continue
            else:
                if step == "add":
                    operations = [add(text)] * (1 + chosen % 2)
                elif step != "noop":
                    memory = store.memory(live[chosen % len(live)])
                    operations = [Delete(op="DELETE", memory_id=memory.id, version=memory.version)]
                    if step == "update":
                        operations = [Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=text)]
                turn = store.record("Andrew", text, None, vector=vector(text))
                vectors = {text: vector(text)}
                change = store.apply(operations, message_id=turn.id, reason="manager", vectors=vectors)
            states[change.id] = state(store)
        now = state(store)
        for change_id, then in states.items():
            with store.as_of(change_id, store.change(change_id).created_at) as past:
                assert state(past) == then
                assert past.check() == []
            assert [(m.id, m.text, m.version, m.message_id) for m in store.memories_as_of(change_id)] == then[0]
        assert store.memories_as_of(0) == []
        assert state(store) == now
