import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing, suppress
from datetime import datetime

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memr1_lite.errors import (
    ChangeNotFoundError,
    ClosedError,
    EmbedderMismatchError,
    InvalidInputError,
    MemoryNotFoundError,
    StaleDecisionError,
    StoreError,
    UndoConflictError,
    VectorIndexError,
)
from memr1_lite.records import Add, Delete, Noop, Update
from memr1_lite.store import Store

SPRING = datetime(2023, 5, 7, 14, 30)
NOOP = Noop(op="NOOP")


def open_bank(path=":memory:", **options):
    return Store.open(path, embedder="test", dimension=4, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bank" / "a.db"


@pytest.fixture
def store(path):
    path.parent.mkdir()
    with open_bank(path) as opened:
        yield opened


def vector(text):
    return np.frombuffer(text.encode().ljust(4, b"_")[-4:], np.uint8).astype(np.float32)


def apply(store, *operations, message_id=None, **options):
    texts = [operation.text for operation in operations if isinstance(operation, Add | Update)]
    vectors = {text: vector(text) for text in texts}
    return store.apply(operations, message_id=message_id, reason="manager", vectors=vectors, **options)


def add(store, text, **options):
    return apply(store, Add(op="ADD", text=text), **options)


def update(store, memory_id, text, **options):
    version = store.memory(memory_id).version
    return apply(store, Update(op="UPDATE", memory_id=memory_id, version=version, text=text), **options)


def delete(store, memory_id, **options):
    version = store.memory(memory_id).version
    return apply(store, Delete(op="DELETE", memory_id=memory_id, version=version), **options)


def texts(store):
    return {memory.id: memory.text for memory in store.memories()}


def stored_vectors(store, kind="memory"):
    ids, matrix = store.vectors(kind)
    return {int(unit): row.tolist() for unit, row in zip(ids, matrix, strict=True)}


def contents(path):
    tables = ("messages", "memories", "changes", "operations", "turn_touches", "settings")
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def full_text_is_sound(store_path):
    with closing(sqlite3.connect(store_path)) as connection:
        for table in ("memories_fts", "messages_fts"):
            # rank 1 compares the index with the texts themselves, not only with itself.
            connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")
        connection.rollback()
    return True


# ---- turns


def test_a_turn_is_read_back_after_reopening(store, path):
    written = store.record("Andrew", "I adopted a dog named Buddy.", SPRING, "conv-1/D1:1")
    store.close()
    with open_bank(path) as again:
        assert again.message(written.id) == written
        assert again.message_by_source("conv-1/D1:1") == written
        assert written.at == SPRING
        assert written.state == "pending"


def test_a_source_id_that_is_there_already_writes_nothing(store):
    first = store.record("Andrew", "Hello", None, "s1")
    assert store.record("Audrey", "Something else", SPRING, "s1") == first
    assert store.stats().messages == 1


def test_turns_are_listed_by_state_and_speaker(store):
    one, two = store.record("Andrew", "a", None), store.record("Audrey", "b", None)
    apply(store, NOOP, message_id=one.id)
    assert [message.id for message in store.messages()] == [one.id, two.id]
    assert [message.id for message in store.messages(state="pending")] == [two.id]
    assert [message.id for message in store.messages(state="done", speaker="Andrew")] == [one.id]
    assert [message.id for message in store.messages(limit=1)] == [one.id]
    assert store.fetch_messages([two.id, 99]) == {two.id: two}


def test_a_text_that_is_not_unicode_is_refused(store):
    with pytest.raises(InvalidInputError):
        store.record("Andrew", "\ud800", None)
    assert store.stats().messages == 0


def test_an_id_too_large_for_sqlite_is_refused(store):
    with pytest.raises(InvalidInputError):
        store.memory(2**70)


def test_a_turn_is_covered_once_it_changed_a_memory_also_when_that_is_deleted_later(store):
    one, two, three = (store.record("Andrew", text, None).id for text in "abc")
    add(store, "dog", message_id=one)
    change = update(store, 1, "two dogs", message_id=two)
    assert store.traits("turn", [one, two, three]).keys() == {three}
    assert store.origins([1]) == {1: [two, one]}
    store.undo(change.id)
    assert store.traits("turn", [one, two, three]).keys() == {two, three}
    assert store.origins([1]) == {1: [one]}
    delete(store, 1, message_id=three)
    assert store.traits("turn", [one, two, three]).keys() == {two}


# ---- decisions


def test_a_decision_is_read_back_after_reopening(store, path):
    message = store.record("Andrew", "I adopted a dog.", SPRING)
    change = add(
        store, "Andrew has a dog.", message_id=message.id, turn_vector=vector("turn"), model="m", confidence=0.75
    )
    store.close()
    with open_bank(path) as again:
        memory = again.memory(1)
        assert (memory.text, memory.version, memory.message_id, memory.at) == (
            "Andrew has a dog.",
            1,
            message.id,
            SPRING,
        )
        assert again.change(change.id) == change
        assert again.change_of_message(message.id) == change
        assert (change.model, change.confidence, change.reason, change.message_id) == ("m", 0.75, "manager", message.id)
        assert again.message(message.id).state == "done"
        assert stored_vectors(again) == {1: vector("Andrew has a dog.").tolist()}
        assert stored_vectors(again, "turn") == {message.id: vector("turn").tolist()}


def test_each_operation_keeps_its_own_confidence(store, path):
    add(store, "one dog")
    add(store, "a cat")
    said = [
        Update(op="UPDATE", memory_id=1, version=1, text="two dogs", confidence=0.5),
        Add(op="ADD", text="a fish", confidence=0.25),
        Delete(op="DELETE", memory_id=2, version=1, confidence=0.125),
    ]
    vectors = {text: vector(text) for text in ("two dogs", "a fish")}
    change = store.apply(said, message_id=None, reason="manager", vectors=vectors, confidence=0.75)
    assert [line.confidence for line in change.operations] == [0.5, 0.25, 0.125]
    nothing = store.apply([Noop(op="NOOP", confidence=1.0)], message_id=None, reason="manager", vectors={})
    assert [line.confidence for line in nothing.operations] == [1.0]
    undone = store.undo(change.id)  # nobody chose these with a probability
    assert {line.confidence for line in undone.operations} == {None}
    with open_bank(path) as again:
        assert again.history()[-3:] == [change, nothing, undone]
        assert [line.confidence for each in again.history(1) for line in each.operations] == [None, 0.5, None]


def test_a_turn_is_decided_once(store):
    message = store.record("Andrew", "I adopted a dog.", None)
    change = add(store, "Andrew has a dog.", message_id=message.id)
    assert add(store, "Andrew has a dog!", message_id=message.id) == change
    assert texts(store) == {1: "Andrew has a dog."}


def test_an_update_takes_over_the_new_turn_and_keeps_the_old_text_in_history(store):
    one, two = store.record("Andrew", "a", None), store.record("Andrew", "b", SPRING)
    add(store, "one dog", message_id=one.id)
    update(store, 1, "two dogs", message_id=two.id)
    memory = store.memory(1)
    assert (memory.text, memory.version, memory.message_id, memory.at) == ("two dogs", 2, two.id, SPRING)
    assert [str(line) for change in store.history(1) for line in change.operations] == [
        "ADD [1] 'one dog'",
        "UPDATE [1] 'one dog' -> 'two dogs'",
    ]


def test_an_id_is_never_reused(store):
    add(store, "a")
    store.forget(1)
    add(store, "b")
    store.forget(2, purge=True)
    add(store, "c")
    assert texts(store) == {3: "c"}


def test_a_stale_version_changes_nothing(store, path):
    add(store, "a")
    update(store, 1, "b")
    before = contents(path)
    with pytest.raises(StaleDecisionError) as caught:
        apply(store, Add(op="ADD", text="new"), Update(op="UPDATE", memory_id=1, version=1, text="c"))
    assert caught.value.memory_id == 1
    assert contents(path) == before


def test_a_version_seen_before_an_undo_is_stale_after_it(store):
    add(store, "a")
    change = update(store, 1, "b")
    store.undo(change.id)
    with pytest.raises(StaleDecisionError):
        apply(store, Delete(op="DELETE", memory_id=1, version=1))


def test_an_unknown_memory_changes_nothing(store, path):
    before = contents(path)
    for operation in (
        Update(op="UPDATE", memory_id=9, version=1, text="c"),
        Delete(op="DELETE", memory_id=9, version=1),
    ):
        with pytest.raises(MemoryNotFoundError):
            apply(store, Add(op="ADD", text="new"), operation)
    assert contents(path) == before


def test_a_decision_that_cannot_be_meant_is_refused(store, path):
    add(store, "a")
    before = contents(path)
    drop = Delete(op="DELETE", memory_id=1, version=1)
    with pytest.raises(InvalidInputError, match="same memory"):
        apply(store, drop, drop)
    with pytest.raises(InvalidInputError, match="nothing"):
        apply(store)
    with pytest.raises(InvalidInputError, match="blank"):
        add(store, " ")
    with pytest.raises(InvalidInputError, match="99"):
        add(store, "b", message_id=99)
    with pytest.raises(InvalidInputError, match="vector"):
        store.apply([Add(op="ADD", text="b")], message_id=None, reason="manager", vectors={})
    for bad in (np.zeros(5, np.float32), np.full(4, np.nan, np.float32)):
        with pytest.raises(VectorIndexError):
            store.apply([Add(op="ADD", text="b")], message_id=None, reason="manager", vectors={"b": bad})
    assert contents(path) == before


MUTATORS = {
    "record": (lambda store: store.record("Andrew", "new", None), ["INSERT ON messages"]),
    "add": (
        lambda store: add(store, "new", message_id=2, turn_vector=vector("turn")),
        ["INSERT ON changes", "INSERT ON memories", "INSERT ON operations", "UPDATE ON messages"],
    ),
    "update": (
        lambda store: update(store, 1, "new", message_id=2),
        ["INSERT ON changes", "UPDATE ON memories", "INSERT ON operations", "UPDATE ON messages"],
    ),
    "delete": (
        lambda store: delete(store, 1, message_id=2),
        ["INSERT ON changes", "DELETE ON memories", "INSERT ON operations", "UPDATE ON messages"],
    ),
    "undo": (
        lambda store: store.undo(2),
        ["INSERT ON changes", "UPDATE ON memories", "INSERT ON operations", "UPDATE ON changes"],
    ),
    "forget": (lambda store: store.forget(1), ["INSERT ON changes", "DELETE ON memories", "INSERT ON operations"]),
    "purge": (
        lambda store: store.forget(1, purge=True),
        [
            "INSERT ON changes",
            "DELETE ON memories",
            "INSERT ON operations",
            "UPDATE ON operations",
            "DELETE ON messages",
            "INSERT ON settings",
        ],
    ),
}


@pytest.mark.parametrize(
    ("mutator", "point"), [(name, point) for name, (_, points) in MUTATORS.items() for point in points]
)
def test_every_write_is_all_or_nothing(store, path, mutator, point):
    store.record("Andrew", "first", None)
    store.record("Andrew", "second", None)
    add(store, "one dog", message_id=1)
    update(store, 1, "two dogs")
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"CREATE TRIGGER fails AFTER {point} BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    before = contents(path)
    with pytest.raises(StoreError, match="the disk is full: free some space"):
        MUTATORS[mutator][0](store)
    assert contents(path) == before
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TRIGGER fails")
    MUTATORS[mutator][0](store)
    assert contents(path) != before
    assert full_text_is_sound(path)


def add_and_fail(store, text):
    with store.transaction():
        add(store, text)
        store.memory(99)


def test_a_transaction_is_all_or_nothing_and_a_nested_one_fails_alone(store):
    with pytest.raises(MemoryNotFoundError):
        add_and_fail(store, "lost")
    with store.transaction():
        add(store, "kept")
        with pytest.raises(MemoryNotFoundError):
            add_and_fail(store, "lost")
        add(store, "kept too")
    assert list(texts(store).values()) == ["kept", "kept too"]


# ---- undo


def test_an_interrupt_just_after_a_transaction_began_leaves_none_open(store, path):
    class Interrupting:
        def __init__(self, connection):
            self.connection = connection

        def __getattr__(self, name):
            return getattr(self.connection, name)

        def execute(self, sql, *values):
            self.connection.execute(sql, *values)
            raise KeyboardInterrupt

    connection, store._connection = store._connection, Interrupting(store._connection)
    for interrupted in (lambda: store.record("Andrew", "a", None), store.stats):
        with suppress(KeyboardInterrupt):
            interrupted()
    store._connection = connection
    store.record("Andrew", "b", None)
    with open_bank(path) as other:
        assert [message.text for message in other.messages()] == ["b"]


def test_undo_restores_text_vector_origin_and_time(store):
    one, two = store.record("Andrew", "a", SPRING), store.record("Andrew", "b", None)
    add(store, "one dog", message_id=one.id)
    change = update(store, 1, "two dogs", message_id=two.id)
    undone = store.undo(change.id)
    memory = store.memory(1)
    assert (memory.text, memory.message_id, memory.at) == ("one dog", one.id, SPRING)
    assert stored_vectors(store) == {1: vector("one dog").tolist()}
    assert (undone.reason, undone.undoes, undone.message_id) == ("undo", change.id, None)
    assert store.keyword_search("memory", ["one"], 5) == [1]
    assert store.keyword_search("memory", ["two"], 5) == []


def test_undo_brings_a_deleted_memory_back_under_its_old_id(store, path):
    message = store.record("Andrew", "a", SPRING)
    add(store, "one dog", message_id=message.id)
    created = contents(path)["memories"][0][6]
    store.undo(store.forget(1).id)
    assert texts(store) == {1: "one dog"}
    assert store.memory(1).at == SPRING
    assert stored_vectors(store) == {1: vector("one dog").tolist()}
    assert contents(path)["memories"][0][6] == created


def test_undo_removes_what_was_added_and_takes_back_a_whole_decision(store):
    add(store, "a")
    add(store, "b")
    change = apply(
        store,
        Update(op="UPDATE", memory_id=1, version=1, text="a2"),
        Delete(op="DELETE", memory_id=2, version=1),
        Add(op="ADD", text="c"),
    )
    assert texts(store) == {1: "a2", 3: "c"}
    undone = store.undo(change.id)
    assert texts(store) == {1: "a", 2: "b"}
    redone = store.undo(undone.id)
    assert texts(store) == {1: "a2", 3: "c"}
    store.undo(redone.id)
    assert texts(store) == {1: "a", 2: "b"}


def test_undoing_a_redo_is_undoing_the_change_itself(store):
    one, two = (store.record("Andrew", text, None).id for text in "ab")
    add(store, "one dog", message_id=one)
    change = update(store, 1, "two dogs", message_id=two)
    redone = store.undo(store.undo(change.id).id)
    assert store.traits("turn", [one, two]).keys() == set()
    store.undo(redone.id)
    assert texts(store) == {1: "one dog"}
    assert store.traits("turn", [one, two]).keys() == {two}
    with pytest.raises(UndoConflictError):
        store.undo(change.id)


def test_versions_go_on_counting_when_a_deleted_memory_returns(store):
    add(store, "a")
    update(store, 1, "b")
    store.undo(store.forget(1).id)
    assert store.memory(1).version == 3


def test_undo_of_nothing_is_a_change_too(store):
    change = apply(store, NOOP)
    assert [line.op for line in store.undo(change.id).operations] == ["NOOP"]


def test_undo_twice_is_a_conflict_until_it_is_redone(store, path):
    add(store, "a")
    change = update(store, 1, "b")
    undone = store.undo(change.id)
    before = contents(path)
    with pytest.raises(UndoConflictError) as caught:
        store.undo(change.id)
    assert (caught.value.change_id, caught.value.memory_ids) == (change.id, (1,))
    assert contents(path) == before
    store.undo(undone.id)
    store.undo(change.id)
    assert texts(store) == {1: "a"}


def test_undo_conflicts_with_a_later_change_until_that_is_undone(store):
    first = add(store, "a")
    second = update(store, 1, "b")
    with pytest.raises(UndoConflictError):
        store.undo(first.id)
    undone = store.undo(second.id)
    store.undo(first.id)
    assert texts(store) == {}
    with pytest.raises(UndoConflictError):
        store.undo(undone.id)


def test_undo_of_an_unknown_change_is_named(store):
    with pytest.raises(ChangeNotFoundError):
        store.undo(5)
    with pytest.raises(ChangeNotFoundError):
        store.change(5)


DEEDS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "update", "delete", "both", "undo", "undo"]), st.integers(0, 30)),
    max_size=25,
)


