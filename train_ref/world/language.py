"""How a phrase becomes a sentence: subjects and their pronouns, verbs that agree, articles, lists and times."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from memr1_lite.dates import MONTHS, WEEKDAYS, resolved, written_date

PRONOUNS = {
    "she": ("she", "her", "her", "herself"),
    "he": ("he", "him", "his", "himself"),
    "": ("they", "them", "their", "themself"),
}
COUNTS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
AFTER_PREPOSITION = re.compile(r"\b(to|for|with|of|about|by|from|on|at|near|suit|suits|let) \{S\}(?!')", re.IGNORECASE)
PLURAL_THEY = re.compile(r"\{they\} \{([^|{}]*)\|([^{}]*)\}")


@dataclass(frozen=True)
class Person:
    """Somebody who is talked about. ``label`` is the name in memories and questions."""

    owner: str
    relation: str = ""
    name: str = ""

    @property
    def label(self) -> str:
        """``Andrew``, ``Andrew's sister Maya``, ``Andrew's boss`` or ``Tom``."""
        if not self.relation:
            return self.name or self.owner
        return " ".join([f"{self.owner}'s", self.relation, self.name]).strip()

    @property
    def is_speaker(self) -> bool:
        """True for one of the two who speak."""
        return not self.relation and not self.name

    def mention(self, rng: random.Random, *, known: bool = False) -> str:
        """How the owner speaks of the person; shorter forms only of somebody ``known`` from what is shown."""
        if self.is_speaker:
            return "I"
        if not self.relation:
            return self.name
        full = f"my {self.relation} {self.name}".strip()
        if known and self.name and rng.random() < 0.4:
            return rng.choice([self.name, f"my {self.relation}"])
        return full


def article(value: str) -> str:
    """``a`` or ``an`` before the value, unless it brings its own."""
    if value.startswith(("a ", "an ", "the ")):
        return value
    return ("an " if value[:1].lower() in "aeiou" else "a ") + value


def joined(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def say(phrase: str, subject: str, relation_pronoun: str, values: dict[str, str]) -> str:
    """Fill a phrase. ``subject`` is ``I`` for the speaker, else a name or a description."""
    first = subject == "I"
    if "|" in re.sub(r"\{[^{}]*\}", "", phrase):
        phrase = _alternative(phrase, first)
    if first:
        phrase = AFTER_PREPOSITION.sub(r"\1 me", phrase)
    they, them, their, themself = ("I", "me", "my", "myself") if first else PRONOUNS[relation_pronoun]

    def agreed(match: re.Match[str]) -> str:
        one, other = match[1], match[2]
        return f"{they} {one if first or they == 'they' else other}"

    if not first and they == "they":
        phrase = phrase.replace("{they} {am|is}", "they are").replace("{they} {have|has}", "they have")
    phrase = PLURAL_THEY.sub(agreed, phrase)
    phrase = re.sub(r"\{([^|{}]*)\|([^{}]*)\}", lambda match: match[1] if first else match[2], phrase)
    possessive = "my" if first else f"{subject}'s"
    named = {"S": subject, "S's": possessive, "they": they, "them": them, "their": their, "themself": themself}
    text = re.sub(r"\{([^{}]+)\}", lambda match: (named | values).get(match[1], ""), phrase)
    return text


def _alternative(phrase: str, first: bool) -> str:
    """A whole phrase given twice, ``first|third``: split at the bar outside braces."""
    depth = 0
    for index, character in enumerate(phrase):
        depth += (character == "{") - (character == "}")
        if character == "|" and depth == 0:
            return phrase[:index] if first else phrase[index + 1 :]
    return phrase


def capital(text: str) -> str:
    """First letter upper case."""
    return text[:1].upper() + text[1:]


@dataclass(frozen=True)
class Moment:
    """An expression of time as said, and as a memory writes it: with preposition, and bare for an answer."""

    said: str = ""
    written: str = ""
    bare: str = ""


def moment(rng: random.Random, at: datetime, *, future: bool = False) -> Moment:
    """A random expression of time, said on ``at``."""
    unit, count = rng.choice(["days", "weeks", "months", "years"]), rng.randint(2, 6)
    number = rng.choice([str(count), COUNTS[count]])
    weekday = rng.choice(WEEKDAYS).capitalize()
    day = at + timedelta(days=rng.randint(2, 200) * (1 if future else -1))
    explicit = [
        (f"on {written_date(day)}", f"on {written_date(day)}"),
        (f"in {MONTHS[day.month - 1]} {day.year}", f"in {MONTHS[day.month - 1]} {day.year}"),
    ]
    if not future:
        year = str(at.year - rng.randint(1, 12))
        explicit.append((f"in {year}", f"in {year}"))
    which = "next" if future else "last"
    relative = [f"{which} week", f"{which} month", f"{which} year", f"{which} {weekday}", f"{which} weekend"]
    relative += (
        ["tomorrow", "the day after tomorrow", f"in {number} {unit}"]
        if future
        else ["yesterday", "the day before yesterday", f"{number} {unit} ago", "today", "last night"]
    )
    if rng.random() < 0.3:
        said, written = rng.choice(explicit)
        return Moment(" " + said, " " + written, written.split(" ", 1)[1])
    said = rng.choice(relative)
    bare = re.findall(r"\((.*?)\)", resolved(said, at))[-1]
    return Moment(" " + said, " " + with_preposition(bare), bare)


def with_preposition(bare: str) -> str:
    """``on 15 June 2023``, ``in May 2023``, ``in the week of ...``, ``on the weekend of ...``."""
    if bare.startswith("the weekend"):
        return "on " + bare
    if bare.startswith("the week") or not bare[0].isdigit() or len(bare) == 4:
        return "in " + bare
    return "on " + bare
