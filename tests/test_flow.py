"""Whole stories, from what is said to what is answered, with a scripted model."""

from __future__ import annotations

import pytest

from memr1_lite.answer_agent import AnswerAgent
from memr1_lite.bank import MemoryBank
from memr1_lite.llm import END
from memr1_lite.memory_manager import MemoryManager
from memr1_lite.testing import ScriptedModel


@pytest.fixture
def story(tmp_path):
    """A bank with a scripted Manager and Answer Agent, and the prompts that they were given."""
    banks = []

    def begin(decisions, answers=()):
        manager, answerer = ScriptedModel(decisions), ScriptedModel(answers)
        path = tmp_path / "bank.db"
        agents = {"memory_manager": MemoryManager(manager), "answer_agent": AnswerAgent(answerer)}
        banks.append(MemoryBank.open(path, **agents))
        return banks[-1], manager.prompts, answerer.prompts

    yield begin
    for bank in banks:
        bank.close()


def test_a_second_dog_is_an_update_and_loses_nothing(story):
    decisions = [
        ("ADD", " Andrew has a dog named Buddy.", END),
        ("UPDATE", "[1]", " Andrew has two dogs, Buddy and Scout.", END),
    ]
    bank, prompts, questions = story(decisions, [("[1]", ":", " two")])
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew", at="2023-05-07")
    change = bank.remember("I adopted another dog named Scout.", speaker="Andrew", at="2023-06-16")
    assert str(change.operations[0]) == (
        "UPDATE [1] 'Andrew has a dog named Buddy.' -> 'Andrew has two dogs, Buddy and Scout.'"
    )
    assert prompts[1] == (
        "[1] Andrew has a dog named Buddy.\nMessage: 16 June 2023 | Andrew: I adopted another dog named Scout.\n"
    )
    answer = bank.ask("How many dogs does Andrew have?")
    assert questions == [
        "[1] 16 June 2023 | Andrew has two dogs, Buddy and Scout.\nQuestion: How many dogs does Andrew have?\n"
    ]
    assert (answer.text, [cited.text for cited in answer.cited]) == ("two", ["Andrew has two dogs, Buddy and Scout."])


def test_what_was_said_again_does_not_stand_beside_what_became_of_it(story):
    decisions = [
        ("ADD", " Andrew has a dog named Buddy.", END),
        ("UPDATE", "[1]", " Andrew has two dogs, Buddy and Scout.", END),
        ("NOOP",),
        ("NOOP",),
    ]
    bank, _, questions = story(decisions, [("[1]", ":", " two")])
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    bank.remember("I adopted another dog named Scout.", speaker="Andrew")
    again = bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    assert again.reason == "manager"  # what it said first is no longer what the memory says
    bank.remember("Buddy is the dog of my sister.", speaker="Andrew")
    bank.ask("How many dogs does Andrew have?")
    assert questions == [
        "[1] no date | Andrew has two dogs, Buddy and Scout.\n[2] no date | Andrew: Buddy is the dog of my sister.\n"
        "Question: How many dogs does Andrew have?\n"
    ]


def test_the_same_words_about_another_day_stand_beside_the_memory(story):
    bank, _, _ = story([("ADD", " Andrew saw a heron on 6 May 2023.", END), ("NOOP",)])
    bank.remember("I saw a heron yesterday.", speaker="Andrew", at="2023-05-07")
    bank.remember("I saw a heron yesterday.", speaker="Andrew", at="2023-05-08")
    assert {(found.kind, found.at.day) for found in bank.search("heron")} == {("memory", 7), ("turn", 8)}


def test_a_turn_that_the_gate_passed_over_says_nothing_new(story):
    bank, _, _ = story([("ADD", " Andrew has a dog named Buddy.", END), ("DELETE", "[1]", END)])
    bank.remember("I adopted a dog named Buddy.", speaker="Andrew")
    assert bank.remember("I adopted a dog named Buddy!", speaker="Andrew").reason == "gate"
    bank.remember("Buddy was never mine.", speaker="Andrew")
    assert bank.search("dog Buddy") == []


def test_a_retraction_deletes_and_what_was_taken_back_is_found_no_more(story):
    decisions = [("ADD", " Andrew plays the guitar.", END), ("DELETE", "[1]", END)]
    bank, _, _ = story(decisions)
    bank.remember("I play the guitar.", speaker="Andrew")
    bank.remember("Forget what I said about the guitar.", speaker="Andrew")
    assert bank.list() == []
    assert bank.search("guitar") == []
    assert bank.stats().messages == 2
    assert [operation.op for change in bank.history(1) for operation in change.operations] == ["ADD", "DELETE"]


def test_relative_dates_reach_the_manager_resolved(story):
    bank, prompts, _ = story([("ADD", " Andrew went to the dentist on 1 July 2023.", END)])
    bank.remember("I went to the dentist yesterday.", speaker="Andrew", at="2023-07-02T09:15")
    assert prompts == ["Message: 2 July 2023 | Andrew: I went to the dentist yesterday (1 July 2023).\n"]


def test_one_message_can_bring_several_operations_and_is_undone_as_one(story):
    decisions = [
        ("ADD", " Audrey lives in Denver.", END),
        ("UPDATE", "[1]", " Audrey lives in Seattle.", "ADD", " Audrey works as a nurse.", END),
    ]
    bank, _, _ = story(decisions)
    bank.remember("I live in Denver.", speaker="Audrey")
    change = bank.remember("I do not live in Denver, I moved to Seattle and work as a nurse.", speaker="Audrey")
    assert [memory.text for memory in bank.list()] == ["Audrey lives in Seattle.", "Audrey works as a nurse."]
    bank.undo(change)
    assert [memory.text for memory in bank.list()] == ["Audrey lives in Denver."]


def test_a_noop_turn_can_still_answer_a_question(story):
    bank, _, questions = story([("NOOP",)], [("[1]", ":", " pizza")])
    bank.remember("We had pizza at the lake.", speaker="Andrew", at="2023-05-07")
    answer = bank.ask("What did Andrew eat at the lake?")
    assert questions[0].startswith("[1] 7 May 2023 | Andrew: We had pizza at the lake.\n")
    assert (answer.cited[0].kind, answer.cited[0].turn.speaker) == ("turn", "Andrew")