DELETED_AGAIN = [("add", 0), ("delete", 0), ("undo", 1), ("undo", 2), ("undo", 1), ("delete", 0), ("undo", 3)]


@settings(max_examples=60, deadline=None)
@given(DEEDS)
@example(DELETED_AGAIN)
def test_random_decisions_and_undos_agree_with_a_dictionary(deeds):
    with open_bank() as store:
        state, before, after = {}, {}, {}
        for number, (deed, pick) in enumerate(deeds):
            live, text = sorted(state), f"text {number}"
            if deed == "undo" and before:
                target = sorted(before)[pick % len(before)]
                # Texts are never written twice, so a memory is as the change left it only if nothing since still holds.
                fits = all(state.get(unit) == after[target].get(unit) for unit in after[target])
                try:
                    change = store.undo(target)
                except UndoConflictError:
                    # A memory that came back and was deleted again is gone as before, yet not as the change left it.
                    deleted = None in after[target].values()
                    assert deleted or not (fits and target in holding(store))
                    continue
                assert fits
                before[change.id], after[change.id] = after[target], before[target]
            elif deed == "undo" or (deed != "add" and not live):
                continue
            else:
                chosen = live[pick % len(live)] if live else None
                change = {
                    "add": lambda text=text: add(store, text),
                    "update": lambda text=text, chosen=chosen: update(store, chosen, text),
                    "delete": lambda chosen=chosen: delete(store, chosen),
                    "both": lambda text=text, chosen=chosen: apply(
                        store,
                        Add(op="ADD", text=text),
                        Delete(op="DELETE", memory_id=chosen, version=store.memory(chosen).version),
                    ),
                }[deed]()
                touched = {line.memory_id: line.new_text for line in change.operations}
                before[change.id] = {unit: state.get(unit) for unit in touched}
                after[change.id] = touched
            state.update(after[change.id])
            state = {unit: text for unit, text in state.items() if text is not None}
            assert texts(store) == state
            assert stored_vectors(store) == {unit: vector(text).tolist() for unit, text in state.items()}
        for change in reversed(store.history()):
            if change.undoes is None and change.id in holding(store):
                store.undo(change.id)
        assert texts(store) == {}


