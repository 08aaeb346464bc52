from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from memr1_lite.answer_agent import AnswerTemplate
from memr1_lite.llm import Choice
from memr1_lite.memory_manager import ManagerTemplate, parse_operations
from memr1_lite.records import Add, Delete, Memory, Noop, Update
from train_ref.world import families as f
from train_ref.world import words as w
from train_ref.world.conversation import after, conversation
from train_ref.world.episodes import answerer_example, cast, manager_example, operations, some_day
from train_ref.world.facts import Teller
from train_ref.world.language import COUNTS, Person, say
from train_ref.world.questions import first_person

SPLITS: tuple[w.Split, ...] = ("train", "heldout")


def every(family: f.Family, *uses: str) -> list[str]:
    return [phrase for split in SPLITS for use in uses for phrase in family.phrases(use, split)]


SAID = [(x, p) for x in f.FAMILIES for p in (x.fact, *every(x, "tell", "change", "end"))]
ASKED = [(x, p) for x in f.FAMILIES for p in every(x, "ask", "yesno", "count", "when", "who")]
WRITTEN = [(x, x.text) for x in f.FAMILIES] + ASKED


@pytest.mark.parametrize("subject", ["I", "Maya", "my boss"])
def test_every_phrase_can_be_said_of_anybody(subject):
    for family, phrase in SAID if subject == "I" else SAID + WRITTEN:
        said = say(phrase, subject, "she", {"v": "xyz", "av": "an xyz", "old": "abc", "aold": "an abc", "noun": "dog"})
        assert not re.search(r"[{}|]|\bI (is|has|lives|works|doesn't)\b", said), (family.name, phrase, said)


def lists(phrases: dict[str, Any], name: str = "") -> Iterator[tuple[str, list[str]]]:
    for key, inner in phrases.items():
        yield from [(f"{name}/{key}", inner)] if isinstance(inner, list) else lists(inner, f"{name}/{key}")


def key(phrase: str) -> str:
    return re.sub(r"\W+", " ", phrase.lower()).strip()


def test_training_and_heldout_share_no_phrase_no_word_and_no_invented_name():
    named = {split: dict(lists(f.PHRASES[split])) for split in SPLITS}
    assert named["train"].keys() == named["heldout"].keys()
    assert all(named["heldout"].values())
    # Over all lists: what tells of a home may also tell of a change of it.
    train, heldout = ({key(phrase) for phrases in named[split].values() for phrase in phrases} for split in SPLITS)
    assert train.isdisjoint(heldout)
    for values in (w.NAMES, w.CITIES, w.FOODS):
        train, heldout = set(w.part(values, "train")), set(w.part(values, "heldout"))
        assert heldout
        assert train.isdisjoint(heldout)
        assert train | heldout == set(values)
    rng = random.Random(0)
    invented = [{w.invented(rng, split) for _ in range(2000)} for split in ("train", "heldout")]
    assert invented[0].isdisjoint(invented[1])


def test_a_heldout_conversation_says_nothing_in_a_training_phrase():
    starts = {phrase.split("{")[0] for phrase in f.PHRASES["train"]["general"]["small_talk"]} - {""}
    for seed in range(5):
        small = [said.text for said in conversation(seed, "heldout", 40, 0).messages if said.intent == "small"]
        assert small
        assert not any(text.startswith(start) for text in small for start in starts if len(start) > 12)


@pytest.mark.parametrize("seed", range(60))
def test_right_operations_are_sayable_and_parse_back(seed):
    example = manager_example(random.Random(seed), "train", 6, 8)
    template = ManagerTemplate(len(example.shown))
    for _, values in example.turns:
        for index, value in enumerate(values):
            step = template.next_step(values[:index])
            assert step is not None
            assert not isinstance(step, Choice) or value in step.options
        assert template.next_step(values) is None
        assert parse_operations(values, example.shown)


