"""The truth of a world: facts about people, what is said about them, and what that means for a memory bank."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from train_ref.world import families as f
from train_ref.world import words as w
from train_ref.world.families import PHRASES, Family
from train_ref.world.language import COUNTS, Moment, Person, article, capital, joined, moment, say
from train_ref.world.words import Split, part

Intent = Literal["new", "change", "end", "correct", "retract", "repeat", "small", "two"]
INTENTS: dict[Intent, float] = {
    "new": 0.30, "change": 0.26, "end": 0.07, "correct": 0.07, "retract": 0.07, "repeat": 0.08, "small": 0.09, "two": 0.06,
}  # fmt: skip
TRAIN_INTENTS: dict[Intent, float] = {
    "new": 0.24, "change": 0.26, "end": 0.09, "correct": 0.06, "retract": 0.07, "repeat": 0.10, "small": 0.13, "two": 0.05,
}  # fmt: skip
"""What training hears more of: that which only the shown memories can decide."""
FILLERS = (
    "really just actually honestly finally recently lately happily still now then luckily sadly basically apparently "
    "totally simply probably maybe well again certainly definitely usually often sometimes truly indeed somehow"
).split()
LIGHT = {
    "really",
    "just",
    "always",
    "the",
    "a",
    "so",
    "now",
    "very",
    "at",
    "my",
    "these",
    "days",
    "finally",
    "bad",
    "new",
}
MOST_ITEMS = 4
CHILDREN = {"son": "sons", "daughter": "daughters", "child": "children"}


@dataclass(frozen=True)
class Fact:
    """One memory's worth of truth. ``noun`` is the species of pets or the kind of favourite."""

    family: Family
    person: Person
    values: tuple[str, ...]
    noun: str = ""
    plural: str = ""
    when: Moment = field(default_factory=Moment)
    day: datetime | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, ...]:
        """What there is at most one memory of."""
        extra = self.values if self.family.kind == "event" else ()
        return (self.person.label, self.family.name, self.noun, *extra)

    def text(self) -> str:
        """The memory, as it is to be written."""
        if self.noun and self.family.kind == "list" and len(self.values) > 1:
            count = COUNTS[len(self.values)]
            return capital(f"{self.person.label} has {count} {self.plural}, {joined(self.values)}.")
        return capital(say(self.family.text, self.person.label, "", self.slots(joined(self.values))))

    def slots(self, value: str, old: str = "") -> dict[str, str]:
        """What fills a phrase about ``value``."""
        return {
            "v": value, "av": article(value), "old": old, "aold": article(old) if old else "", "noun": self.noun, "an": article(self.noun),
            "b": w.base_form(value), "nouns": self.plural, "when": self.when.written, "t": self.when.said,
        }  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """What a message does to one memory: ``target`` is what was there, ``result`` what must be there after.

    ``alone`` is what is to be written where the target is not among what the Manager was shown.
    """

    target: Fact | None = None
    result: Fact | None = None
    alone: Fact | None = None


@dataclass(frozen=True)
class Said:
    """A message with its effects; none of them for small talk. ``named`` is False where the words alone do not say
    what the fact is, so that without the target in view there is nothing right to do."""

    speaker: str
    text: str
    at: datetime
    effects: tuple[Effect, ...]
    intent: Intent
    named: bool = True


def varied(rng: random.Random, phrase: str) -> str:
    """``phrase`` with a harmless word put in or a light one left out."""
    words = phrase.split(" ")
    light = [index for index, word in enumerate(words) if word in LIGHT]
    if light and rng.random() < 0.4:
        del words[rng.choice(light)]
    else:
        places = [
            index for index in range(1, len(words)) if not words[index].startswith(("{v", "{av", "{old", "{aold"))
        ]
        if places:
            filler = w.made_up(rng, "train") if rng.random() < 0.25 else rng.choice(FILLERS)
            words.insert(rng.choice(places), filler)
    return " ".join(words)


SENSELESS = (
    "The {a} {b} is {c}.", "Have you {a} the {b}?", "That {a} was so {b}!", "What a {a} {b}!", "How is your {a} {b}?",
    "{a} {b} {c}, right?", "Did you see the {a} {b}?", "You are {a}.", "There was a {a} about {b} on the radio.",
    "{a} in there, things will {b}.", "I hope the {a} gets {b}.", "I wonder what {a} is.", "They say {a} is the new {b}.",
    "Is the {a} of {b} {c}?", "{a}!", "Somebody {a} the {b} again.", "That is {a} of you.", "It is {a} that {b} {c}.",
    "I was thinking about {a} {b}.", "My {a}, that is {b}!", "Let us {a} soon.", "Who knows, maybe {a} will {b}.",
)  # fmt: skip