def holding(store):
    """Ids of the changes that no change which itself holds has undone."""
    held, taken_back = set(), set()
    for change in reversed(store.history()):
        if change.id not in taken_back:
            held.add(change.id)
            taken_back.add(change.undoes)
    return held


# ---- history and forgetting


def test_the_history_of_a_memory_holds_only_its_own_operations_and_outlives_it(store):
    apply(store, Add(op="ADD", text="a"), Add(op="ADD", text="b"))
    store.forget(1)
    assert [[line.memory_id for line in change.operations] for change in store.history(1)] == [[1], [1]]
    assert [len(change.operations) for change in store.history()] == [2, 1]
    with pytest.raises(MemoryNotFoundError):
        store.history(9)


def test_forgetting_an_unknown_memory_is_an_error(store):
    for purge in (False, True):
        with pytest.raises(MemoryNotFoundError):
            store.forget(9, purge=purge)


SECRET = "Andrew was treated for zygomycosis in Ulaanbaatar by Doctor Quillfeather."
DISTINCTIVE = [b"zygomycosi", b"Zygomycosi", b"ulaanbaatar", b"Ulaanbaatar", b"quillfeath", b"Quillfeath"]


def bytes_beside(path):
    return b"".join(entry.read_bytes() for entry in path.parent.iterdir())


