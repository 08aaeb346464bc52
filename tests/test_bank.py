"""MemoryBank: its promises to the caller, on a real store and a scripted model."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from contextlib import closing
from datetime import date, datetime

import numpy as np
import pytest

from memr1_lite import vector_index
from memr1_lite.answer_agent import UNKNOWN, AnswerAgent
from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents, BankConfig
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import (
    ClosedError,
    ContextOverflowError,
    EmbedderMismatchError,
    InvalidInputError,
    MalformedOutputError,
    MemoryNotFoundError,
    ModelError,
    ModelLoadError,
    NotABankError,
    StaleDecisionError,
    StoreError,
    UndoConflictError,
    VectorIndexError,
)
from memr1_lite.llm import END
from memr1_lite.memory_manager import MemoryManager
from memr1_lite.records import Add, Decision, Reply, Turn, Update
from memr1_lite.testing import HashEmbedder, ScriptedModel

BUDDY = ("ADD", " Andrew has a dog named Buddy.", END)
BOTH = ("UPDATE", "[1]", " Andrew has two dogs, Buddy and Scout.", END)
NOOP = ("NOOP",)


@pytest.fixture
def opened(tmp_path):
    """Open the bank of this test, with a Manager and an Answer Agent that say these things."""
    banks = []

    def open_bank(*decisions, answers=(), path=tmp_path / "bank.db", **arguments):
        model, reader = ScriptedModel(decisions), ScriptedModel(answers)
        arguments = {"memory_manager": MemoryManager(model), "answer_agent": AnswerAgent(reader)} | arguments
        bank = MemoryBank.open(path, **arguments)
        bank.prompts, bank.questions = model.prompts, reader.prompts
        banks.append(bank)
        return bank

    yield open_bank
    for bank in banks:
        bank.close()


class Interrupting:
    """A Manager that lets something happen while it thinks, then decides as told."""

    def __init__(self, *decisions):
        self.decisions = list(decisions)
        self.asked = 0

    def decide(self, message, similar):
        self.asked += 1
        return self.decisions.pop(0)(message, similar)


def add(text):
    return lambda message, similar: Decision(operations=(Add(op="ADD", text=text),), model="double")


def test_a_message_becomes_a_memory_that_names_its_turn(opened):
    bank = opened(BUDDY)
    change = bank.remember("I adopted a dog named Buddy.", speaker="Andrew", at="2023-05-07")
    (operation,) = change.operations
    assert (change.reason, change.model, operation.op) == ("manager", "scripted", "ADD")
    memory = bank.get(operation.memory_id)
    assert (memory.text, memory.at) == ("Andrew has a dog named Buddy.", datetime(2023, 5, 7))
    assert bank.pending() == []


def test_everything_is_there_again_after_reopening(opened):
    with opened(BUDDY) as bank:
        bank.remember("I adopted a dog named Buddy.", speaker="Andrew", at=date(2023, 5, 7))
    again = opened()
    assert [memory.text for memory in again.list()] == ["Andrew has a dog named Buddy."]
    assert [found.text for found in again.search("dog")] == ["Andrew has a dog named Buddy."]


@pytest.mark.parametrize(
    "arguments",
    [
        {"text": ""},
        {"text": " \n "},
        {"text": "a\0b"},
        {"text": "\ud83d"},
        {"text": "x" * 8_001},
        {"text": "Hi there", "speaker": " "},
        {"text": "Hi there", "speaker": "Ann\nBen"},
        {"text": "Hi there", "speaker": "Ann\n"},  # would be somebody else than Ann
        {"text": "Hi there", "speaker": "\u200b"},
        {"text": "Hi there", "speaker": "x" * 81},
        {"text": "Hi there", "at": "soon"},
        {"text": "Hi there", "at": "9999-12-31T24:00"},
        {"text": "Hi there", "source_id": ""},
    ],
)
def test_what_cannot_be_remembered_is_refused_before_anything_is_written(opened, arguments):
    bank = opened()
    with pytest.raises(InvalidInputError):
        bank.remember(**arguments)
    assert bank.stats().messages == 0


def test_a_turn_survives_a_model_that_fails_and_is_decided_about_later(opened):
    bank = opened(("NONSENSE",), BUDDY)
    with pytest.raises(MalformedOutputError):
        bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    (pending,) = bank.pending()
    assert [found.turn for found in bank.search("Buddy")] == [pending]
    (change,) = bank.remember_pending()
    assert change.message_id == pending.id
    assert (bank.pending(), [memory.text for memory in bank.list()]) == ([], ["Andrew has a dog named Buddy."])


def test_one_undecidable_turn_does_not_hold_up_the_rest(opened):
    bank = opened(("NONSENSE",), BUDDY)
    first = bank.record("An odd thing happened.", speaker="Andrew")
    bank.record("I adopted a dog named Buddy.", speaker="Andrew")
    with pytest.raises(MalformedOutputError):
        bank.remember_pending()
    assert bank.pending() == [first]
    assert len(bank.list()) == 1


def test_many_turns_are_recorded_as_each_would_be(opened):
    turns = [Turn(speaker="Andrew", text=f"Thing {number} happened.", source_id=str(number)) for number in range(5)]
    one, many = opened(path=":memory:"), opened(path=":memory:")
    many.record_many(turns[:2])
    kept = [one.record(turn.text, speaker=turn.speaker, source_id=turn.source_id) for turn in turns]
    assert many.record_many([*turns, turns[0]]) == [*kept, kept[0]]
    assert many.pending() == one.pending() == kept
    assert many.search("thing 3", legs="vectors") == one.search("thing 3", legs="vectors") != []


@pytest.mark.parametrize(
    "wrong", [Turn(speaker="A", text=" ", source_id="2"), Turn(speaker="A", text="Another.", source_id="1")]
)
def test_of_many_turns_none_is_recorded_where_one_is_refused(opened, wrong):
    bank = opened()
    bank.record_many([Turn(speaker="A", text="It rains.", source_id="1")])
    with pytest.raises(InvalidInputError):
        bank.record_many([Turn(speaker="A", text="It snows.", source_id="3"), wrong])
    assert [turn.text for turn in bank.pending()] == ["It rains."]


def test_many_turns_are_kept_where_their_embedder_fails(opened):
    class Failing(LexicalEmbedder):
        def embed(self, texts):
            raise ModelError("It is out of order.")

    bank = opened(embedder=Failing())
    with pytest.raises(ModelError):
        bank.record_many([Turn(speaker="A", text="It rains.", source_id="1")])
    assert [turn.text for turn in bank.pending()] == ["It rains."]


@pytest.mark.parametrize("wrong", [lambda rows: rows * np.nan, lambda rows: rows[:, 1:], lambda rows: rows[1:]])
def test_turns_are_kept_where_their_embedder_makes_no_vectors_that_can_be_stored(opened, wrong):
    class Odd(LexicalEmbedder):
        def embed(self, texts):
            return wrong(super().embed(texts))

    bank = opened(embedder=Odd())
    with pytest.raises(VectorIndexError, match="check the embedder"):
        bank.record("It rains.")
    with pytest.raises(VectorIndexError, match="check the embedder"):
        bank.record_many([Turn(speaker="A", text="It snows.", source_id="1")])
    assert [turn.text for turn in bank.pending()] == ["It rains.", "It snows."]
    assert bank.check() == []


def test_pending_turns_are_decided_in_the_order_they_were_said(opened):
    bank = opened(NOOP, NOOP, NOOP)
    late = bank.record("I moved to Lyon.", at="2023-06-01")
    undated = bank.record("Lyon is sunny.")
    early = bank.record("I live in Paris.", at="2020-01-01")
    assert [change.message_id for change in bank.remember_pending()] == [early.id, late.id, undated.id]


@pytest.mark.parametrize("dates", [("2020-01-01", "2023-06-01"), (None, None)])
def test_a_turn_decided_late_adds_to_what_was_said_after_it_and_overwrites_nothing(opened, dates):
    bank = opened(
        ("ADD", " Audrey lives in Lyon.", END),
        ("UPDATE", "[1]", " Audrey lives in Paris.", "ADD", " Audrey has a cat.", END),
    )
    bank.record("I live in Paris and have a cat.", speaker="Audrey", at=dates[0])
    bank.remember("I moved to Lyon.", speaker="Audrey", at=dates[1])
    (change,) = bank.remember_pending()
    assert [operation.op for operation in change.operations] == ["ADD"]
    assert [memory.text for memory in bank.list()] == ["Audrey lives in Lyon.", "Audrey has a cat."]


def test_a_turn_that_waits_and_is_told_again_overwrites_nothing_that_was_recorded_after_it(opened):
    bank = opened(
        ("ADD", " Audrey lives in Lyon.", END),
        ("UPDATE", "[1]", " Audrey lives in Paris.", END),
    )
    waiting = bank.record("I live in Paris.", speaker="Audrey", source_id="1")
    bank.remember("I moved to Lyon.", speaker="Audrey", source_id="2")
    change = bank.remember("I live in Paris.", speaker="Audrey", source_id="1")
    assert change.message_id == waiting.id
    assert [operation.op for operation in change.operations] == ["NOOP"]
    assert [memory.text for memory in bank.list()] == ["Audrey lives in Lyon."]


def test_a_turn_decided_late_may_rewrite_what_was_said_before_it(opened):
    bank = opened(("ADD", " Audrey lives in Paris.", END), ("UPDATE", "[1]", " Audrey lives in Lyon.", END))
    bank.remember("I live in Paris.", speaker="Audrey", at="2020-01-01")
    bank.record("I moved to Lyon.", speaker="Audrey", at="2023-06-01")
    bank.remember_pending()
    assert [memory.text for memory in bank.list()] == ["Audrey lives in Lyon."]


def test_a_late_turn_that_could_only_overwrite_changes_nothing_and_stays_findable(opened):
    bank = opened(("ADD", " Audrey lives in Lyon.", END), ("DELETE", "[1]", END))
    bank.record("I do not live in Lyon.", speaker="Audrey", at="2020-01-01")
    bank.remember("I moved to Lyon.", speaker="Audrey", at="2023-06-01")
    (change,) = bank.remember_pending()
    assert [operation.op for operation in change.operations] == ["NOOP"]
    assert {found.text for found in bank.search("Lyon")} == {"Audrey lives in Lyon.", "I do not live in Lyon."}


@pytest.mark.parametrize(
    ("known", "told", "stands"),
    [
        ("2024-06-01", "2022-03-15", True),  # an old log, imported after
        ("2024-06-01T09:30", "2024-06-01T08:15", True),
        ("2024-06-01", "2024-05-31T23:59", True),
        ("2024-06-01T09:30", "2024-06-01", False),  # the time of one is not known: as they were told
        ("2024-06-01", "2024-06-01T09:30", False),
        ("2024-06-01", "2024-06-01", False),
        ("2024-06-01", None, False),
        (None, "2022-03-15", False),
        ("2022-03-15", "2024-06-01", False),
    ],
)
def test_an_older_fact_told_later_overwrites_nothing(opened, known, told, stands):
    bank = opened(("ADD", " Ingrid lives in Malmo.", END), ("UPDATE", "[1]", " Ingrid lives in Lund.", END))
    bank.remember("I live in Malmo.", speaker="Ingrid", at=known)
    change = bank.remember("I live in Lund.", speaker="Ingrid", at=told)
    assert [operation.op for operation in change.operations] == ["NOOP" if stands else "UPDATE"]
    assert [memory.text for memory in bank.list()] == [f"Ingrid lives in {'Malmo' if stands else 'Lund'}."]
    assert any(found.text == "I live in Lund." for found in bank.search("Lund")) is stands


def test_every_turn_has_its_vector_once_it_is_recorded(opened):
    bank = opened(("NONSENSE",))
    bank.record("I adopted a dog named Buddy.")
    bank.remember("Hi! How are you?")
    with pytest.raises(MalformedOutputError):
        bank.remember("An odd thing happened.")
    assert bank._store.vectors("turn")[0].tolist() == [1, 2, 3]
    assert bank.search("adopted")[0].vector_rank == 1


def test_a_turn_whose_embedder_fails_is_kept_and_gets_its_vector_from_the_next_that_works(opened):
    class Failing(LexicalEmbedder):
        works = False

        def embed(self, texts):
            if not self.works:
                raise ModelError("no memory left")
            return super().embed(texts)

    embedder = Failing()
    bank = opened(BUDDY, embedder=embedder)
    for text in ("I adopted a dog named Buddy.", "I like tea."):
        with pytest.raises(ModelError, match="no memory left"):
            bank.remember(text)
    assert len(bank.pending()) == 2
    assert bank._store.vectors("turn")[0].tolist() == []
    embedder.works = True
    bank.remember("I adopted a dog named Buddy.", source_id=None)
    assert bank.reindex().messages == 3
    assert bank._store.vectors("turn")[0].tolist() == [1, 2, 3]
    assert bank.check() == []


def test_a_moment_that_cannot_be_read_is_refused_before_anything_is_computed_also_where_the_turn_is_known(opened):
    class Counting(LexicalEmbedder):
        texts = 0

        def embed(self, texts):
            self.texts += len(texts)
            return super().embed(texts)

    embedder = Counting()
    bank = opened(NOOP, embedder=embedder)
    bank.remember("I like tea.", source_id="1")
    before = embedder.texts
    for source_id in ("1", "2", None):
        with pytest.raises(InvalidInputError, match="at='soon' is not a date"):
            bank.remember("I like tea.", source_id=source_id, at="soon")
    assert embedder.texts == before


def test_the_same_source_id_decides_once(opened):
    bank = opened(BUDDY)
    once = bank.remember("I adopted a dog named Buddy.", speaker="Andrew", source_id="chat/1")
    again = bank.remember("I adopted a dog named Buddy.", speaker="Andrew", source_id="chat/1")
    assert once == again
    assert (bank.stats().messages, len(bank.prompts)) == (1, 1)


def test_the_same_source_id_decides_again_where_the_decision_failed(opened):
    bank = opened(("NONSENSE",), BUDDY)
    with pytest.raises(MalformedOutputError):
        bank.remember("I adopted a dog named Buddy.", source_id="chat/1")
    assert bank.remember("I adopted a dog named Buddy.", source_id="chat/1").reason == "manager"
    assert bank.stats().messages == 1


def test_a_source_id_cannot_stand_for_two_texts(opened):
    bank = opened(BUDDY)
    bank.remember("I adopted a dog named Buddy.", source_id="chat/1")
    with pytest.raises(InvalidInputError, match="chat/1"):
        bank.remember("I adopted a cat.", source_id="chat/1")


def test_chit_chat_needs_no_model(opened):
    bank = opened()
    change = bank.remember("Hi! How are you?", speaker="Andrew")
    assert (change.reason, [operation.op for operation in change.operations]) == ("gate", ["NOOP"])
    assert bank.prompts == []
    assert bank.stats().messages == 1


def test_a_repeated_message_needs_no_model(opened):
    bank = opened(BUDDY)
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    assert bank.remember("I adopted a dog named buddy", speaker="Andrew").reason == "gate"
    assert len(bank.prompts) == 1


def test_the_same_words_of_somebody_else_are_news(opened):
    bank = opened(BUDDY, NOOP)
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    assert bank.remember("I adopted a dog named Buddy.", speaker="Audrey").reason == "manager"


def test_a_repetition_of_what_no_longer_holds_is_news(opened):
    bank = opened(
        ("ADD", " Audrey lives in Paris.", END),
        ("UPDATE", "[1]", " Audrey lives in Lyon.", END),
        ("UPDATE", "[1]", " Audrey lives in Paris.", END),
    )
    for text in ("I live in Paris.", "I moved to Lyon.", "I live in Paris."):
        assert bank.remember(text, speaker="Audrey").reason == "manager"
    assert [memory.text for memory in bank.list()] == ["Audrey lives in Paris."]


def test_a_repetition_after_an_undo_is_news(opened):
    bank = opened(BUDDY, BUDDY)
    bank.undo(bank.remember("I adopted a dog named Buddy.", speaker="Andrew"))
    assert bank.remember("I adopted a dog named Buddy.", speaker="Andrew").reason == "manager"


def test_a_decision_on_an_old_text_is_made_again_on_the_new_one(opened):
    bank = None

    def stale(message, similar):
        assert len(similar) == 1
        # While this one thinks, another thread changes the memory that it was shown.
        other = MemoryBank.open(bank._store.path, memory_manager=Interrupting(rewrite("Buddy is brown.")))
        with other:
            other.remember("Buddy is brown.", speaker="Audrey")
        return rewrite("Buddy is old.")(message, similar)

    def rewrite(text):
        def decide(message, similar):
            operation = Update(op="UPDATE", memory_id=similar[0].id, version=similar[0].version, text=text)
            return Decision(operations=(operation,))

        return decide

    manager = Interrupting(add("Andrew has a dog named Buddy."), stale, rewrite("Buddy is old and brown."))
    bank = opened(memory_manager=manager)
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    change = bank.remember("Buddy the dog is old.", speaker="Andrew")
    assert change.operations[0].old_text == "Buddy is brown."
    assert [memory.text for memory in bank.list()] == ["Buddy is old and brown."]
    assert manager.asked == 3


def test_a_decision_that_is_always_stale_is_an_error_and_the_turn_stays(opened):
    def stale(message, similar):
        operation = Update(op="UPDATE", memory_id=similar[0].id, version=99, text="Buddy is old.")
        return Decision(operations=(operation,))

    manager = Interrupting(add("Andrew has a dog named Buddy."), stale, stale)
    bank = opened(memory_manager=manager, config=BankConfig(decide_again=1))
    bank.remember("I adopted a dog named Buddy.")
    with pytest.raises(StaleDecisionError):
        bank.remember("Buddy the dog is old.")
    assert len(bank.pending()) == 1


def test_nothing_is_locked_while_a_model_thinks(opened):
    bank, thinking, go_on = None, threading.Event(), threading.Event()

    def slow(message, similar):
        thinking.set()
        assert go_on.wait(10)
        return add("Andrew has a dog named Buddy.")(message, similar)

    bank = opened(memory_manager=Interrupting(slow))
    thread = threading.Thread(target=bank.remember, args=("I adopted a dog named Buddy.",))
    thread.start()
    assert thinking.wait(10)
    assert bank.record("It rains in Lyon.").state == "pending"
    assert bank.search("rains")[0].text == "It rains in Lyon."
    go_on.set()
    thread.join()
    assert len(bank.list()) == 1


def test_two_banks_on_one_file_with_one_source_id_write_one_change(opened):
    both = threading.Barrier(2, timeout=10)

    def together(message, similar):
        both.wait()
        return add("Andrew has a dog named Buddy.")(message, similar)

    manager, changes = Interrupting(together, together), []
    bank, other = opened(memory_manager=manager), opened(memory_manager=manager)

    def remember(one):
        changes.append(one.remember("I adopted a dog named Buddy.", source_id="chat/1"))

    threads = [threading.Thread(target=remember, args=(one,)) for one in (bank, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert changes[0] == changes[1]
    assert (len(bank.list()), len(bank.history())) == (1, 1)


def test_messages_of_several_threads_see_what_the_others_wrote(opened):
    class Merging:
        def decide(self, message, similar):
            time.sleep(0.02)
            if similar:
                (memory,) = similar
                text = f"{memory.text} {message.text}"
                operation = Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=text)
                return Decision(operations=(operation,))
            return add(message.text)(message, similar)

    bank = opened(memory_manager=Merging())
    names = ("Buddy", "Scout", "Rex", "Bella")
    threads = [threading.Thread(target=bank.remember, args=(f"A dog named {name}.",)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (memory,) = bank.list()
    assert all(name in memory.text for name in names)


def test_an_answer_cites_what_it_was_shown_and_says_how_long_it_took(opened):
    bank = opened(BUDDY, answers=[("[1]", ":", " Buddy")])
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew", at="2023-05-07")
    answer = bank.ask("What is Andrew's dog called?")
    assert (answer.text, answer.known, answer.model) == ("Buddy", True, "scripted")
    assert [cited.text for cited in answer.cited] == ["Andrew has a dog named Buddy."]
    assert answer.cited[0].turn.text == "I adopted a dog named Buddy."
    assert answer.timings.retrieve > 0
    assert answer.timings.think > 0


@pytest.mark.parametrize("position", [-1, 1])
def test_an_agent_that_cites_what_it_was_not_shown_is_an_error(opened, position):
    class Inventing:
        def answer(self, question, candidates):
            return Reply(text="tea", known=True, cited=(position,))

    bank = opened(answer_agent=Inventing())
    bank.record("I like tea.")
    with pytest.raises(MalformedOutputError, match="1 shown"):
        bank.ask("Which tea?")


def test_where_nothing_is_found_no_model_is_asked(opened):
    bank = opened()
    answer = bank.ask("What is Andrew's dog called?")
    assert (answer.text, answer.known, answer.cited, answer.candidates) == (UNKNOWN, False, (), ())
    assert bank.questions == []


def test_the_agent_may_say_that_it_does_not_know(opened):
    bank = opened(BUDDY, answers=[("NONE",)])
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    answer = bank.ask("What is the dog's favourite food?")
    assert (answer.text, answer.known, len(answer.candidates)) == (UNKNOWN, False, 1)


def test_a_question_shows_at_most_k_candidates(opened):
    bank = opened(answers=[("NONE",)])
    for number in range(5):
        bank.record(f"My dog number {number} barks.")
    assert len(bank.ask("Which dog barks?", k=2).candidates) == 2


class Small:
    """An Answer Agent with room for so many candidates."""

    def __init__(self, room):
        self.room = room

    def answer(self, question, candidates):
        if len(candidates) > self.room:
            raise ContextOverflowError(needed=100 * len(candidates), available=100 * self.room + 99)
        return Reply(text="Buddy", known=True, cited=(0,))


def test_candidates_that_do_not_fit_are_left_out_from_the_end_and_the_answer_shows_it(opened):
    bank = opened(answer_agent=Small(2))
    for name in ("Buddy", "Scout", "Rex", "Bella"):
        bank.record(f"A dog named {name}.")
    found = bank.search("Which dog?")
    answer = bank.ask("Which dog?")
    assert (len(found), list(answer.candidates), answer.left_out) == (4, found[:2], 2)
    with pytest.raises(ContextOverflowError):
        bank.ask("Which dog?", k=4)


def test_a_question_that_fits_with_no_candidate_at_all_is_an_error(opened):
    bank = opened(BUDDY, answer_agent=Small(0))
    bank.remember("I adopted a dog named Buddy.")
    with pytest.raises(ContextOverflowError):
        bank.ask("Which dog?")


class SmallManager:
    """A Manager with room for so many memories beside what takes the room of one; updates the last that it is shown."""

    def __init__(self, room):
        self.room, self.shown = room, []

    def decide(self, message, similar):
        self.shown.append([memory.text for memory in similar])
        if len(similar) > self.room:
            raise ContextOverflowError(needed=100 * len(similar) + 100, available=100 * self.room + 100)
        if not similar:
            return Decision(operations=(Add(op="ADD", text=message.text),))
        memory = similar[-1]
        return Decision(
            operations=(Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=message.text),)
        )


def test_memories_that_do_not_fit_are_left_out_from_the_end_when_the_manager_decides(opened, path_of_dogs):
    manager = SmallManager(2)
    bank = opened(memory_manager=manager, path=path_of_dogs)
    change = bank.remember("My dog Rex barks.")
    assert len(manager.shown[0]) == 5
    assert manager.shown[-1] == manager.shown[0][:2]
    assert change.operations[0].old_text == manager.shown[0][1]


def test_a_turn_beside_which_no_memory_fits_is_decided_about_without_any(opened, path_of_dogs):
    manager = SmallManager(0)
    bank = opened(memory_manager=manager, path=path_of_dogs)
    assert [line.op for line in bank.remember("My dog Rex barks.").operations] == ["ADD"]
    assert manager.shown[-1] == []


def test_a_turn_that_does_not_fit_alone_is_an_error_and_stays_pending(opened, path_of_dogs):
    manager = SmallManager(-1)
    bank = opened(memory_manager=manager, path=path_of_dogs)
    with pytest.raises(ContextOverflowError):
        bank.remember("My dog Rex barks.")
    assert manager.shown[-1] == []
    assert [turn.text for turn in bank.pending()] == ["My dog Rex barks."]


@pytest.fixture
def path_of_dogs(opened, tmp_path):
    """A bank with five memories of dogs."""
    names = ("Buddy", "Scout", "Rex", "Bella", "Luna")
    with opened(*(("ADD", f" The dog {name} barks.", END) for name in names), path=tmp_path / "dogs.db") as bank:
        for name in names:
            bank.remember(f"The dog {name} barks.")
    return tmp_path / "dogs.db"


@pytest.mark.parametrize("query", ["", "  ", "a\0b", "x" * 8_001])
def test_a_question_that_is_none_is_refused(opened, query):
    bank = opened()
    for verb in (bank.ask, bank.search):
        with pytest.raises(InvalidInputError, match="query"):
            verb(query)


def test_k_has_to_be_positive(opened):
    with pytest.raises(InvalidInputError, match="k=0"):
        opened().search("dogs", 0)


def test_an_update_can_be_undone_and_redone(opened):
    bank = opened(BUDDY, BOTH)
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    change = bank.remember("I adopted another dog named Scout.", speaker="Andrew")
    back = bank.undo(change)
    assert (back.reason, back.undoes) == ("undo", change.id)
    assert bank.list()[0].text == "Andrew has a dog named Buddy."
    bank.undo(back.id)
    assert bank.list()[0].text == "Andrew has two dogs, Buddy and Scout."
    with pytest.raises(UndoConflictError):
        bank.undo(1)


def test_a_forgotten_memory_is_not_found_and_comes_back(opened):
    bank = opened(BUDDY)
    memory_id = bank.remember("I adopted a dog named Buddy.").operations[0].memory_id
    change = bank.forget(memory_id)
    with pytest.raises(MemoryNotFoundError):
        bank.get(memory_id)
    assert "memory" not in {found.kind for found in bank.search("dog Buddy")}
    bank.undo(change)
    assert bank.search("dog Buddy")[0].id == memory_id
    assert [change.reason for change in bank.history(memory_id)] == ["manager", "forget", "undo"]


def test_a_purged_memory_leaves_no_byte_beside_the_bank(opened, tmp_path):
    bank = opened(BUDDY, ("ADD", " Audrey likes tea.", END), config=BankConfig(exact_below=0))
    memory_id = bank.remember("I adopted a dog named Buddy.").operations[0].memory_id
    bank.remember("I like tea.", speaker="Audrey")
    vector = LexicalEmbedder().embed(["Andrew has a dog named Buddy."]).tobytes()
    bank.search("dog")
    bank._retriever.save()
    assert any(vector in file.read_bytes() for file in tmp_path.iterdir())
    assert bank.forget(memory_id, purge=True) is None
    assert [found.text for found in bank.search("Buddy tea")] == ["Audrey likes tea."]
    bank.close()
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert b"uddy" not in content
        assert vector not in content


def test_a_purge_that_another_reader_holds_up_leaves_no_vector_beside_the_bank(opened, tmp_path):
    bank = opened(BUDDY, ("ADD", " Audrey likes tea.", END), config=BankConfig(exact_below=0))
    bank.remember("I adopted a dog named Buddy.")
    bank.remember("I like tea.", speaker="Audrey")
    vector = LexicalEmbedder().embed(["Andrew has a dog named Buddy."]).tobytes()
    bank.search("dog")
    bank._retriever.save()
    bank._store._connection.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(tmp_path / "bank.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM memories").fetchone()
        with pytest.raises(StoreError, match="another process has the file open"):
            bank.forget(1, purge=True)
        reader.execute("COMMIT")
    bank.close()
    indexes = list(tmp_path.glob("*.hnsw"))
    assert indexes
    assert not any(vector in index.read_bytes() for index in indexes)


def test_the_index_stays_beside_the_bank_where_the_process_changes_its_folder(opened, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with opened(BUDDY, path="here.db", config=BankConfig(exact_below=0)) as bank:
        bank.remember("I adopted a dog named Buddy.")
        bank.search("dog")
        monkeypatch.chdir(tmp_path / "elsewhere")
    assert (tmp_path / "here.db.memories.hnsw").exists()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_new_bank_in_the_place_of_a_deleted_one_does_not_inherit_its_index(opened, tmp_path):
    config = BankConfig(exact_below=0)
    with opened(BUDDY, config=config) as bank:
        bank.remember("I adopted a dog named Buddy.")
        bank.search("dog")
    assert list(tmp_path.glob("*.hnsw"))
    (tmp_path / "bank.db").unlink()
    again = opened(("ADD", " Audrey likes tea.", END), ("ADD", " Audrey plays chess.", END), config=config)
    again.remember("I like tea.")
    again.remember("I play chess.")
    assert {found.text for found in again.search("tea and chess")} == {"Audrey likes tea.", "Audrey plays chess."}


def graph_bank(opened, tmp_path, count, path="bank.db"):
    """A bank whose few memories are in a graph beside it."""
    decisions = [("ADD", f" Fact number {number}.", END) for number in range(count)]
    bank = opened(*decisions, path=tmp_path / path, config=BankConfig(exact_below=0))
    for number in range(count):
        bank.remember(f"Here is fact number {number}.")
    bank.search("fact")
    return bank


def loads(bank):
    return [index.load() for index in bank._retriever._indexes.values()]


def test_a_saved_index_is_taken_up_by_its_own_bank(opened, tmp_path):
    graph_bank(opened, tmp_path, 3).close()
    with opened(config=BankConfig(exact_below=0)) as again:
        assert loads(again) == [True, True]
        assert again.check() == []


def test_the_index_of_another_bank_is_never_taken(opened, tmp_path):
    graph_bank(opened, tmp_path, 3).close()
    graph_bank(opened, tmp_path, 4, "other.db").close()
    for file in tmp_path.glob("bank.db.*.hnsw*"):
        shutil.copy(file, tmp_path / file.name.replace("bank.db", "other.db"))
    with opened(path=tmp_path / "other.db", config=BankConfig(exact_below=0)) as other:
        assert loads(other) == [False, False]
        assert len(other.search("fact number", 20)) == 4
        assert other.check() == []


def test_an_index_younger_than_a_restored_bank_is_not_taken_also_once_the_bank_has_grown_past_it(opened, tmp_path):
    graph_bank(opened, tmp_path, 2).close()
    shutil.copy(tmp_path / "bank.db", tmp_path / "backup")
    with opened(("ADD", " Lost with the disk.", END), config=BankConfig(exact_below=0)) as bank:
        bank.remember("This will be lost.")
        bank.search("lost")
    shutil.copy(tmp_path / "backup", tmp_path / "bank.db")
    with opened(*[("ADD", f" New fact {n}.", END) for n in range(3)], config=BankConfig(exact_below=0)) as bank:
        for number in range(3):  # its log is now longer than the index's position in the lost one
            bank.remember(f"Something new {number}.")
        assert loads(bank) == [False, False]
        assert bank.check() == []
        assert bank.search("fact 0 new")[0].text == "New fact 0."


def test_an_index_is_there_again_after_its_files_were_removed_damaged_or_reindexed(opened, tmp_path):
    graph_bank(opened, tmp_path, 3).close()
    for spoil in (lambda file: file.unlink(), lambda file: file.write_bytes(b"x" * 500)):
        for file in tmp_path.glob("*.hnsw"):
            spoil(file)
        with opened(config=BankConfig(exact_below=0)) as again:
            assert again.check() == []
            assert len(again.search("fact number")) == 3
    with opened(config=BankConfig(exact_below=0)) as again:
        again.reindex()
        assert loads(again) == [True, True]


def test_a_bank_whose_index_cannot_be_written_can_still_be_searched(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_index, "FIRST_CAPACITY", 2)
    bank = graph_bank(opened, tmp_path, 3)
    assert list(tmp_path.glob("*.hnsw"))  # written before close(): a killed process would not have to begin anew
    for file in tmp_path.glob("*.hnsw*"):
        file.unlink()
    for name in ("memories", "turns"):
        (tmp_path / f"bank.db.{name}.hnsw" / "in the way").mkdir(parents=True)
    bank.record("Here is another fact.")
    assert bank.search("another")
    with pytest.raises(VectorIndexError, match="only a cache"):
        bank.close()


def test_a_closed_bank_says_so(opened):
    bank = opened()
    bank.close()
    bank.close()
    calls = [
        lambda: bank.remember("I like tea."),
        lambda: bank.record("I like tea."),
        lambda: bank.ask("Tea?"),
        lambda: bank.search("tea"),
        lambda: bank.get(1),
        lambda: bank.list(),
        lambda: bank.history(),
        lambda: bank.forget(1),
        lambda: bank.undo(1),
        lambda: bank.stats(),
        lambda: bank.pending(),
        lambda: bank.remember_pending(),
        lambda: bank.reindex(),
        lambda: bank.check(),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()


def test_searching_needs_no_model_file_and_remembering_says_which_is_missing(tmp_path):
    missing = Agents(manager=tmp_path / "none.gguf", answerer=tmp_path / "neither.gguf")
    with MemoryBank.open(tmp_path / "bank.db", agents=missing) as bank:
        bank.record("I like tea.", speaker="Audrey")
        assert [found.text for found in bank.search("tea")] == ["I like tea."]
        with pytest.raises(ModelLoadError, match=r"none\.gguf"):
            bank.remember("I like coffee.", speaker="Audrey")
        with pytest.raises(ModelLoadError, match=r"neither\.gguf"):
            bank.ask("Who likes tea?")
        with pytest.raises(ModelLoadError, match=r"none\.gguf"):
            bank.remember_pending()
        assert len(bank.pending()) == 2


def test_a_script_that_runs_out_is_a_model_error(opened):
    with pytest.raises(ModelError):
        opened().remember("I adopted a dog named Buddy.")


def test_a_bank_stays_with_its_embedder(opened):
    opened().close()
    with pytest.raises(EmbedderMismatchError):
        opened(embedder=HashEmbedder())


def test_a_file_of_somebody_else_is_refused(opened, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a bank " * 100)
    with pytest.raises(NotABankError):
        opened(path=path)
    assert path.read_text() == "not a bank " * 100


def test_a_bank_in_memory_keeps_nothing(opened):
    with opened(BUDDY, path=":memory:") as bank:
        bank.remember("I adopted a dog named Buddy.")
        assert len(bank.search("dog")) == 1
    assert opened(path=":memory:").list() == []


def test_lists_are_paged(opened):
    bank = opened(*[("ADD", f" Fact {number}.", END) for number in range(3)])
    for number in range(3):
        bank.remember(f"Here is fact number {number}.")
    assert [memory.text for memory in bank.list(limit=1, offset=1)] == ["Fact 1."]
    with pytest.raises(InvalidInputError, match="-1"):
        bank.list(limit=-1)
