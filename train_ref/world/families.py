"""The kinds of facts there are, with what people say about them and what there is to ask.

The phrases are data, in ``phrases/``: what training hears, and what is held out. In a phrase, ``{first|third}`` picks the form for the speaker or for somebody
else, ``{S}`` names the subject, ``{S's}`` its possessive, ``{they} {them} {their}`` its pronouns, ``{v}`` the value,
``{av}`` the value with its article, ``{b}`` the base form of a deed, ``{noun} {nouns} {an}`` a kind of pet, child,
relative or favourite, ``{old}`` a value that it replaces, ``{t}`` an expression of time with a space before it,
``{fact}`` the plain clause. In a question the subject is always named.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from train_ref.world import words as w
from train_ref.world.words import Split, pick

Kind = Literal["single", "list", "event"]
Value = Callable[[random.Random, Split], str]


def _phrases(split: Split) -> dict[str, dict[str, Any]]:
    """One file: phrases of families by family and use, general ones by use, questions about two people by kind."""
    file = Path(__file__).with_name("phrases") / f"{split}.json"
    found: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found


PHRASES: dict[Split, dict[str, dict[str, Any]]] = {"train": _phrases("train"), "heldout": _phrases("heldout")}


@dataclass(frozen=True, eq=False)
class Family:
    """One kind of fact.

    ``single``: one value at a time, replaced by the next. ``list``: values gather in one memory. ``event``: each
    happens by itself, on a date. ``text`` is the memory, ``fact`` the plain clause. ``about`` says whether it is told
    of anybody or of the speakers only.
    """

    name: str
    kind: Kind
    value: Value
    text: str
    fact: str
    about: Literal["anybody", "speaker"] = "anybody"

    def phrases(self, use: str, split: Split) -> list[str]:
        """The phrases for a use (tell, change, end, ask, yesno, count, when, who); none where it has none."""
        found: list[str] = PHRASES[split]["families"][self.name].get(use, [])
        return found


def of(items: list[str], proper: float = 0.0) -> Value:
    """Values from a list, at times an invented name."""
    return lambda rng, split: pick(rng, items, split, proper)


def company(rng: random.Random, split: Split) -> str:
    """An invented company."""
    return w.invented(rng, split) + rng.choice(w.COMPANY_ENDS)


def thing(rng: random.Random, split: Split) -> str:
    """A possession, at times with its colour or make."""
    name = pick(rng, w.THINGS, split)
    roll = rng.random()
    if roll < 0.35:
        return f"{rng.choice(w.COLOURS)} {name}"
    return f"{w.invented(rng, split)} {name}" if roll < 0.5 else name


def car(rng: random.Random, split: Split) -> str:
    """An invented make, mostly with its colour."""
    make = w.invented(rng, split)
    return f"{rng.choice(w.COLOURS)} {make}" if rng.random() < 0.6 else make


def age(rng: random.Random, split: Split) -> str:
    """Years."""
    return str(rng.randint(3, 89))


def goal(rng: random.Random, split: Split) -> str:
    """Something to do one day."""
    languages, instruments = (pick(rng, items, split) for items in (w.LANGUAGES, w.INSTRUMENTS))
    return rng.choice(w.part(w.GOALS, split)).format(language=languages, instrument=instruments)


def favourite(rng: random.Random, split: Split) -> str:
    """Only a colour: which list it is depends on the noun."""
    return pick(rng, w.COLOURS, split)


FAMILIES = (
    Family("home", "single", of(w.CITIES, 0.3), "{S} lives in {v}.", "{S} {live|lives} in {v}"),
    Family("job", "single", of(w.JOBS), "{S} works as {av}.", "{S} {work|works} as {av}"),
    Family("employer", "single", company, "{S} works at {v}.", "{S} {work|works} at {v}"),
    Family("study", "single", of(w.SUBJECTS), "{S} studies {v}.", "{S} {study|studies} {v}"),
    Family("diet", "single", of(w.DIETS), "{S} follows a {v} diet.", "{S} {follow|follows} a {v} diet"),
    Family("allergy", "list", of(w.ALLERGENS), "{S} is allergic to {v}.", "{S} {am|is} allergic to {v}"),
    Family("hobby", "list", of(w.HOBBIES), "{S} enjoys {v}.", "{S} {enjoy|enjoys} {v}"),
    Family("language", "list", of(w.LANGUAGES), "{S} speaks {v}.", "{S} {speak|speaks} {v}"),
    Family("instrument", "list", of(w.INSTRUMENTS), "{S} plays the {v}.", "{S} {play|plays} the {v}"),
    Family("likes", "list", of(w.FOODS), "{S} likes {v}.", "{S} {like|likes} {v}"),
    Family("dislikes", "list", of(w.FOODS), "{S} dislikes {v}.", "{S} {dislike|dislikes} {v}"),
    Family("condition", "single", of(w.CONDITIONS), "{S} suffers from {v}.", "{S} {suffer|suffers} from {v}"),
    Family("partner", "single", of(w.NAMES, 0.25), "{S} is married to {v}.", "{S} {am|is} married to {v}"),
    Family("car", "single", car, "{S} drives {av}.", "{S} {drive|drives} {av}"),
    Family("age", "single", age, "{S} is {v} years old.", "{S} {am|is} {v} years old"),
    Family("pets", "list", of(w.PET_NAMES, 0.35), "{S} has a {noun} named {v}.", "{S} {have|has} a {noun} named {v}"),
    Family("children", "list", of(w.NAMES, 0.25), "{S} has a {noun} named {v}.", "{S} {have|has} a {noun} named {v}"),
    Family("owns", "event", thing, "{S} bought {av}{when}.", "{S} bought {av}{when}"),
    Family("trip", "event", of(w.PLACES, 0.15), "{S} visited {v}{when}.", "{S} visited {v}{when}"),
    Family("attended", "event", of(w.EVENTS), "{S} attended {v}{when}.", "{S} attended {v}{when}"),
    Family("plan", "event", of(w.PLACES, 0.15), "{S} plans to visit {v}{when}.", "{S} {plan|plans} to visit {v}{when}"),
    Family("appointment", "event", of(w.APPOINTMENTS), "{S} has {v}{when}.", "{S} {have|has} {v}{when}"),
    Family("favourite", "single", favourite, "{S's} favorite {noun} is {v}.", "{S's} favorite {noun} is {v}"),
    Family("goal", "event", goal, "{S} wants to {v}.", "{S} {want|wants} to {v}"),
    Family(
        "kin", "single", of(w.NAMES, 0.25), "{S's} {noun} is named {v}.", "{S's} {noun} is called {v}", about="speaker"
    ),
    Family("did", "event", of(w.DEEDS), "{S} {v}{when}.", "{S} {v}{when}"),
)
BY_NAME = {family.name: family for family in FAMILIES}