@pytest.mark.parametrize("deleted_before", [False, True])
def test_a_purge_leaves_no_byte_of_the_secret(store, path, deleted_before):
    for number in range(200):
        add(store, f"Andrew saw film number {number} with Audrey", message_id=store.record("Andrew", "x", None).id)
    message = store.record("Andrew", f"I tell you: {SECRET}", None, "secret")
    store.record("Andrew", f"i tell  YOU: {SECRET}", None)
    add(store, SECRET, message_id=message.id, turn_vector=vector("turn"))
    update(store, 201, SECRET + " Twice.")
    store.undo(update(store, 201, SECRET + " Thrice.").id)
    if deleted_before:
        delete(store, 201)
    for number in range(50):
        update(store, number + 1, f"Andrew saw play number {number} with Audrey")
    assert all(bytes_beside(path).count(word) for word in (b"Ulaanbaatar", b"ulaanbaatar"))

    assert store.forget(201, purge=True) is None

    assert {word: bytes_beside(path).count(word) for word in DISTINCTIVE} == dict.fromkeys(DISTINCTIVE, 0)
    assert store.message(message.id) is None
    assert store.stats().messages == 200
    assert store.keyword_search("memory", ["zygomycosis"], 5) == store.keyword_search("turn", ["quillfeather"], 5) == []
    assert {text for change in store.history(201) for line in change.operations for text in (line.old_text,)} == {None}
    assert full_text_is_sound(path)
    assert len(store.memories()) == 200
    store.close()
    assert not any(word in bytes_beside(path) for word in DISTINCTIVE)