class Teller:
    """Says things about the people of one conversation."""

    def __init__(self, rng: random.Random, split: Split, speakers: Sequence[str], people: Sequence[Person]) -> None:
        self.rng, self.split = rng, split
        self.speakers, self.people = tuple(speakers), tuple(people)
        self.intents = INTENTS
        self.known: list[Fact] = []

    def choose(self, phrases: Sequence[str]) -> str:
        """One of them; in training at times with a word more or less, so that no wording is learned by heart."""
        phrase = self.rng.choice(phrases)
        return varied(self.rng, phrase) if self.split == "train" and self.rng.random() < 0.35 else phrase

    def general(self, use: str) -> list[str]:
        """The phrases for a use that no family has to itself."""
        found: list[str] = PHRASES[self.split]["general"][use]
        return found

    def fitting(self, use: str, fact: Fact) -> str:
        """A phrase that fits any fact; where the value is no noun, one that says the whole clause."""
        clausal = fact.family.name in ("did", "goal")
        several = len(fact.values) > 1  # then only the old value tells which of them is meant
        fitting = [
            phrase
            for phrase in self.general(use)
            if ("{fact}" in phrase or not clausal) and ("{old}" in phrase or not (several and use == "correct"))
        ]
        return self.rng.choice(fitting or ["Actually, {fact}, not {old}."])

    def new_fact(self, person: Person, at: datetime, family: Family | None = None) -> Fact:
        """A random fact about ``person``."""
        rng = self.rng
        family = family or rng.choice(f.FAMILIES)
        if family.about == "speaker" and not person.is_speaker:
            person = Person(person.owner)
        noun = plural = ""
        if family.name == "pets":
            noun, plural = rng.choice(part(w.SPECIES, self.split)).split(":")
        elif family.name == "children":
            noun, plural = rng.choice(list(CHILDREN.items()))
        elif family.name == "favourite":
            noun = rng.choice(list(w.FAVOURITES))
        elif family.name == "kin":
            noun = rng.choice(list(w.RELATIONS))
        if family.name == "favourite":
            value = w.pick(rng, w.FAVOURITES[noun], self.split)
        else:
            value = family.value(rng, self.split)
        when = Moment()
        if family.kind == "event" and family.name != "goal" and rng.random() < 0.8:
            when = moment(rng, at, future=family.name in ("plan", "appointment"))
        return Fact(family, person, (value,), noun, plural, when, at)

    def another_value(self, fact: Fact) -> str:
        """A value that the fact does not have."""
        for _ in range(20):
            value = (
                w.pick(self.rng, w.FAVOURITES[fact.noun], self.split)
                if fact.family.name == "favourite"
                else fact.family.value(self.rng, self.split)
            )
            if value not in fact.values:
                return value
        return value + " two"

    # Phrases

    def clause(
        self, phrase: str, fact: Fact, value: str, old: str = "", *, known: bool = False, timed: bool = True
    ) -> str:
        """A sentence about ``fact``; for events the time goes with it."""
        t = fact.when.said if fact.family.kind == "event" else self._idle_time(fact)
        slots = fact.slots(value, old) | {"t": t if timed else ""}
        if not timed:
            slots["when"] = ""
        elif "{when}" in phrase:
            slots["when"] = fact.when.said
        subject = fact.person.mention(self.rng, known=known)
        return say(phrase, subject, w.RELATIONS.get(fact.person.relation, ""), slots)

    def _idle_time(self, fact: Fact) -> str:
        """A time that no memory keeps, for the phrases that have room for one."""
        return self.rng.choice(
            ["", "", "", " yesterday", " last week", " recently", " last month", " today", " this week"]
        )

    def plain(self, fact: Fact, value: str, *, timed: bool = True, known: bool = False) -> str:
        """The plain clause."""
        return self.clause(fact.family.fact, fact, value, timed=timed, known=known)

    # Messages

    def message(self, facts: Sequence[Fact], at: datetime, intent: Intent | None = None) -> Said:
        """Something said when ``facts`` are known."""
        rng = self.rng
        speaker = rng.choice(self.speakers)
        mine = [fact for fact in facts if fact.person.owner == speaker]
        self.known = list(facts)
        if intent is None:
            intent = rng.choices(list(self.intents), list(self.intents.values()))[0]
        if intent == "two":
            return self._two(speaker, mine, at)
        text, effects, named = self._one(intent, speaker, mine, at)
        if effects and effects[0].target is None:
            intent = "new"  # there was nothing to change, end, correct, take back or repeat
        return Said(speaker, self.dressed(text, speaker, intent), at, effects, intent, named)

    def _one(
        self, intent: Intent, speaker: str, mine: list[Fact], at: datetime
    ) -> tuple[str, tuple[Effect, ...], bool]:
        makers = {
            "change": self._change,
            "end": self._end,
            "correct": self._correct,
            "retract": self._retract,
            "repeat": self._repeat,
        }
        if intent == "small":
            return self.small_talk(speaker), (), True
        if intent in makers and mine:
            order = self.rng.sample(mine, len(mine))
            for fact in order[:6]:
                made = makers[intent](fact, at)
                if made:
                    return made
        return self._new(speaker, mine, at)

    def _new(self, speaker: str, mine: list[Fact], at: datetime) -> tuple[str, tuple[Effect, ...], bool]:
        rng = self.rng
        people = [person for person in self.people if person.owner == speaker]
        me = [person for person in people if person.is_speaker]
        for _ in range(20):
            person = rng.choice(me) if rng.random() < 0.65 else rng.choice(people)
            fact = self.new_fact(person, at)
            if self.split == "train" and self.known and rng.random() < 0.4:
                # What somebody else is known for: a fact about one must not be written over another's.
                other = rng.choice(self.known)
                fact = self.new_fact(person, at, other.family)
                if other.noun and other.family.about == "anybody" and other.family.name != "favourite":
                    fact = replace(fact, noun=other.noun, plural=other.plural)
            if fact.key not in {known.key for known in mine}:
                break
        roll = rng.random()
        if roll < 0.1:
            text = say(
                self.choose(self.general("remember")),
                "I" if person.is_speaker else person.label,
                "",
                {"fact": self.plain(fact, fact.values[0])},
            )
        elif roll < 0.16 and fact.family.phrases("change", self.split) and fact.family.kind == "list":
            phrase = self.choose(
                [phrase for phrase in fact.family.phrases("change", self.split) if "old}" not in phrase]
            )
            text = self.clause(phrase, fact, fact.values[0])
        else:
            text = self.clause(self.choose(fact.family.phrases("tell", self.split)), fact, fact.values[0])
        fact = self.as_remembered(fact, text)
        return text, (Effect(result=fact, alone=fact),), True

    @staticmethod
    def as_remembered(fact: Fact, text: str) -> Fact:
        """An event keeps its time only where the words said it."""
        if fact.when.said and fact.when.said not in text:
            return replace(fact, when=Moment())
        return fact

    def _change(self, fact: Fact, at: datetime) -> tuple[str, tuple[Effect, ...], bool] | None:
        family = fact.family
        if family.kind == "event" or (family.kind == "list" and len(fact.values) >= MOST_ITEMS):
            return None
        value = self.another_value(fact)
        old = fact.values[-1]
        phrases = (
            family.phrases("tell", self.split)
            if self.rng.random() < 0.25 or not family.phrases("change", self.split)
            else family.phrases("change", self.split)
        )
        text = self.clause(self.choose(phrases), fact, value, old, known=True)
        values = (value,) if family.kind == "single" else (*fact.values, value)
        known = fact.person.mention(random.Random(0)) in text or fact.person.is_speaker
        effect = Effect(fact, replace(fact, values=values), replace(fact, values=(value,)))
        return text, (effect,), known

    def _end(self, fact: Fact, at: datetime) -> tuple[str, tuple[Effect, ...], bool] | None:
        if not fact.family.phrases("end", self.split):
            return None
        value = self.rng.choice(fact.values)
        text = self.clause(self.choose(fact.family.phrases("end", self.split)), fact, value, known=True)
        return text, (self._without(fact, value),), True

    @staticmethod
    def _without(fact: Fact, value: str) -> Effect:
        left = tuple(item for item in fact.values if item != value)
        return Effect(fact, replace(fact, values=left) if left else None)

    def _correct(self, fact: Fact, at: datetime) -> tuple[str, tuple[Effect, ...], bool] | None:
        old = self.rng.choice(fact.values)
        value = self.another_value(fact)
        template = self.fitting("correct", fact)
        clause = self.plain(fact, value, timed=False, known=True)
        text = capital(say(template, "I", "", {"fact": clause, "v": value, "old": old}))
        values = tuple(value if item == old else item for item in fact.values)
        alone = replace(fact, values=(value,), when=Moment())
        return (
            text,
            (Effect(fact, replace(fact, values=values), alone),),
            "{fact}" in template and fact.person.is_speaker,
        )

    def _retract(self, fact: Fact, at: datetime) -> tuple[str, tuple[Effect, ...], bool] | None:
        value = self.rng.choice(fact.values)
        clause = self.plain(fact, value, timed=False, known=True)
        text = capital(say(self.fitting("retract", fact), "I", "", {"fact": clause, "v": value}))
        return text, (self._without(fact, value),), True

    def _repeat(self, fact: Fact, at: datetime) -> tuple[str, tuple[Effect, ...], bool] | None:
        value = self.rng.choice(fact.values)
        if self.rng.random() < 0.5:
            clause = self.plain(fact, value, timed=False, known=True)
            text = capital(say(self.choose(self.general("repeat")), "I", "", {"fact": clause}))
        else:
            text = self.clause(
                self.choose(fact.family.phrases("tell", self.split)), replace(fact, when=Moment()), value, known=True
            )
        known = fact.person.mention(random.Random(0)) in text or fact.person.is_speaker
        return text, (Effect(fact, fact, replace(fact, values=(value,), when=Moment())),), known

    def small_talk(self, speaker: str) -> str:
        """Something that holds no fact; in training also what has the form of it and no sense."""
        rng = self.rng
        if self.split == "train" and rng.random() < 0.3:
            words = {name: rng.choice(w.ENGLISH) for name in "abc"}
            return capital(say(rng.choice(SENSELESS), "I", "", words))
        other = rng.choice([name for name in self.speakers if name != speaker] or [speaker])
        value = rng.choice(
            [
                rng.choice(part(w.CITIES, self.split)),
                rng.choice(part(w.HOBBIES, self.split)),
                rng.choice(part(w.FOODS, self.split)),
            ]
        )
        day = rng.choice(["Monday", "Friday", "Sunday", "the weekend", "Christmas"])
        count = rng.choice([1, 1, 2])
        return " ".join(
            say(self.choose(self.general("small_talk")), "I", "", {"other": other, "v": value, "day": day})
            for _ in range(count)
        )

    def _two(self, speaker: str, mine: list[Fact], at: datetime) -> Said:
        intents: list[Intent] = [self.rng.choice(["new", "new", "change"]) for _ in range(2)]
        text1, effects1, named1 = self._one(intents[0], speaker, mine, at)
        touched = {fact.key for effect in effects1 for fact in (effect.target, effect.result) if fact}
        rest = [fact for fact in mine if fact.key not in touched]
        for _ in range(20):
            text2, effects2, named2 = self._one(intents[1], speaker, rest, at)
            if not touched & {fact.key for effect in effects2 for fact in (effect.target, effect.result) if fact}:
                break
        follow = self.choose(self.general("follow")) if self.rng.random() < 0.6 else " "
        joint = lowered(text2) if follow.strip() else capital(text2)
        text = self.dressed(text1, speaker, "small") + follow + joint
        return Said(speaker, text, at, (*effects1, *effects2), "two", named1 and named2)

    def dressed(self, text: str, speaker: str, intent: Intent) -> str:
        """``text`` as one says it: at times with something before it or after it."""
        rng = self.rng
        other = rng.choice([name for name in self.speakers if name != speaker] or [speaker])
        if intent not in ("small",) and rng.random() < 0.2:
            opener = self.choose(self.general("openers")).replace("{other}", other)
            text = opener + (capital(text) if opener.rstrip().endswith(("!", ".")) else lowered(text))
        if intent not in ("small",) and rng.random() < 0.15:
            text += self.choose(self.general("closers"))
        return capital(text)


def lowered(text: str) -> str:
    """First letter lower case, unless the word is a name or I."""
    first = text.split(" ", 1)[0]
    starters = {
        "My",
        "It",
        "The",
        "In",
        "For",
        "By",
        "Besides",
        "On",
        "Nothing",
        "Next",
        "As",
        "If",
        "Of",
        "There",
        "Don't",
        "Another",
        "A",
        "This",
        "Home",
        "After",
        "Big",
    }
    return text[:1].lower() + text[1:] if first in starters else text
