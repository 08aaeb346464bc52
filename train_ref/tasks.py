"""Tasks of the generated world for both environments, drawn without end from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime

from memr1_lite.records import Memory, Message
from memr1_lite.retriever import spoken
from train_ref.banks import Bank
from train_ref.environment import AnswererTask, ManagerTask, QuestionAnswer
from train_ref.world.conversation import after
from train_ref.world.episodes import answerer_example, cast, operations, some_day, some_facts
from train_ref.world.facts import TRAIN_INTENTS, Fact, Said, Teller
from train_ref.world.language import Person
from train_ref.world.questions import Asker, QuestionKind
from train_ref.world.words import Split

SHOWN = 8
"""Memories shown to a Manager, as in ``BankConfig.similar``."""
ABOUT_CHANGED, ABOUT_REST = 2, 1
"""Questions of a Manager's task about what its message is about, and about what it must leave alone."""
KINDS: tuple[QuestionKind, ...] = ("ask", "count", "yesno", "who", "when")


def manager_task(rng: random.Random, split: Split, most: int = 12) -> ManagerTask:
    """A bank of at most ``most`` memories, a message, and questions about what is true after it."""
    return told_task(rng, split, most)[0]


def told_task(rng: random.Random, split: Split, most: int = 12) -> tuple[ManagerTask, Said]:
    """:func:`manager_task` with what its message does to the truth."""
    while True:
        speakers, people = cast(rng, split, rng.randint(0, 4))
        teller = Teller(rng, split, speakers, people)
        if split == "train":
            teller.intents = TRAIN_INTENTS
        at = some_day(rng)
        facts = some_facts(teller, rng.randint(1, most), at)
        said = teller.message(facts, at)
        task = _task(rng, split, people, facts, said, at)
        if task is not None:
            return task, said


def _task(
    rng: random.Random, split: Split, people: Sequence[Person], facts: list[Fact], said: Said, at: datetime
) -> ManagerTask | None:
    memories = [Memory(id=place, text=fact.text(), at=fact.day or at) for place, fact in enumerate(facts, start=1)]
    bank = Bank(tuple(memories), len(memories) + 1)
    message = Message(id=1, speaker=said.speaker, text=said.text, at=at)
    shown = tuple(bank.nearest(spoken(said.speaker, said.text), SHOWN))
    truth = dict(zip((memory.id for memory in memories), facts, strict=True))
    right = operations(said, [(truth[memory.id], memory) for memory in shown])
    targets = {effect.target.key for effect in said.effects if effect.target}
    if right is None or not targets <= {truth[memory.id].key for memory in shown}:
        return None  # the words alone do not tell, or what they are about is out of sight
    questions = [*_about_changed(rng, split, people, facts, said), *_about_rest(rng, split, people, facts, said)]
    return ManagerTask(message, bank, shown, tuple(questions), tuple(right)) if questions else None


def _about_changed(
    rng: random.Random, split: Split, people: Sequence[Person], facts: list[Fact], said: Said
) -> list[QuestionAnswer]:
    """Questions about what the message says, as it is true afterwards; what was retracted is not known any more."""
    now, before = Asker(rng, split, people, after(facts, said)), Asker(rng, split, people, facts)
    asked: dict[str, str | None] = {}
    for effect in said.effects:
        for kind in rng.sample(KINDS, len(KINDS)):
            if len(asked) == ABOUT_CHANGED:
                break
            if effect.result is not None:
                question = now.question(kind, about=effect.result)
                if question is not None:
                    asked[question.text] = question.answer
        if effect.result is None and effect.target is not None:
            question = before.question("ask", about=effect.target)
            if question is not None and not _still_known(effect.target, now.facts):
                asked[question.text] = None
    return list(asked.items())


def _still_known(fact: Fact, facts: Sequence[Fact]) -> bool:
    """Whether a question about ``fact`` could mean one of ``facts``."""
    return any(other.key[:3] == fact.key[:3] for other in facts)


def _about_rest(
    rng: random.Random, split: Split, people: Sequence[Person], facts: list[Fact], said: Said
) -> list[QuestionAnswer]:
    """Questions about memories that the message has nothing to do with."""
    touched = {fact.key for effect in said.effects for fact in (effect.target, effect.result) if fact}
    left = after(facts, said)
    rest = [fact for fact in left if fact.key not in touched]
    asker = Asker(rng, split, people, left)
    asked: dict[str, str | None] = {}
    for fact in rng.sample(rest, min(ABOUT_REST, len(rest))):
        question = asker.question("ask", about=fact)
        if question is not None:
            asked[question.text] = question.answer
    return list(asked.items())


def answerer_task(rng: random.Random, split: Split, most: int = 60) -> AnswererTask:
    """A question over at most ``most`` candidates."""
    while True:
        example = answerer_example(rng, split, 1, rng.randint(1, most))
        for question, values in example.turns[:1]:
            answer = None if values == ("NONE",) else values[-1].strip()
            return AnswererTask(question, example.candidates, answer)