def test_what_was_purged_cannot_be_undone(store):
    add(store, "secret")
    change = store.forget(1)
    store.forget(1, purge=True)
    with pytest.raises(UndoConflictError):
        store.undo(change.id)
    add(store, "secret")
    store.forget(2, purge=True)
    with pytest.raises(UndoConflictError):
        store.undo(store.history(2)[-1].id)


def test_another_memory_of_a_purged_turn_stays(store):
    message = store.record("Andrew", "a", SPRING)
    apply(store, Add(op="ADD", text="secret"), Add(op="ADD", text="harmless"), message_id=message.id)
    store.forget(1, purge=True)
    assert texts(store) == {2: "harmless"}
    assert store.memory(2).message_id is None
    assert store.memory(2).at == SPRING


def test_a_purge_that_another_reader_holds_up_says_so_and_is_finished_on_reopening(path):
    path.parent.mkdir()
    with open_bank(path, busy_seconds=0.2) as store:
        add(store, SECRET)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM memories").fetchone()
            with pytest.raises(StoreError, match="another process has the file open"):
                store.forget(1, purge=True)
            assert texts(store) == {}
            reader.execute("COMMIT")
    open_bank(path).close()
    assert not any(word in bytes_beside(path) for word in DISTINCTIVE)
    assert [row for row in contents(path)["settings"] if "erasure" in row[0]] == []