@pytest.mark.parametrize("seed", range(30))
def test_right_answers_are_sayable_and_rest_on_what_is_shown(seed):
    example = answerer_example(random.Random(seed), "train", 8, 20)
    template = AnswerTemplate(len(example.candidates))
    for question, values in example.turns:
        assert template.next_step(values) is None
        derived = {" yes", " no", *(f" {count}" for count in COUNTS)}
        if values[-1] not in {"NONE", *derived} and re.match(r"W|In|At", question) and len(values) == 3:
            cited = example.candidates[int(values[0][1:-1]) - 1]
            told = f"{cited.speaker} {cited.text}".lower().replace("my ", f"{cited.speaker}'s ".lower())
            if cited.kind == "memory":
                assert values[2].strip().lower() in told, (question, values, cited)


@pytest.mark.parametrize("seed", range(20))
def test_applying_the_right_operations_keeps_the_bank_true(seed):
    talk = conversation(seed, "train", 60, 0)
    texts: dict[int, str] = {}
    facts, ids = [], {}
    for said in talk.messages:
        shown = [(fact, Memory(id=ids[fact.key], text=fact.text())) for fact in facts]
        right = operations(said, shown)
        if right is None:
            pytest.fail(f"nothing is right about {said.text!r} although everything is shown")
        for operation in right:
            if isinstance(operation, Add):
                texts[len(texts) + 1000] = operation.text
            elif isinstance(operation, Update):
                texts[operation.memory_id] = operation.text
            elif isinstance(operation, Delete):
                texts[operation.memory_id] = ""
            else:
                assert isinstance(operation, Noop)
        facts = after(facts, said)
        assert sorted(text for text in texts.values() if text) == sorted(fact.text() for fact in facts), said.text
        by_text = {text: number for number, text in texts.items()}
        ids = {fact.key: by_text[fact.text()] for fact in facts}


def test_the_dogs_of_the_paper_become_one_memory():
    rng = random.Random(1)
    teller = Teller(rng, "train", ["Andrew", "Audrey"], [Person("Andrew")])
    fact = teller.new_fact(Person("Andrew"), some_day(rng), f.BY_NAME["pets"])
    two = replace(fact, values=("Buddy", "Scout"), noun="dog", plural="dogs")
    assert two.text() == "Andrew has two dogs, Buddy and Scout."


def test_questions_turn_to_the_first_person():
    assert first_person("Where does {S} live?") == "Where do I live?"
    assert first_person("Is {S} into {v}?") == "Am I into {v}?"
    assert first_person("What is {S's} job?") == "What is {S's} job?"
    assert first_person("Was {S} at {v}?") == "Was I at {v}?"


def test_what_does_not_turn_to_the_first_person_is_asked_about_the_user():
    asked = [
        question.text
        for seed in range(80)
        for split in ("train", "heldout")
        for question in conversation(seed, split, 20, 30).questions
    ]
    mine = [text for text in asked if re.search(r"\bI\b", text)]
    assert len(mine) > 20
    assert any(text.startswith("How old is the user") for text in asked) or any("the user" in text for text in asked)
    assert not [
        text for text in mine if re.search(r"\b(is|has|does) I\b|\bI (is|has|does|lives|works|wants|likes)\b", text)
    ]


def test_a_correction_of_one_of_several_names_the_old_one():
    rng = random.Random(1)
    for split in ("train", "heldout"):
        speakers, people = cast(rng, split, 2)
        teller = Teller(rng, split, speakers, people)
        fact = teller.new_fact(people[0], some_day(rng), f.BY_NAME["hobby"])
        fact = replace(fact, values=("chess", "pottery", "rowing"))
        for _ in range(60):
            said = teller.message([fact], some_day(rng), "correct")
            if said.intent == "correct":
                gone = set(fact.values) - set(said.effects[0].result.values)
                assert gone.pop() in said.text.lower()


def test_a_cast_has_two_speakers_and_no_name_twice():
    for seed in range(50):
        speakers, people = cast(random.Random(seed), "heldout", 5)
        names = [person.name or person.owner for person in people if person.name or person.is_speaker]
        assert speakers[0] != speakers[1]
        assert len(names) == len(set(names))
