"""Training examples and whole conversations, drawn from the world.

A manager example is one list of shown memories with several independent messages over it; an answerer example is one
list of candidates with several independent questions. Sharing the list gives many times the signal per token.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from memr1_lite.answer_agent import written_reply
from memr1_lite.memory_manager import written_operations
from memr1_lite.records import Add, Candidate, Delete, Memory, Message, Noop, Operation, Update
from train_ref.world import families as f
from train_ref.world import words as w
from train_ref.world.facts import MOST_ITEMS, TRAIN_INTENTS, Fact, Said, Teller
from train_ref.world.language import Person
from train_ref.world.questions import Asker, Question
from train_ref.world.words import Split, pick


@dataclass(frozen=True)
class ManagerExample:
    """``shown`` memories, and per message the values that are right to say."""

    shown: tuple[Memory, ...]
    turns: tuple[tuple[Message, tuple[str, ...]], ...]


@dataclass(frozen=True)
class AnswererExample:
    """``candidates``, and per question the values that are right to say."""

    candidates: tuple[Candidate, ...]
    turns: tuple[tuple[str, tuple[str, ...]], ...]


def cast(rng: random.Random, split: Split, others: int) -> tuple[tuple[str, str], list[Person]]:
    """Two speakers, and the people they talk about."""
    names: list[str] = []
    while len(names) < 2 + others:
        name = pick(rng, w.NAMES, split, 0.25)
        if name not in names:
            names.append(name)
    if rng.random() < 0.12:
        names[0] = "user"  # what an app calls its one user
    speakers = (names[0], names[1])
    people = [Person(name) for name in speakers]
    taken: set[tuple[str, str]] = set()
    for name in names[2:]:
        owner, relation = rng.choice(speakers), rng.choice(list(w.RELATIONS))
        if (owner, relation) in taken:
            continue
        taken.add((owner, relation))
        roll = rng.random()
        if roll < 0.6:
            people.append(Person(owner, relation, name))
        else:
            people.append(Person(owner, relation) if roll < 0.8 else Person(owner, "", name))
    return speakers, people


def some_day(rng: random.Random) -> datetime:
    """A moment between 2018 and 2029."""
    return datetime(2018, 1, 1) + timedelta(days=rng.randrange(4300), minutes=rng.randrange(1440))


def some_facts(teller: Teller, count: int, at: datetime) -> list[Fact]:
    """``count`` facts with different keys; at times many of few families or few people, which is harder."""
    rng = teller.rng
    families = rng.sample(f.FAMILIES, rng.choice((2, 4, len(f.FAMILIES), len(f.FAMILIES))))
    people = rng.sample(teller.people, rng.randint(1, len(teller.people)))
    facts: dict[tuple[str, ...], Fact] = {}
    for _ in range(count * 6):
        if len(facts) == count:
            break
        fact = teller.new_fact(rng.choice(people), at - timedelta(days=rng.randrange(300)), rng.choice(families))
        if fact.family.kind == "list":
            for _ in range(rng.choice((0, 0, 1, 1, 2, MOST_ITEMS - 1))):
                fact = replace(fact, values=(*fact.values, teller.another_value(fact)))
        facts.setdefault(fact.key, fact)
    return list(facts.values())


def operations(said: Said, shown: Sequence[tuple[Fact, Memory]]) -> list[Operation] | None:
    """What is right to do about ``said`` when ``shown`` is in view; None where the words alone do not tell."""
    memories = {fact.key: (fact, memory) for fact, memory in shown}
    done: list[Operation] = []
    for effect in said.effects:
        fact, memory = memories.get(effect.target.key, (None, None)) if effect.target else (None, None)
        if memory is None or fact != effect.target:
            if effect.alone is not None and effect.target is not None and not said.named:
                return None
            if effect.alone is not None:
                done.append(Add(op="ADD", text=effect.alone.text()))
        elif effect.result is None:
            done.append(Delete(op="DELETE", memory_id=memory.id, version=memory.version))
        elif effect.result != effect.target:
            done.append(Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=effect.result.text()))
    named = [operation.memory_id for operation in done if isinstance(operation, Update | Delete)]
    if len(set(named)) < len(named):
        return None
    return done or [Noop(op="NOOP")]


STOP = set(
    [
        "i",
        "the",
        "a",
        "an",
        "is",
        "am",
        "are",
        "my",
        "in",
        "at",
        "of",
        "to",
        "and",
        "has",
        "have",
        "was",
        "his",
        "her",
        "their",
        "s",
    ]
)


TURNS = 0.2
"""Share of an Answer Agent's facts that are shown as they were said."""
OWNED_FIRST = 0.3
"""What the retriever gives to memories of the speaker and his own, in terms of likeness."""