def test_a_bank_with_an_unfinished_purge_opens_also_while_another_process_writes(path):
    path.parent.mkdir()
    with open_bank(path, busy_seconds=0.2) as store:
        add(store, SECRET)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM memories").fetchone()
            with pytest.raises(StoreError, match="another process has the file open"):
                store.forget(1, purge=True)
            other.execute("COMMIT")
            other.execute("BEGIN IMMEDIATE")
            with open_bank(path, busy_seconds=0.1) as again:
                assert texts(again) == {}
            other.execute("ROLLBACK")
    open_bank(path).close()
    assert not any(word in bytes_beside(path) for word in DISTINCTIVE)


def test_a_purge_inside_a_transaction_is_refused(store):
    add(store, "a")
    with store.transaction(), pytest.raises(InvalidInputError):
        store.forget(1, purge=True)
    assert texts(store) == {1: "a"}


# ---- retrieval


def test_keyword_search_ranks_by_bm25_and_stems(store):
    add(store, "Andrew adopted a dog and a cat and a bird and a fish")
    add(store, "Audrey adopts dogs, dogs, dogs")
    add(store, "Audrey lives in Lyon")
    assert store.keyword_search("memory", ["dog"], 5) == [2, 1]
    assert store.keyword_search("memory", ["dog"], 1) == [2]
    assert store.keyword_search("memory", ["Lyon", "nothing"], 5) == [3]
    assert store.keyword_search("memory", [], 5) == []
    assert store.keyword_search("turn", ["dog"], 5) == []
    store.record("Andrew", "My dog barks", None)
    assert store.keyword_search("turn", ["dogs"], 5) == [1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=6))
def test_no_words_are_a_syntax_error(words):
    with open_bank() as store:
        add(store, "a dog")
        assert store.keyword_search("memory", [*words, "dog"], 5) == [1]


def test_a_thousand_words_can_be_searched_for(store):
    add(store, "w77 and more")
    assert store.keyword_search("memory", [f"w{number}" for number in range(1000)], 5) == [1]


def test_vectors_come_by_ascending_id_also_when_there_are_none(store):
    ids, matrix = store.vectors("memory")
    assert (ids.shape, matrix.shape) == ((0,), (0, 4))
    with store.transaction():
        for number in range(1500):
            add(store, f"{number:04d}")
    ids, matrix = store.vectors("memory")
    assert ids.tolist() == list(range(1, 1501))
    assert (ids.dtype, matrix.dtype) == (np.int64, np.float32)
    assert matrix.tolist() == [vector(f"{number:04d}").tolist() for number in range(1500)]
    ids, matrix = store.vectors("memory", [900, 3, 9999])
    assert ids.tolist() == [3, 900]
    assert matrix[1].tolist() == vector("0899").tolist()


def test_the_log_tells_which_memories_were_touched(store):
    assert store.touched_since("memory", 0) == (0, [])
    add(store, "a")
    position, ids = store.touched_since("memory", 0)
    assert ids == [1]
    apply(store, NOOP)
    add(store, "b")
    store.forget(1)
    newer, ids = store.touched_since("memory", position)
    assert (newer > position, ids) == (True, [1, 2])
    assert store.touched_since("memory", newer) == (newer, [])
    assert store.touched_since("memory", newer + 100) == (newer, [1, 2])
    store.forget(2, purge=True)
    assert store.touched_since("memory", newer)[1] == [2]


def test_the_log_tells_which_turns_got_a_vector_or_were_purged(store):
    message = store.record("Andrew", "a", None)
    assert store.touched_since("turn", 0) == (0, [])
    add(store, "a", message_id=message.id, turn_vector=vector("turn"))
    position, ids = store.touched_since("turn", 0)
    assert ids == [message.id]
    assert stored_vectors(store, "turn") == {message.id: vector("turn").tolist()}
    store.forget(1, purge=True)
    newer, ids = store.touched_since("turn", position)
    assert (newer > position, ids) == (True, [message.id])
    assert stored_vectors(store, "turn") == {}


def test_memories_are_listed_in_pages(store):
    for text in "abc":
        add(store, text)
    assert [memory.text for memory in store.memories(limit=1, offset=1)] == ["b"]
    assert sorted(store.fetch_memories([3, 1, 9])) == [1, 3]
    with pytest.raises(InvalidInputError):
        store.memories(offset=-1)


def test_stats_count_what_there_is(store):
    store.record("Andrew", "a", None)
    add(store, "a")
    stats = store.stats()
    assert (stats.memories, stats.messages, stats.pending, stats.changes, stats.operations) == (1, 1, 1, 1, 1)
    assert stats.bytes > 0
    assert stats.embedder == store.embedder


