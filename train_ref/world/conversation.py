"""A whole conversation over many days: what is said, what is true after each message, what can be asked at the end."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from train_ref.world.episodes import cast, some_day
from train_ref.world.facts import Fact, Said, Teller
from train_ref.world.language import Person
from train_ref.world.questions import Asker, Question
from train_ref.world.words import Split


@dataclass(frozen=True)
class Conversation:
    """``messages`` in order, the ``facts`` that hold after the last, and ``questions`` about them."""

    people: tuple[Person, ...]
    messages: tuple[Said, ...]
    facts: tuple[Fact, ...]
    questions: tuple[Question, ...]


def after(facts: list[Fact], said: Said) -> list[Fact]:
    """The facts that hold once ``said`` has been said."""
    for effect in said.effects:
        if effect.target is not None:
            facts = [fact for fact in facts if fact.key != effect.target.key]
        if effect.result is not None:
            facts = [*(fact for fact in facts if fact.key != effect.result.key), effect.result]
    return facts


def conversation(seed: int, split: Split, messages: int, questions: int) -> Conversation:
    """A conversation of ``messages`` messages over some months, and about ``questions`` questions at its end."""
    rng = random.Random(seed)
    speakers, people = cast(rng, split, rng.randint(1, 5))
    teller = Teller(rng, split, speakers, people)
    at = some_day(rng)
    facts: list[Fact] = []
    said: list[Said] = []
    while len(said) < messages:
        message = teller.message(facts, at)
        if not message.named:
            continue  # ambiguous in itself: nothing a listener could be blamed for
        said.append(message)
        facts = after(facts, message)
        if rng.random() < 0.3:
            at += timedelta(days=rng.randint(1, 9), minutes=rng.randrange(600))
    asker = Asker(rng, split, people, facts)
    asked: dict[str, Question] = {}
    for _ in range(questions * 4):
        question = asker.question()
        if question and len(asked) < questions:
            asked.setdefault(question.text, question)
    return Conversation(tuple(people), tuple(said), tuple(facts), tuple(asked.values()))
