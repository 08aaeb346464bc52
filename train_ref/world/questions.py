"""What can be asked about a set of facts, with the right answer and the facts it rests on."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from train_ref.world import families as f
from train_ref.world import words as w
from train_ref.world.facts import CHILDREN, Fact, varied
from train_ref.world.families import PHRASES
from train_ref.world.language import COUNTS, Person, capital, joined, say
from train_ref.world.words import Split, part, pick

QuestionKind = Literal["ask", "yesno", "count", "when", "who", "two-hop", "unknown"]
KINDS: dict[QuestionKind, float] = {
    "ask": 0.36,
    "yesno": 0.12,
    "count": 0.09,
    "when": 0.11,
    "who": 0.11,
    "two-hop": 0.09,
    "unknown": 0.12,
}
TRAIN_KINDS: dict[QuestionKind, float] = KINDS | {"two-hop": 0.16, "unknown": 0.17}
"""What training hears more of: that which is answered wrongly most often."""


@dataclass(frozen=True)
class Question:
    """A question; ``answer`` is None where nothing known answers it. ``rests_on`` are facts in the given order."""

    text: str
    answer: str | None
    rests_on: tuple[Fact, ...]
    kind: QuestionKind


FIRST_PERSON = (
    ("oes {S}", "o I"), ("is {S} ", "am I "), ("Is {S} ", "Am I "), ("as {S} ", "ave I "), ("wave I ", "was I "), ("Wave I ", "Was I "), ("{S} is ", "I am "),
)  # fmt: skip


def first_person(phrase: str) -> str:
    """A question about ``{S}`` as one about oneself: its verbs made to agree."""
    for other, mine in FIRST_PERSON:
        phrase = phrase.replace(other, mine)
    return phrase


THIRD_PERSON_VERB = re.compile(r"\bI (?!was\b|always\b|perhaps\b)[a-z]+s\b|\b(is|has|does|Is|Has|Does) I\b")
"""What is left where a question could not be turned to the first person."""


class Asker:
    """Asks about the facts of one conversation."""

    def __init__(self, rng: random.Random, split: Split, people: Sequence[Person], facts: Sequence[Fact]) -> None:
        self.rng, self.split = rng, split
        self.people, self.facts = list(people), list(facts)
        self.labels = [person.label for person in people]
        self.two = PHRASES[split]["two"]

    def question(self, kind: QuestionKind | None = None, about: Fact | None = None) -> Question | None:
        """A question of a kind, random if None; None where the facts do not allow one."""
        if kind is None:
            kinds = TRAIN_KINDS if self.split == "train" else KINDS
            kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        makers: dict[QuestionKind, Callable[[Fact], Question | None]] = {
            "ask": self._ask, "yesno": self._yesno, "count": self._count, "when": self._when, "who": self._who,
        }  # fmt: skip
        if kind == "unknown":
            return self._unknown()
        for _ in range(8):
            if kind == "two-hop":
                made = self.rng.choice([self._same, self._both, self._hop, self._hop, self._more])()
            else:
                fact = about or (self.rng.choice(self.facts) if self.facts else None)
                made = makers[kind](fact) if fact else None
            if made:
                return made
        return None

    def _phrase(self, phrases: Sequence[str]) -> str:
        phrase = self.rng.choice(phrases)
        return varied(self.rng, phrase) if self.split == "train" and self.rng.random() < 0.2 else phrase

    def _name(self, person: Person) -> str:
        short = [person.name, f"{person.owner}'s {person.relation}"] if person.relation and person.name else []
        if short and self.rng.random() < 0.35:
            name = self.rng.choice(short)
            if sum(name in label for label in self.labels) == 1:
                return name
        return person.label

    def _say(self, phrase: str, fact: Fact, value: str = "", *, timed: bool = True) -> str:
        slots = fact.slots(value) | ({} if timed else {"when": ""})
        name = self._name(fact.person)
        if fact.person.owner == "user" and self.rng.random() < 0.6:
            if name != "user":
                name = name.replace("user's", "my")
            else:
                mine = capital(say(first_person(phrase), "I", "", slots))
                if not THIRD_PERSON_VERB.search(mine):
                    return mine
        elif name == "user" and self.rng.random() < 0.5:
            name = "the user"
        return capital(say(phrase, name, "", slots))

    def cloze(self) -> Question | None:
        """A memory's own words with a gap: the plainest look-up there is, for learning to look up at all."""
        fact = self.rng.choice(self.facts) if self.facts else None
        if fact is None or self._rivals(fact):
            return None
        text = say(fact.family.text, self._name(fact.person), "", fact.slots("what") | {"av": "what", "when": ""})
        return Question(capital(text.rstrip(".") + "?"), joined(fact.values), (fact,), "ask")

    def _rivals(self, fact: Fact) -> list[Fact]:
        """Other facts of the family about the same person."""
        same = (fact.person.label, fact.family.name, fact.noun)
        return [other for other in self.facts if other is not fact and other.key[:3] == same]

    def _ask(self, fact: Fact) -> Question | None:
        phrase = self._phrase(fact.family.phrases("ask", self.split))
        rivals = self._rivals(fact)
        timed = bool(fact.when.bare) and "{when}" in phrase and (bool(rivals) or self.rng.random() < 0.5)
        if rivals and (not timed or any(other.when.bare == fact.when.bare for other in rivals)):
            return None
        return Question(self._say(phrase, fact, timed=timed), joined(fact.values), (fact,), "ask")

    def _yesno(self, fact: Fact) -> Question | None:
        phrase = self._phrase(fact.family.phrases("yesno", self.split))
        if "v}" not in phrase or self.rng.random() < 0.5:
            return Question(self._say(phrase, fact, self.rng.choice(fact.values)), "yes", (fact,), "yesno")
        if fact.family.kind == "event":
            return None
        if fact.family.name == "favourite":
            value = pick(self.rng, w.FAVOURITES[fact.noun], self.split)
        else:
            value = fact.family.value(self.rng, self.split)
        if value in fact.values:
            return None
        return Question(self._say(phrase, fact, value), "no", (fact,), "yesno")

    def _count(self, fact: Fact) -> Question | None:
        phrases = fact.family.phrases("count", self.split)
        if not phrases:
            return None
        return Question(self._say(self._phrase(phrases), fact), COUNTS[len(fact.values)], (fact,), "count")

    def _when(self, fact: Fact) -> Question | None:
        phrases = fact.family.phrases("when", self.split)
        if fact.family.kind != "event" or not phrases or not fact.when.bare:
            return None
        return Question(self._say(self._phrase(phrases), fact, fact.values[0]), fact.when.bare, (fact,), "when")

    def _who(self, fact: Fact) -> Question | None:
        value = self.rng.choice(fact.values)
        holders = [
            other
            for other in self.facts
            if other.family is fact.family and other.noun == fact.noun and value in other.values
        ]
        phrases = fact.family.phrases("who", self.split)
        if not phrases or len(holders) != 1:
            return None
        return Question(self._say(self._phrase(phrases), fact, value), fact.person.label, (fact,), "who")

    def _unknown(self) -> Question | None:
        known = {fact.key[:3] for fact in self.facts}
        for _ in range(12):
            person, family = self.rng.choice(self.people), self.rng.choice(f.FAMILIES)
            noun = plural = ""
            if family.name == "pets":
                noun, plural = self.rng.choice(part(w.SPECIES, self.split)).split(":")
            elif family.name == "children":
                noun, plural = self.rng.choice(list(CHILDREN.items()))
            elif family.name == "favourite":
                noun = self.rng.choice(list(w.FAVOURITES))
            elif family.name == "kin":
                noun = self.rng.choice(list(w.RELATIONS))
            if self.split == "train" and self.facts and self.rng.random() < 0.6:
                near = self.rng.choice(self.facts)  # known of somebody else: the hard kind of not known
                family, noun, plural = near.family, near.noun, near.plural
                if family.name == "favourite":
                    person, noun = near.person, self.rng.choice(list(w.FAVOURITES))
            if (person.label, family.name, noun) in known:
                continue
            value = family.value(self.rng, self.split) or "red"
            fact = Fact(family, person, (value,), noun, plural)
            phrases = (
                family.phrases("ask", self.split)
                if self.rng.random() < 0.6
                else (family.phrases("yesno", self.split) or family.phrases("ask", self.split))
            )
            return Question(self._say(self._phrase(phrases), fact, value, timed=False), None, (), "unknown")
        return None

    def _pair(self, names: Sequence[str], noun: bool = False) -> tuple[Fact, Fact] | None:
        usable = [fact for fact in self.facts if fact.family.name in names]
        self.rng.shuffle(usable)
        for one in usable:
            for other in usable:
                if (
                    other.person.label != one.person.label
                    and other.family is one.family
                    and (not noun or other.noun == one.noun)
                ):
                    return one, other
        return None

    def _about_two(self, phrase: str, one: Fact, other: Fact) -> str:
        slots = {"A": self._name(one.person), "B": self._name(other.person), "nouns": one.plural}
        return capital(say(phrase, "", "", slots))

    def _same(self) -> Question | None:
        pair = self._pair([self.rng.choice(list(self.two["same"]))])
        if not pair:
            return None
        answer = "yes" if pair[0].values == pair[1].values else "no"
        return Question(
            self._about_two(self._phrase(self.two["same"][pair[0].family.name]), *pair), answer, pair, "two-hop"
        )

    def _both(self) -> Question | None:
        pair = self._pair([self.rng.choice(list(self.two["both"]))])
        if not pair:
            return None
        shared = [value for value in pair[0].values if value in pair[1].values]
        if len(shared) != 1:
            return None
        return Question(
            self._about_two(self._phrase(self.two["both"][pair[0].family.name]), *pair), shared[0], pair, "two-hop"
        )

    def _more(self) -> Question | None:
        pair = self._pair(["pets", "children"], noun=True)
        if not pair or len(pair[0].values) == len(pair[1].values):
            return None
        winner = max(pair, key=lambda fact: len(fact.values))
        return Question(self._about_two(self._phrase(self.two["more"]), *pair), winner.person.label, pair, "two-hop")

    def _hop(self) -> Question | None:
        bridge = self.rng.choice(self.facts) if self.facts else None
        if not bridge or bridge.family.name not in self.two["which"]:
            return None
        value = self.rng.choice(bridge.values)
        if sum(value in fact.values and fact.family is bridge.family for fact in self.facts) != 1:
            return None
        targets = [
            fact
            for fact in self.facts
            if fact.person == bridge.person and fact.family.name in self.two["hop"] and fact.family is not bridge.family
        ]
        if not targets:
            return None
        target = self.rng.choice(targets)
        who = say(self._phrase(self.two["which"][bridge.family.name]), "", "", bridge.slots(value))
        text = capital(say(self._phrase(self.two["hop"][target.family.name]), "", "", {"who": who}))
        return Question(text, joined(target.values), (bridge, target), "two-hop")