def test_a_turn_recorded_with_its_vector_is_heard_of_by_the_index_and_keeps_that_vector(store):
    message = store.record("Andrew", "a", None, vector=vector("turn"))
    bare = store.record("Andrew", "b", None)
    assert store.touched_since("turn", 0)[1] == [message.id]
    assert [turn.id for turn in store.turns_without_vector()] == [bare.id]
    store.add_turn_vectors([message.id, bare.id], np.stack([vector("othe"), vector("b")]))
    assert stored_vectors(store, "turn") == {message.id: vector("turn").tolist(), bare.id: vector("b").tolist()}
    with pytest.raises(VectorIndexError):
        store.record("Andrew", "c", None, vector=np.zeros(9, np.float32))
    assert store.stats().messages == 2


def test_the_stamps_of_the_last_two_indexes_are_kept_and_a_purge_forgets_them(store):
    stamps = store.index_stamps("memory")
    assert stamps.announced() == []
    for stamp in ("one", "two", "three"):
        stamps.announce(stamp)
    assert stamps.announced() == ["three", "two"]
    assert store.index_stamps("turn").announced() == []
    add(store, "secret")
    store.forget(1, purge=True)
    assert stamps.announced() == []


DAMAGES = {
    "DELETE FROM memories_fts_data": "full text of memories differs",
    "UPDATE messages SET state = 'pending' WHERE id = 1": "Turn 1 is pending and yet has a change",
    "UPDATE messages SET state = 'done' WHERE id = 2": "Turn 2 is done without a change",
    "DELETE FROM memories WHERE id = 1": "Memory 1 is in the log and not in the bank",
    "UPDATE memories SET text = 'other' WHERE id = 1": "Memory 1 differs from what the log last wrote",
    "UPDATE memories SET version = 9 WHERE id = 1": "Memory 1 differs from what the log last wrote",
    "DELETE FROM operations WHERE change_id = 2": "Change 2 has no operations",
    "UPDATE memories SET embedding = x'00' WHERE id = 1": "Memory 1 has a vector of the wrong length",
    "DELETE FROM turn_touches": "Turn 1 has a vector that no index will hear of",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_check_finds_what_does_not_agree(store, path, damage):
    add(store, "a", message_id=store.record("Andrew", "a", None).id, turn_vector=vector("turn"))
    store.record("Andrew", "b", None)
    apply(store, NOOP)
    assert store.check() == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    assert any(DAMAGES[damage] in found for found in store.check())


FULL_TEXT_DAMAGES = [
    "INSERT INTO messages_fts (messages_fts) VALUES ('delete-all')",
    "INSERT INTO messages_fts (messages_fts, rowid, text) VALUES ('delete', 1, 'The key is blue.')",
    "DROP TABLE messages_fts",
    "DROP TRIGGER messages_fts_added",
    "DELETE FROM messages_fts_data",
    "DELETE FROM messages_fts_data WHERE id > 10",
    "DELETE FROM messages_fts_config",
    *(f"DROP TABLE messages_fts_{part}" for part in ("data", "idx", "docsize", "config")),
]


def damage_full_text(path, damage):
    with open_bank(path) as store:
        store.record("Andrew", "The key is blue.", None)
        store.record("Andrew", "The pot is red.", None)
        add(store, "The key is blue.")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()


def full_text_works(store):
    assert store.check() == []
    assert store.keyword_search("turn", ["key"], 9) == [1]
    assert store.keyword_search("memory", ["key"], 9) == [1]
    message = store.record("Audrey", "Another key.", None)
    assert store.holding("turn", ["keys"], 9)[0].tolist() == [1, message.id]


@pytest.mark.parametrize("damage", FULL_TEXT_DAMAGES)
def test_full_text_that_is_missing_or_damaged_is_built_anew_when_the_bank_is_opened(tmp_path, damage):
    damage_full_text(tmp_path / "a.db", damage)
    with open_bank(tmp_path / "a.db") as store:
        full_text_works(store)


@pytest.mark.parametrize("damage", FULL_TEXT_DAMAGES)
def test_full_text_that_is_missing_or_damaged_is_built_anew_on_request(tmp_path, damage):
    open_bank(tmp_path / "a.db").close()
    with open_bank(tmp_path / "a.db") as store:
        damage_full_text(tmp_path / "a.db", damage)
        store.rebuild_full_text()
        full_text_works(store)


def test_sound_full_text_is_left_as_it_is(store, path):
    store.record("Andrew", "The key is blue.", None)
    add(store, "The key is blue.")
    before = store._number("PRAGMA data_version"), path.stat().st_mtime_ns
    open_bank(path).close()
    assert (store._number("PRAGMA data_version"), path.stat().st_mtime_ns) == before


def test_a_bank_whose_full_text_cannot_be_repaired_now_opens_and_says_what_to_do(tmp_path):
    path = tmp_path / "a.db"
    damage_full_text(path, "DROP TABLE messages_fts")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with open_bank(path, busy_seconds=0.1) as store:
            assert len(store.messages()) == 2
            with pytest.raises(StoreError, match="reindex the bank"):
                store.keyword_search("turn", ["key"], 9)
    with open_bank(path) as store:
        full_text_works(store)


# ---- the file


def test_a_bank_can_be_read_by_its_owner_only(store, path):
    store.record("Andrew", "a", None)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}