def likeness(one: str, other: str) -> float:
    """Shared words, stemmed by their first five letters: a cheap stand-in for the retriever."""
    a, b = ({word[:5] for word in re.findall(r"\w+", text.lower())} - STOP for text in (one, other))
    return len(a & b) / (1 + len(b) ** 0.5)


def manager_example(rng: random.Random, split: Split, messages: int, most_shown: int) -> ManagerExample:
    """One list of at most ``most_shown`` memories and ``messages`` independent messages over it."""
    speakers, people = cast(rng, split, rng.randint(0, 5))
    teller = Teller(rng, split, speakers, people)
    if split == "train":
        teller.intents = TRAIN_INTENTS
    at = some_day(rng)
    shown_count = 0 if rng.random() < 0.1 else rng.choice((most_shown, rng.randint(1, most_shown)))
    retrieved = rng.random() < 0.6
    facts = some_facts(teller, shown_count * rng.randint(2, 5) if retrieved else shown_count, at)
    first = None
    if retrieved and facts:
        first = teller.message(facts, at)
        query = f"{first.speaker}: {first.text}"
        owned = OWNED_FIRST if rng.random() < 0.8 else 0.0

        def rank(fact: Fact) -> float:
            mine = owned * (fact.person.owner == first.speaker)
            return -likeness(query, fact.text()) - mine + 0.15 * rng.random()

        facts.sort(key=rank)
        facts = facts[:shown_count]
    shown = [(fact, Memory(id=index + 1, text=fact.text())) for index, fact in enumerate(facts)]
    memories = tuple(memory for _, memory in shown)
    turns = []
    for index in range(messages * 2):
        if len(turns) == messages:
            break
        said = first if index == 0 and first else teller.message(facts, at)
        right = operations(said, shown)
        if right is not None:
            message = Message(id=index + 1, speaker=said.speaker, text=said.text, at=at)
            turns.append((message, written_operations(right, memories)))
    return ManagerExample(memories, tuple(turns))


def as_turn(teller: Teller, fact: Fact) -> tuple[str, Fact]:
    """A fact as its owner said it, raw, for what no memory covers."""
    single = replace(fact, values=fact.values[-1:])
    text = teller.clause(teller.choose(fact.family.phrases("tell", teller.split)), single, single.values[0])
    return teller.dressed(text, fact.person.owner, "new"), teller.as_remembered(single, text)


def answerer_example(rng: random.Random, split: Split, questions: int, candidates: int) -> AnswererExample:
    """One list of about ``candidates`` candidates and ``questions`` independent questions over it."""
    speakers, people = cast(rng, split, rng.randint(0, 2 + candidates // 6))
    teller = Teller(rng, split, speakers, people)
    at = some_day(rng)
    facts, found = [], []
    for fact in some_facts(teller, max(1, candidates - rng.randint(0, candidates // 4)), at):
        day, index = fact.day or at, len(found) + 1
        if rng.random() < TURNS:
            text, fact = as_turn(teller, fact)
            found.append((fact, Candidate(kind="turn", id=index, text=text, at=day, speaker=fact.person.owner)))
        else:
            found.append((fact, Candidate(kind="memory", id=index, text=fact.text(), at=day)))
        facts.append(fact)
    while len(found) < candidates:
        speaker = rng.choice(speakers)
        text = teller.small_talk(speaker)
        day = at - timedelta(days=rng.randrange(400))
        found.append((None, Candidate(kind="turn", id=len(found) + 1, text=text, at=day, speaker=speaker)))
    rng.shuffle(found)
    asker = Asker(rng, split, people, facts)
    asked: list[Question] = []
    for _ in range(questions * 3):
        if len(asked) == questions:
            break
        question = asker.cloze() if split == "train" and rng.random() < 0.2 else asker.question()
        if question and question.text not in {other.text for other in asked}:
            asked.append(question)
    if asked and rng.random() < 0.5:
        query = asked[0].text
        found.sort(key=lambda pair: -likeness(query, pair[1].text) + 0.15 * rng.random())
    places = {id(fact): index for index, (fact, _) in enumerate(found) if fact is not None}
    turns = tuple(
        (question.text, written_reply(sorted(places[id(fact)] for fact in question.rests_on), question.answer))
        for question in asked
    )
    return AnswererExample(tuple(candidate for _, candidate in found), turns)