def test_acknowledged_writes_are_synced_and_deleted_bytes_overwritten(store):
    pragmas = {name: store._rows(f"PRAGMA {name}")[0][0] for name in ("synchronous", "secure_delete", "foreign_keys")}
    assert pragmas == {"synchronous": 2, "secure_delete": 1, "foreign_keys": 1}


def test_vectors_of_two_embedders_are_never_mixed(store, path):
    with pytest.raises(EmbedderMismatchError) as caught:
        Store.open(path, embedder="other", dimension=4)
    assert (caught.value.expected, caught.value.found) == ("test", "other")
    with pytest.raises(EmbedderMismatchError, match="8 dimensions"):
        Store.open(path, embedder="test", dimension=8)


def test_a_closed_bank_says_so(store):
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        store.memories()
    with pytest.raises(ClosedError):
        store.record("Andrew", "a", None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_to_open_the_bank_itself(store):
    child = os.fork()
    if child == 0:
        try:
            store.record("Andrew", "a", None)
        except StoreError as error:
            os._exit(7 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.record("Andrew", "b", None).id == 1


def test_a_bank_that_is_busy_for_too_long_is_an_error_with_advice(store, path):
    with open_bank(path, busy_seconds=0.1) as impatient, store.transaction():
        store.record("Andrew", "a", None)
        with pytest.raises(StoreError, match="another process"):
            impatient.record("Andrew", "b", None)
        assert impatient.messages() == []


def test_two_connections_write_at_once_and_both_are_kept(path):
    path.parent.mkdir()
    failures = []

    def write(speaker):
        try:
            with open_bank(path) as own:
                for number in range(30):
                    message = own.record(speaker, f"turn {number}", None)
                    add(own, f"{speaker} {number}", message_id=message.id)
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(speaker,)) for speaker in ("Andrew", "Audrey")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with open_bank(path) as store:
        stats = store.stats()
        assert (stats.messages, stats.memories, stats.changes, stats.pending) == (60, 60, 60, 0)
    assert full_text_is_sound(path)


def test_a_bank_that_many_create_at_once_is_created_once(tmp_path):
    failures = []

    def create(path, start):
        start.wait()
        try:
            with open_bank(path) as own:
                own.record("Andrew", "a", None)
        except StoreError as error:
            failures.append(error)

    for attempt in range(10):
        path, start = tmp_path / f"{attempt}.db", threading.Barrier(6)
        threads = [threading.Thread(target=create, args=(path, start)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with open_bank(path) as store:
            assert store.stats().messages == 6
    assert failures == []


def test_opening_waits_for_a_reader_when_it_must_switch_to_the_write_ahead_log(path):
    path.parent.mkdir()
    open_bank(path).close()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as reader:
        reader.execute("PRAGMA journal_mode = DELETE").close()
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM memories").fetchone()
        with pytest.raises(StoreError, match="another process"):
            open_bank(path, busy_seconds=0.05)
        release = threading.Timer(0.2, lambda: reader.execute("COMMIT"))
        release.start()
        with open_bank(path) as store:
            assert store._rows("PRAGMA journal_mode")[0][0] == "wal"
        release.join()


def test_threads_share_one_store(store):
    def write(speaker):
        for number in range(20):
            with store.transaction():
                store.record(speaker, f"turn {number}", None)
                store.record(speaker, f"turn {number}, again", None)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("Andrew", "Audrey", "Ada")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    speakers = [message.speaker for message in store.messages()]
    assert len(speakers) == 120
    assert speakers[::2] == speakers[1::2]


WRITER = """
import sys
from memr1_lite.store import Store
store = Store.open(sys.argv[1], embedder="test", dimension=4)
while True:
    print(store.record("Andrew", "I said this.", None).id, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_a_killed_process_loses_no_acknowledged_turn(path):
    path.parent.mkdir()
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        acknowledged = [int(writer.stdout.readline()) for _ in range(25)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().split()]
    with open_bank(path) as store:
        assert set(acknowledged) <= {message.id for message in store.messages()}
    assert full_text_is_sound(path)
