"""What people say about themselves, family by family, and what there is to ask.

In a phrase, ``{first|third}`` picks the form for the speaker or for somebody else, ``{S}`` names the subject,
``{S's}`` its possessive, ``{they} {them} {their}`` its pronouns, ``{v}`` the value, ``{av}`` the value with its
article, ``{old}`` a value that it replaces, ``{t}`` an expression of time with a space before it. In a question the
subject is always named. Every fifth phrase of every list is held out (:func:`train_ref.world.words.part`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from train_ref.world import words as w
from train_ref.world.words import Split, pick

Kind = Literal["single", "list", "event"]


@dataclass(frozen=True)
class Family:
    """One kind of fact.

    ``single``: one value at a time, replaced by the next. ``list``: values gather in one memory. ``event``: each
    happens by itself, on a date. ``text`` is the memory, ``fact`` the plain clause, ``tell`` how it is first said.
    """

    name: str
    kind: Kind
    value: Callable[[random.Random, Split], str]
    text: str
    fact: str
    tell: tuple[str, ...]
    ask: tuple[str, ...]
    yesno: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    count: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    who: tuple[str, ...] = ()
    noun: str = ""
    subjects: Literal["any", "speaker", "person"] = "any"
    plural: Callable[[str], str] | None = field(default=None)


def job(rng: random.Random, split: Split) -> str:
    """A job, at times at an invented company."""
    return pick(rng, w.JOBS, split)


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


def of(items: tuple[str, ...] | list[str], made_up: float = 0.0) -> Callable[[random.Random, Split], str]:
    """A value function over a list of words."""
    return lambda rng, split: pick(rng, items, split, made_up)


FAMILIES = (
    Family(
        "home", "single", of(w.CITIES, 0.3), "{S} lives in {v}.", "{S} {live|lives} in {v}",
        tell=(
            "{S} {live|lives} in {v}.", "{S} {am|is} based in {v} these days.", "{S} just moved to {v}{t}.",
            "{S's} home is in {v}.", "{S} {have|has} lived in {v} for years.", "{S} moved into a flat in {v}{t}.",
            "{S} bought a house in {v}{t}.", "{S} {have|has} an apartment in {v}.", "{S} settled down in {v}{t}.",
            "Home for {them} is {v}.", "{S} {am|is} living in {v} now.", "{S} {rent|rents} a small place in {v}.",
            "{S} relocated to {v}{t}.", "{S} {reside|resides} in {v}.", "{S} {call|calls} {v} home.",
        ),
        change=(
            "{S} moved to {v}{t}.", "{S} {have|has} moved from {old} to {v}.", "{S} left {old} and moved to {v}.",
            "{S} don't live in {old} any more, {they} {live|lives} in {v} now.|{S} doesn't live in {old} any more, {they} {live|lives} in {v} now.",
            "{S} {am|is} living in {v} now.", "Big news: {S} moved to {v}{t}!", "{S} relocated from {old} to {v}{t}.",
            "{S} packed up and moved to {v}{t}.", "{S's} new home is in {v}.", "{S} traded {old} for {v}{t}.",
        ),
        ask=(
            "Where does {S} live?", "Which city does {S} live in?", "Where is {S} living now?", "What city is {S} based in?",
            "Where is {S's} home?", "In which city does {S} live?", "Where does {S} live these days?", "What is {S's} home town now?",
            "Where can {S} be found these days?", "Which city is home for {S}?",
        ),
        yesno=("Does {S} live in {v}?", "Is {S} living in {v}?", "Is {S's} home in {v}?", "Is {S} based in {v}?", "Does {S} reside in {v}?"),
        when=("When did {S} move to {v}?",),
        who=("Who lives in {v}?", "Which person lives in {v}?", "Who is living in {v}?", "Who is based in {v}?", "Whose home is in {v}?"),
    ),
    Family(
        "job", "single", job, "{S} works as {av}.", "{S} {work|works} as {av}",
        tell=(
            "{S} {work|works} as {av}.", "{S} {am|is} {av}.", "{S} got a job as {av}{t}.", "{S's} job is {av}.",
            "{S} {earn|earns} {their} living as {av}.", "{S} started working as {av}{t}.", "{S} {have|has} been {av} for ten years.",
            "For a living, {S} {work|works} as {av}.", "{S} {do|does} shifts as {av}.", "{S} {have|has} a new job as {av}.",
            "{S} was hired as {av}{t}.", "{S} {am|is} employed as {av}.", "By profession {S} {am|is} {av}.",
            "{S} found work as {av}{t}.", "{S} {make|makes} money as {av}.",
        ),
        change=(
            "{S} {work|works} as {av} now.", "{S} quit {their} job as {aold} and became {av}.", "{S} changed jobs{t}, {they} {am|is} {av} now.",
            "{S} {am|is} no longer {aold}, {they} {am|is} {av} now.", "{S} switched from being {aold} to being {av}.",
            "{S} became {av}{t}.", "{S} left {their} old job and started as {av}{t}.", "{S} {am|is} {av} now instead of {aold}.",
            "{S} retrained as {av}{t}.", "{S} gave up being {aold} to be {av}.",
        ),
        ask=(
            "What does {S} do for a living?", "What is {S's} job?", "What does {S} work as?", "What is {S's} profession?",
            "How does {S} earn a living?", "What job does {S} have?", "What kind of work does {S} do?", "What does {S} do for work?",
            "What is {S's} current job?", "What is {S's} occupation?",
        ),
        yesno=("Is {S} {av}?", "Does {S} work as {av}?", "Is {S's} job {av}?", "Is {S} working as {av}?", "Does {S} earn a living as {av}?"),
        who=("Who works as {av}?", "Who is {av}?", "Which person works as {av}?", "Whose job is {av}?", "Who is employed as {av}?"),
    ),
    Family(
        "employer", "single", company, "{S} works at {v}.", "{S} {work|works} at {v}",
        tell=(
            "{S} {work|works} at {v}.", "{S} {work|works} for {v}.", "{S} joined {v}{t}.", "{S's} employer is {v}.",
            "{S} {have|has} a job at {v}.", "{S} started at {v}{t}.", "{S} {am|is} working at {v}.", "{S} got hired by {v}{t}.",
            "{S's} company is called {v}.", "{S} {am|is} employed at {v}.", "{S} signed a contract with {v}{t}.",
        ),
        change=(
            "{S} left {old} and joined {v}.", "{S} {work|works} at {v} now.", "{S} moved from {old} to {v}{t}.",
            "{S} quit {old}, {they} {am|is} at {v} now.", "{S's} new employer is {v}.", "{S} switched companies{t} and {work|works} for {v} now.",
            "{S} {don't|doesn't} work at {old} any more but at {v}.", "{S} changed from {old} to {v}.",
        ),
        ask=(
            "Where does {S} work?", "Which company does {S} work for?", "Who is {S's} employer?", "What company is {S} working at?",
            "At which company is {S} employed?", "What is the name of {S's} company?", "Who does {S} work for?",
        ),
        yesno=("Does {S} work at {v}?", "Is {S} working for {v}?", "Is {v} {S's} employer?", "Is {S} employed at {v}?", "Does {S} have a job at {v}?"),
        who=("Who works at {v}?", "Who works for {v}?", "Which person works at {v}?", "Who is employed at {v}?", "Whose employer is {v}?"),
    ),
    Family(
        "study", "single", of(w.SUBJECTS), "{S} studies {v}.", "{S} {study|studies} {v}",
        tell=(
            "{S} {study|studies} {v}.", "{S} {am|is} studying {v} at university.", "{S} started a degree in {v}{t}.",
            "{S's} major is {v}.", "{S} {am|is} doing a course in {v}.", "{S} enrolled in {v}{t}.", "{S} {am|is} majoring in {v}.",
            "{S} {am|is} taking classes in {v}.", "{S} {am|is} a student of {v}.", "{S} {am|is} working towards a degree in {v}.",
        ),
        change=(
            "{S} switched from {old} to {v}.", "{S} changed {their} major to {v}.", "{S} {study|studies} {v} now.", "{S} dropped {old} and {study|studies} {v} instead.",
            "{S} swapped {old} for {v}{t}.", "{S} left the {old} course and enrolled in {v}{t}.",
        ),
        ask=(
            "What does {S} study?", "What is {S} studying?", "What is {S's} major?", "Which subject does {S} study?", "What subject is {S} a student of?",
            "What is {S} studying at university?", "What degree is {S} doing?",
        ),
        yesno=("Does {S} study {v}?", "Is {S} studying {v}?", "Is {S's} major {v}?", "Is {S} doing a degree in {v}?", "Is {S} a student of {v}?"),
        who=("Who studies {v}?", "Who is studying {v}?", "Which person studies {v}?", "Whose major is {v}?", "Who is a student of {v}?"),
    ),
    Family(
        "diet", "single", of(w.DIETS), "{S} follows a {v} diet.", "{S} {follow|follows} a {v} diet",
        tell=(
            "{S} {follow|follows} a {v} diet.", "{S} {am|is} on a {v} diet.", "{S} {eat|eats} {v}.", "{S} went {v}{t}.", "{S's} diet is {v}.",
            "{S} {have|has} been {v} for a while.", "{S} {stick|sticks} to a {v} diet.", "{S} started a {v} diet{t}.", "{S} only {eat|eats} {v} food.", "{S} {keep|keeps} to {v} meals.",
        ),
        change=(
            "{S} switched from {old} to {v}.", "{S} {am|is} {v} now.", "{S} gave up the {old} diet and {eat|eats} {v} now.", "{S} changed {their} diet to {v}{t}.",
            "{S} swapped {old} food for {v} food.", "{S} {follow|follows} a {v} diet now instead.",
        ),
        ask=(
            "What diet does {S} follow?", "What is {S's} diet?", "What kind of diet is {S} on?", "How does {S} eat?", "Which diet does {S} keep to?", "What diet is {S} on?",
        ),
        yesno=("Is {S} on a {v} diet?", "Does {S} follow a {v} diet?", "Is {S's} diet {v}?", "Does {S} eat {v}?", "Does {S} stick to a {v} diet?"),
        who=("Who follows a {v} diet?", "Who is on a {v} diet?", "Who eats {v}?", "Whose diet is {v}?", "Who keeps to a {v} diet?"),
    ),
    Family(
        "allergy", "list", of(w.ALLERGENS), "{S} is allergic to {v}.", "{S} {am|is} allergic to {v}",
        tell=(
            "{S} {am|is} allergic to {v}.", "{S} {have|has} an allergy to {v}.", "{S} can't have {v}, {they} {am|is} allergic.", "{S} found out {they} {am|is} allergic to {v}.",
            "{S} {get|gets} a rash from {v}.", "The doctor said {S} {am|is} allergic to {v}.", "{S} had an allergic reaction to {v}{t}.", "{S} tested positive for an allergy to {v}{t}.",
            "{S} {have|has} a bad allergy to {v}.", "{S} {react|reacts} badly to {v} because of an allergy.",
        ),
        change=(
            "{S} {am|is} also allergic to {v}.", "It turns out {S} {am|is} allergic to {v} too.", "{S} {have|has} another allergy: {v}.", "Besides that, {S} {am|is} allergic to {v}.",
            "{S} can't have {v} either, {they} {am|is} allergic to that as well.", "On top of {old}, {S} {am|is} allergic to {v}.",
        ),
        end=("{S} {am|is} not allergic to {v} any more.", "{S} got over {their} allergy to {v}.", "{S's} allergy to {v} is gone.", "{S} can have {v} again, the allergy is gone.", "{S} outgrew {their} allergy to {v}."),
        ask=("What is {S} allergic to?", "What allergies does {S} have?", "Which allergies does {S} have?", "What should {S} avoid because of an allergy?", "What does {S} have an allergy to?", "What triggers {S's} allergies?"),
        yesno=("Is {S} allergic to {v}?", "Does {S} have an allergy to {v}?", "Is {S} allergic to {v} at all?", "Does {S} react to {v}?", "Should {S} avoid {v} because of an allergy?"),
        count=("How many allergies does {S} have?",),
        who=("Who is allergic to {v}?", "Who has an allergy to {v}?", "Which person is allergic to {v}?", "Who reacts to {v}?", "Whose allergy is to {v}?"),
    ),
    Family(
        "hobby", "list", of(w.HOBBIES), "{S} enjoys {v}.", "{S} {enjoy|enjoys} {v}",
        tell=(
            "{S} {enjoy|enjoys} {v}.", "{S} {have|has} taken up {v}.", "{S's} hobby is {v}.", "{S} {spend|spends} {their} weekends on {v}.", "{S} {do|does} a lot of {v} in {their} free time.",
            "{S} started {v}{t}.", "{S} {am|is} really into {v}.", "{S} got into {v}{t}.", "In {their} spare time {S} {enjoy|enjoys} {v}.", "{S} {am|is} keen on {v}.",
            "{S} discovered {v}{t} and {love|loves} it.", "{S} joined a club for {v}{t}.", "{S} {am|is} crazy about {v}.", "{S} {find|finds} {v} relaxing.", "{S} {pass|passes} the time with {v}.",
        ),
        change=(
            "{S} also {enjoy|enjoys} {v}.", "{S} {have|has} a new hobby: {v}.", "Besides {old}, {S} {enjoy|enjoys} {v} now.", "{S} started {v} as well.", "{S} added {v} to {their} hobbies{t}.",
            "{S} picked up {v} too.", "{S} {am|is} into {v} as well these days.", "Next to {old}, {S} took up {v}{t}.", "{S} {have|has} taken up {v} as another hobby.", "{S} now {do|does} {v} on top of {old}.",
        ),
        end=("{S} gave up {v}.", "{S} stopped doing {v}.", "{S} {am|is} done with {v}, it is no fun any more.", "{S} quit {v}{t}.", "{S} no longer {do|does} {v}."),
        ask=("What hobbies does {S} have?", "What does {S} enjoy?", "What does {S} do in the free time?", "What are {S's} hobbies?", "How does {S} spend the weekends?", "What does {S} like to do for fun?", "What is {S} into?", "What does {S} do for fun?", "Which activities does {S} enjoy?", "What does {S} do to relax?"),
        yesno=("Does {S} enjoy {v}?", "Is {S} into {v}?", "Is {v} one of {S's} hobbies?", "Does {S} do {v}?", "Is {S} keen on {v}?"),
        count=("How many hobbies does {S} have?",),
        who=("Who enjoys {v}?", "Who is into {v}?", "Which person enjoys {v}?", "Who does {v}?", "Whose hobby is {v}?"),
    ),
    Family(
        "language", "list", of(w.LANGUAGES), "{S} speaks {v}.", "{S} {speak|speaks} {v}",
        tell=(
            "{S} {speak|speaks} {v}.", "{S} {am|is} fluent in {v}.", "{S} grew up speaking {v}.", "{S} can speak {v}.", "{S} {know|knows} {v} quite well.", "{S} learned {v} at school.", "{S} {have|has} a good command of {v}.",
        ),
        change=("{S} {speak|speaks} {v} too.", "{S} {have|has} learned {v} as well.", "Besides {old}, {S} {speak|speaks} {v}.", "{S} {am|is} fluent in {v} now too.", "{S} also {know|knows} {v}.", "{S} can speak {v} as well now."),
        end=("{S} {have|has} forgotten all {their} {v}.", "{S} can't speak {v} any more.", "{S} no longer {speak|speaks} {v}.", "{S} lost {their} {v}.", "{S} {have|has} unlearned {v}."),
        ask=("What languages does {S} speak?", "Which languages does {S} speak?", "What languages does {S} know?", "What can {S} speak?", "Which languages is {S} fluent in?"),
        yesno=("Does {S} speak {v}?", "Can {S} speak {v}?", "Is {S} fluent in {v}?", "Is {v} one of {S's} languages?", "Does {S} know {v}?"),
        count=("How many languages does {S} speak?",),
        who=("Who speaks {v}?", "Who can speak {v}?", "Which person speaks {v}?", "Who is fluent in {v}?", "Who knows {v}?"),
    ),
    Family(
        "instrument", "list", of(["guitar", "piano", "violin", "cello", "flute", "clarinet", "saxophone", "trumpet", "drums", "harp", "banjo", "ukulele", "accordion", "harmonica", "oboe", "trombone", "bass", "viola", "mandolin", "organ"]), "{S} plays the {v}.", "{S} {play|plays} the {v}",
        tell=("{S} {play|plays} the {v}.", "{S} {am|is} learning the {v}.", "{S} started playing the {v}{t}.", "{S} {take|takes} lessons on the {v}.", "{S} {practice|practices} the {v} every day.", "{S} {have|has} played the {v} since childhood.", "{S's} instrument is the {v}."),
        change=("{S} {play|plays} the {v} too.", "{S} {am|is} learning the {v} as well.", "Besides the {old}, {S} {play|plays} the {v}.", "{S} also {play|plays} the {v}.", "{S} took up the {v} in addition."),
        end=("{S} stopped playing the {v}.", "{S} gave up the {v}.", "{S} no longer {play|plays} the {v}.", "{S} quit the {v}{t}.", "{S} sold the {v} and stopped playing it."),
        ask=("What instruments does {S} play?", "Which instruments does {S} play?", "What instrument does {S} play?", "What does {S} play?", "Which instrument can {S} play?"),
        yesno=("Does {S} play the {v}?", "Can {S} play the {v}?", "Is the {v} one of {S's} instruments?", "Is {S} learning the {v}?", "Does {S} know how to play the {v}?"),
        count=("How many instruments does {S} play?",),
        who=("Who plays the {v}?", "Who can play the {v}?", "Which person plays the {v}?", "Who is learning the {v}?", "Whose instrument is the {v}?"),
    ),
    Family(
        "likes", "list", of(w.FOODS), "{S} likes {v}.", "{S} {like|likes} {v}",
        tell=("{S} {like|likes} {v}.", "{S} {love|loves} {v}.", "{S} {am|is} a big fan of {v}.", "{S} can't get enough of {v}.", "{S} {adore|adores} {v}.", "{S} {have|has} a weakness for {v}.", "{S} would eat {v} every day.", "{S} always {order|orders} {v}.", "Nothing beats {v} for {them}.", "{S} {crave|craves} {v} all the time."),
        change=("{S} {like|likes} {v} too.", "{S} also {love|loves} {v}.", "Besides {old}, {S} {like|likes} {v}.", "{S} {am|is} a fan of {v} as well.", "{S} {have|has} come to like {v} too."),
        end=("{S} {don't|doesn't} like {v} any more.", "{S} {am|is} sick of {v}.", "{S} went off {v}.", "{S} can't stand {v} any more.", "{S} {have|has} lost {their} taste for {v}."),
        ask=("What food does {S} like?", "What does {S} like to eat?", "Which foods does {S} like?", "What does {S} love to eat?", "What kind of food is {S} a fan of?"),
        yesno=("Does {S} like {v}?", "Does {S} love {v}?", "Is {S} a fan of {v}?", "Would {S} like some {v}?", "Is {S} fond of {v}?"),
        who=("Who likes {v}?", "Who loves {v}?", "Which person likes {v}?", "Who is a fan of {v}?", "Who is fond of {v}?"),
    ),
    Family(
        "dislikes", "list", of(w.FOODS), "{S} dislikes {v}.", "{S} {dislike|dislikes} {v}",
        tell=("{S} {don't|doesn't} like {v}.", "{S} {dislike|dislikes} {v}.", "{S} {hate|hates} {v}.", "{S} can't stand {v}.", "{S} {find|finds} {v} disgusting.", "{S} never {eat|eats} {v}, it tastes awful.", "{S} {have|has} always hated {v}.", "{S} {avoid|avoids} {v} because of the taste.", "{S} {am|is} not a fan of {v}.", "{S} {detest|detests} {v}."),
        change=("{S} {don't|doesn't} like {v} either.", "{S} {hate|hates} {v} too.", "Besides {old}, {S} {dislike|dislikes} {v}.", "{S} can't stand {v} either.", "{S} {am|is} no fan of {v} either."),
        end=("{S} {don't|doesn't} mind {v} any more.", "{S} {have|has} made {their} peace with {v}.", "{S} no longer {hate|hates} {v}.", "{S} stopped hating {v}.", "{v} {am|is} fine with {them} now.|{v} is fine with {them} now."),
        ask=("What food does {S} dislike?", "What does {S} hate to eat?", "Which foods does {S} dislike?", "What can {S} not stand?", "What food does {S} avoid because of the taste?"),
        yesno=("Does {S} dislike {v}?", "Does {S} hate {v}?", "Is {v} something that {S} dislikes?", "Can {S} not stand {v}?", "Does {S} detest {v}?"),
        who=("Who dislikes {v}?", "Who hates {v}?", "Which person dislikes {v}?", "Who can't stand {v}?", "Who detests {v}?"),
    ),
    Family(
        "condition", "single", of(w.CONDITIONS), "{S} suffers from {v}.", "{S} {suffer|suffers} from {v}",
        tell=("{S} {suffer|suffers} from {v}.", "{S} {have|has} {v}.", "{S} was diagnosed with {v}{t}.", "{S} {am|is} being treated for {v}.", "{S} {take|takes} medicine for {v}.", "{S} {have|has} been dealing with {v}.", "{S} {see|sees} a doctor about {v}.", "{S} {struggle|struggles} with {v}."),
        change=("It was not {old}, {S} {have|has} {v}.", "The doctor changed the diagnosis for {them} from {old} to {v}.", "{S} {have|has} {v} and not {old}.", "{S} recovered from {old} but {have|has} {v} now.", "{S's} diagnosis is {v} now instead of {old}."),
        end=("{S} {have|has} recovered from {v}.", "{S} {am|is} free of {v} now.", "{S's} {v} is gone for good.", "{S} no longer {suffer|suffers} from {v}.", "{S} got rid of {their} {v}."),
        ask=("What does {S} suffer from?", "What health problem does {S} have?", "What is {S} being treated for?", "What was {S} diagnosed with?", "What medical condition does {S} have?"),
        yesno=("Does {S} suffer from {v}?", "Does {S} have {v}?", "Was {S} diagnosed with {v}?", "Is {S} being treated for {v}?", "Does {S} struggle with {v}?"),
        who=("Who suffers from {v}?", "Who has {v}?", "Which person suffers from {v}?", "Who was diagnosed with {v}?", "Who struggles with {v}?"),
    ),
    Family(
        "partner", "single", lambda r, s: pick(r, w.NAMES, s, 0.25), "{S} is married to {v}.", "{S} {am|is} married to {v}",
        tell=("{S} {am|is} married to {v}.", "{S} got married to {v}{t}.", "{S} married {v}{t}.", "{S's} spouse is called {v}.", "{S} tied the knot with {v}{t}.", "{S} and {v} got married{t}.", "{S} {have|has} been married to {v} for years."),
        change=("{S} divorced {old} and married {v}.", "{S} {am|is} married to {v} now, not to {old}.", "After {old}, {S} got married to {v}{t}.", "{S} remarried, to {v}.", "{S} left {old} and tied the knot with {v}."),
        end=("{S} got divorced from {v}{t}.", "{S} and {v} are no longer married.", "{S} {am|is} not married to {v} any more.", "{S} and {v} got a divorce{t}.", "{S's} marriage to {v} is over."),
        ask=("Who is {S} married to?", "Who did {S} marry?", "Who is {S's} spouse?", "What is the name of {S's} spouse?", "Who is the spouse of {S}?"),
        yesno=("Is {S} married to {v}?", "Did {S} marry {v}?", "Is {v} {S's} spouse?", "Are {S} and {v} married?", "Is {S} the spouse of {v}?"),
    ),
    Family(
        "car", "single", lambda r, s: f"{r.choice(w.COLOURS)} {w.invented(r, s)}" if r.random() < 0.6 else w.invented(r, s), "{S} drives a {v}.", "{S} {drive|drives} a {v}",
        tell=("{S} {drive|drives} a {v}.", "{S's} car is a {v}.", "{S} bought a {v} as {their} new car{t}.", "{S} {go|goes} to work in a {v}.", "{S} {get|gets} around in a {v}.", "{S} picked up {their} new car{t}, a {v}.", "{S} got a {v} to drive{t}."),
        change=("{S} sold the {old} and {drive|drives} a {v} now.", "{S} {drive|drives} a {v} now.", "{S} traded {their} {old} for a {v}.", "{S} replaced the {old} with a {v}{t}.", "{S} swapped {their} {old} for a {v}."),
        end=("{S} sold {their} {v} and {have|has} no car now.", "{S} {don't|doesn't} drive the {v} any more.", "{S} gave {their} {v} away.", "{S} crashed the {v} and {have|has} no car now.", "{S} got rid of the {v}."),
        ask=("What car does {S} drive?", "What kind of car does {S} have?", "What does {S} drive?", "Which car does {S} drive?", "What is {S's} car?"),
        yesno=("Does {S} drive a {v}?", "Is {S's} car a {v}?", "Does {S} have a {v}?", "Is {S} driving a {v}?", "Does {S} go to work in a {v}?"),
        who=("Who drives a {v}?", "Whose car is a {v}?", "Which person drives a {v}?", "Who has a {v}?", "Who gets around in a {v}?"),
    ),
    Family(
        "age", "single", lambda r, s: str(r.randint(3, 89)), "{S} is {v} years old.", "{S} {am|is} {v} years old",
        tell=("{S} {am|is} {v} years old.", "{S} {am|is} {v}.", "{S} turned {v}{t}.", "{S} {have|has} just turned {v}.", "{S} celebrated {their} birthday{t} and {am|is} {v} now.", "{S's} age is {v}."),
        change=("{S} turned {v}{t}.", "{S} {am|is} {v} now.", "{S} had a birthday{t} and {am|is} {v} now.", "{S} {am|is} not {old} any more but {v}.", "{S} {am|is} already {v} years old."),
        ask=("How old is {S}?", "What is {S's} age?", "What age is {S}?", "How many years old is {S}?", "What age has {S} reached?"),
        yesno=("Is {S} {v} years old?", "Is {S} {v}?", "Did {S} turn {v}?", "Is {S's} age {v}?", "Has {S} turned {v}?"),
    ),
    Family(
        "pets", "list", lambda r, s: pick(r, w.PET_NAMES, s, 0.35), "{S} has a {noun} named {v}.", "{S} {have|has} a {noun} named {v}",
        tell=(
            "{S} {have|has} a {noun} named {v}.", "{S} adopted a {noun} named {v}{t}.", "{S} got a {noun} called {v}{t}.", "{S} brought home a {noun} named {v}{t}.", "{S's} {noun} is called {v}.",
            "{S} adopted a {noun}, {v}, from a shelter{t}.", "{S} {have|has} a new {noun} and named it {v}.", "{S} bought a {noun} called {v}{t}.", "{S} {live|lives} with a {noun} named {v}.", "{v} is the name of {S's} {noun}.",
            "{S} rescued a {noun} named {v}{t}.", "{S's} {noun} {v} is adorable.", "{S} took {their} {noun} {v} to the vet{t}.", "{S} went for a walk with {their} {noun} {v}.", "A {noun} named {v} moved in with {them}{t}.",
        ),
        change=(
            "{S} adopted another {noun} named {v}{t}.", "{S} got a second {noun}, {v}{t}.", "{S} {have|has} one more {noun} now, called {v}.", "{S} brought home another {noun} named {v}{t}.", "{S} adopted a {noun} called {v} to keep {old} company.",
            "{S} {have|has} a new {noun} named {v} besides {old}.", "{S} also {have|has} a {noun} named {v}.", "{S} rescued another {noun}, {v}{t}.", "{S's} other {noun} is called {v}.", "Another {noun} joined {them}{t}, it is called {v}.",
        ),
        end=("{S's} {noun} {v} died{t}.", "{S} gave {their} {noun} {v} away{t}.", "{S} no longer {have|has} the {noun} {v}.", "{S's} {noun} {v} ran away and never came back.", "{S's} {noun} {v} passed away{t}."),
        ask=("What is the name of {S's} {noun}?", "What is {S's} {noun} called?", "What are the names of {S's} {nouns}?", "What are {S's} {nouns} called?", "Which {nouns} does {S} have?"),
        yesno=("Does {S} have a {noun}?", "Does {S} have a {noun} named {v}?", "Is {S's} {noun} called {v}?", "Does {S} own a {noun}?", "Is there a {noun} at {S's} home?"),
        count=("How many {nouns} does {S} have?", "How many {nouns} has {S} got?", "How many {nouns} are there at {S's} home?", "How many {nouns} live with {S}?", "How many {nouns} does {S} own?"),
        who=("Who has a {noun} named {v}?", "Whose {noun} is {v}?", "Who owns {v} the {noun}?", "Who lives with the {noun} {v}?", "Who adopted the {noun} {v}?"),
        noun="pet",
    ),
    Family(
        "children", "list", lambda r, s: pick(r, w.NAMES, s, 0.25), "{S} has a {noun} named {v}.", "{S} {have|has} a {noun} named {v}",
        tell=("{S} {have|has} a {noun} named {v}.", "{S's} {noun} is called {v}.", "{S} had a baby{t}, a {noun} named {v}.", "{S's} {noun} {v} started school{t}.", "{S} took {their} {noun} {v} to the park.", "{S} became the parent of a {noun} named {v}{t}.", "{S's} {noun} {v} is learning to read."),
        change=("{S} {have|has} another {noun} named {v}.", "{S} had another {noun}{t} and named the baby {v}.", "{S's} second {noun} {v} was born{t}.", "Besides {old}, {S} {have|has} a {noun} named {v}.", "{S's} other {noun} is called {v}."),
        ask=("What is the name of {S's} {noun}?", "What is {S's} {noun} called?", "What are {S's} {nouns} called?", "What are the names of {S's} {nouns}?", "Who are {S's} {nouns}?"),
        yesno=("Does {S} have a {noun}?", "Does {S} have a {noun} named {v}?", "Is {S's} {noun} called {v}?", "Does {S} have a {noun} called {v}?", "Is {S} the parent of {v}?"),
        count=("How many {nouns} does {S} have?", "How many {nouns} has {S} got?", "What number of {nouns} does {S} have?", "How many {nouns} are there in {S's} family?", "{S} is the parent of how many {nouns}?"),
        who=("Who has a {noun} named {v}?", "Whose {noun} is {v}?", "Which person has a {noun} named {v}?", "Who is the parent of {v}?", "Who has a {noun} called {v}?"),
        noun="child",
    ),
    Family(
        "owns", "event", thing, "{S} bought {av}{when}.", "{S} bought {av}{when}",
        tell=("{S} bought {av}{t}.", "{S} got {their} hands on {av}{t}.", "{S} treated {themself} to {av}{t}.", "{S} ordered {av}{t}.", "{S} purchased {av}{t}.", "{S} finally bought {av}{t}.", "{S} spent {their} savings on {av}{t}.", "{S} picked up {av} at a sale{t}.", "{S} found {av} at a flea market{t} and bought it.", "{S} invested in {av}{t}."),
        end=("{S} returned the {v} to the shop.", "{S} sold the {v}.", "{S} {don't|doesn't} own the {v} any more.", "{S} gave the {v} away.", "{S} no longer {have|has} the {v}."),
        ask=("What did {S} buy{when}?", "What has {S} bought{when}?", "Which thing did {S} buy{when}?", "What did {S} spend money on{when}?", "What did {S} purchase{when}?"),
        yesno=("Did {S} buy {av}?", "Has {S} bought {av}?", "Did {S} get {av}?", "Does {S} own {av}?", "Did {S} purchase {av}?"),
        when=("When did {S} buy the {v}?", "On what date did {S} buy the {v}?", "When was it that {S} bought {av}?", "What day did {S} get the {v}?", "When did {S} purchase the {v}?"),
        who=("Who bought {av}?", "Who got {av}?", "Which person bought {av}?", "Who ordered {av}?", "Who purchased {av}?"),
    ),
    Family(
        "trip", "event", of(w.PLACES, 0.15), "{S} visited {v}{when}.", "{S} visited {v}{when}",
        tell=(
            "{S} visited {v}{t}.", "{S} went to {v}{t}.", "{S} travelled to {v}{t}.", "{S} spent a few days in {v}{t}.", "{S} took a trip to {v}{t}.", "{S} came back from {v}{t}.", "{S} had a holiday in {v}{t}.",
            "{S} flew to {v}{t}.", "{S} was in {v}{t}.", "{S} went on a journey to {v}{t}.", "{S} drove to {v}{t}.", "{S} had a lovely time in {v}{t}.", "{S} saw {v}{t} for the first time.", "{S} toured {v}{t}.", "{S} made a visit to {v}{t}.",
        ),
        ask=("Where did {S} go{when}?", "Which place did {S} visit{when}?", "Where did {S} travel{when}?", "Where has {S} travelled{when}?", "What place did {S} travel to{when}?"),
        yesno=("Did {S} visit {v}?", "Has {S} been to {v}?", "Did {S} go to {v}?", "Did {S} travel to {v}?", "Was {S} ever in {v}?"),
        when=("When did {S} visit {v}?", "When did {S} go to {v}?", "When was {S} in {v}?", "When did {S} travel to {v}?", "What date did {S} visit {v}?"),
        who=("Who visited {v}?", "Who went to {v}?", "Which person visited {v}?", "Who has been to {v}?", "Who travelled to {v}?"),
    ),
    Family(
        "attended", "event", of(w.EVENTS), "{S} attended {v}{when}.", "{S} attended {v}{when}",
        tell=("{S} attended {v}{t}.", "{S} went to {v}{t}.", "{S} took part in {v}{t}.", "{S} was at {v}{t}.", "{S} had fun at {v}{t}.", "{S} joined {v}{t}.", "{S} showed up at {v}{t}.", "{S} helped out at {v}{t}.", "There was {v}{t} and {S} went.", "{S} participated in {v}{t}."),
        ask=("What did {S} attend{when}?", "Which event did {S} go to{when}?", "What event did {S} attend{when}?", "What was {S} at{when}?", "Which event did {S} take part in{when}?"),
        yesno=("Did {S} attend {v}?", "Did {S} go to {v}?", "Was {S} at {v}?", "Has {S} been to {v}?", "Did {S} take part in {v}?"),
        when=("When did {S} attend {v}?", "When did {S} go to {v}?", "When was {S} at {v}?", "On what date did {S} attend {v}?", "When did {S} take part in {v}?"),
        who=("Who attended {v}?", "Who went to {v}?", "Which person attended {v}?", "Who was at {v}?", "Who took part in {v}?"),
    ),
    Family(
        "plan", "event", of(w.PLACES, 0.15), "{S} plans to visit {v}{when}.", "{S} {plan|plans} to visit {v}{when}",
        tell=(
            "{S} {am|is} going to {v}{t}.", "{S} {plan|plans} to visit {v}{t}.", "{S} booked a flight to {v}{t}.", "{S} {am|is} planning a trip to {v}{t}.", "{S} will travel to {v}{t}.", "{S} will be in {v}{t}.", "{S} {hope|hopes} to see {v}{t}.",
            "{S} {am|is} flying to {v}{t}.", "{S} {have|has} tickets to {v}{t}.", "{S} {intend|intends} to go to {v}{t}.", "{S} {want|wants} to go to {v}{t}.",
        ),
        end=("{S} cancelled the trip to {v}.", "{S} {am|is} not going to {v} after all.", "{S's} trip to {v} is off.", "{S} called off the visit to {v}.", "{S} won't go to {v} after all."),
        ask=("Where does {S} plan to go{when}?", "Which place does {S} plan to visit{when}?", "Where is {S} going{when}?", "Where will {S} travel{when}?", "What place does {S} intend to visit{when}?"),
        yesno=("Does {S} plan to visit {v}?", "Is {S} going to {v}?", "Will {S} travel to {v}?", "Is {S} planning a trip to {v}?", "Does {S} intend to go to {v}?"),
        when=("When does {S} plan to visit {v}?", "When is {S} going to {v}?", "When will {S} be in {v}?", "When is {S's} trip to {v}?", "When does {S} intend to go to {v}?"),
        who=("Who plans to visit {v}?", "Who is going to {v}?", "Which person plans to visit {v}?", "Who will travel to {v}?", "Who intends to go to {v}?"),
    ),
    Family(
        "appointment", "event", of(["a dentist appointment", "a job interview", "a doctor's appointment", "a driving test", "an eye exam", "a piano exam", "a math exam", "a final exam", "a meeting with the bank", "a haircut", "a blood test", "a dance audition", "a court hearing", "a vet appointment", "a parent-teacher meeting", "a house viewing", "a visa interview", "a therapy session", "an oral exam", "a tax appointment"]), "{S} has {v}{when}.", "{S} {have|has} {v}{when}",
        tell=("{S} {have|has} {v}{t}.", "{S} {need|needs} to be at {v}{t}.", "There is {v} for {them}{t}.", "{S} {have|has} {v} coming up{t}.", "{S} got {v}{t}.", "Don't let {them} forget {v}{t}.", "{S} scheduled {v}{t}.", "{S} {have|has} {v} planned{t}."),
        end=("{S} cancelled {v}.", "{S} {don't|doesn't} have {v} any more.", "{S's} date for {v} was cancelled.", "{S} called off {v}.", "{S} no longer {have|has} {v}."),
        ask=("What does {S} have{when}?", "What appointment does {S} have{when}?", "What is {S} doing{when}?", "What has {S} got planned{when}?", "What is scheduled for {S}{when}?"),
        yesno=("Does {S} have {v}?", "Is there {v} for {S}?", "Has {S} got {v}?", "Does {S} have {v} coming up?", "Did {S} schedule {v}?"),
        when=("When does {S} have {v}?", "When is {v} of {S}?", "On what date does {S} have {v}?", "What day does {S} have {v}?", "When has {S} got {v}?"),
    ),
    Family(
        "favourite", "single", lambda r, s: "", "{S's} favorite {noun} is {v}.", "{S's} favorite {noun} is {v}",
        tell=("{S's} favorite {noun} is {v}.", "{v} is {S's} favorite {noun}.", "{S's} favorite {noun} has always been {v}.", "If {S} had to pick a {noun}, it would be {v}.", "Of all things, {S's} favorite {noun} is {v}.", "As for a favorite {noun}, {S} would say {v}.", "{S} would choose {v} as {their} favorite {noun}."),
        change=("{S's} favorite {noun} is {v} now.", "{S's} new favorite {noun} is {v}.", "{S's} favorite {noun} is no longer {old} but {v}.", "{S} {like|likes} {v} more than {old} now as a {noun}.", "{S's} favorite {noun} changed from {old} to {v}."),
        ask=("What is {S's} favorite {noun}?", "Which {noun} does {S} like best?", "What {noun} does {S} prefer?", "Which {noun} is {S's} favorite?", "What would {S} name as a favorite {noun}?"),
        yesno=("Is {v} {S's} favorite {noun}?", "Is {S's} favorite {noun} {v}?", "Does {S} like {v} best as a {noun}?", "Is {v} the favorite {noun} of {S}?", "Would {S} name {v} as a favorite {noun}?"),
        who=("Whose favorite {noun} is {v}?",),
        noun="color",
    ),
    Family(
        "goal", "event", lambda r, s: r.choice(w.part(["learn {L}", "run a marathon", "write a novel", "start a podcast", "open a bakery", "lose five kilos", "save for a house", "learn to swim", "quit smoking", "build a boat", "climb Mont Blanc", "read fifty books", "learn the {I}", "start a garden", "become a better cook", "get a driving licence", "volunteer at a shelter", "start a company", "learn to sail", "run a half marathon", "paint the kitchen", "restore an old car", "write a song", "finish a degree", "walk the Camino"], s)).format(L=r.choice(w.part(w.LANGUAGES, s)), I=r.choice(["guitar", "piano", "violin", "cello", "flute"])), "{S} wants to {v}.", "{S} {want|wants} to {v}",
        tell=("{S} {want|wants} to {v}.", "{S's} goal is to {v}.", "{S} {hope|hopes} to {v} one day.", "{S} {dream|dreams} of the day {they} {v}.|{S} {dream|dreams} of it: to {v}.", "{S} {have|has} decided to {v}.", "This year {S} would like to {v}.", "{S's} dream is to {v}.", "{S} {have|has} set {themself} the goal to {v}."),
        end=("{S} gave up the plan to {v}.", "{S} no longer {want|wants} to {v}.", "{S} {don't|doesn't} want to {v} any more.", "{S} dropped the idea to {v}.", "{S} abandoned the goal to {v}."),
        ask=("What does {S} want to do?", "What is {S's} goal?", "What does {S} hope to do?", "What is {S's} dream?", "What has {S} set as a goal?"),
        yesno=("Does {S} want to {v}?", "Is it {S's} goal to {v}?", "Does {S} hope to {v}?", "Is {S's} dream to {v}?", "Would {S} like to {v}?"),
        who=("Who wants to {v}?", "Whose goal is to {v}?", "Which person wants to {v}?", "Who hopes to {v}?", "Whose dream is to {v}?"),
    ),
    Family(
        "kin", "single", lambda r, s: pick(r, w.NAMES, s, 0.25), "{S's} {noun} is named {v}.", "{S's} {noun} is called {v}",
        tell=("{S's} {noun} is called {v}.", "{S's} {noun} is named {v}.", "{S} {have|has} {an} called {v}.", "The name of {S's} {noun} is {v}.", "{S's} {noun} goes by the name of {v}.", "{v} is the name of {S's} {noun}.", "{S} {have|has} {an} and the name is {v}."),
        change=("{S's} {noun} is called {v}, not {old}.", "{S's} {noun} changed names from {old} to {v}.", "{S} {have|has} a new {noun} called {v}.", "The name of {S's} {noun} is {v} and not {old}.", "{S's} {noun} goes by {v} now."),
        ask=("What is the name of {S's} {noun}?", "What is {S's} {noun} called?", "Who is {S's} {noun}?", "What is {S's} {noun} named?", "What name does {S's} {noun} have?"),
        yesno=("Is {S's} {noun} called {v}?", "Is {v} {S's} {noun}?", "Is {S's} {noun} named {v}?", "Is the name of {S's} {noun} {v}?", "Does {S} have {an} called {v}?"),
        who=("Whose {noun} is {v}?", "Whose {noun} is called {v}?", "Who has {an} called {v}?", "Who has {an} named {v}?", "Whose {noun} is named {v}?"),
        noun="sister", subjects="speaker",
    ),
    Family(
        "did", "event", of(w.DEEDS), "{S} {v}{when}.", "{S} {v}{when}",
        tell=("{S} {v}{t}.", "{S} {v}{t}, finally.", "Guess what, {S} {v}{t}.", "Listen, {S} {v}{t}.", "{S} {v}{t} and it went well.", "It happened: {S} {v}{t}.", "{S} {v}{t}!", "What a day: {S} {v}{t}.", "{S} {v}{t}, can you imagine?", "So {S} {v}{t}."),
        ask=("What did {S} do{when}?", "What has {S} done{when}?", "What was it that {S} did{when}?", "What was {S} up to{when}?", "What did {S} get done{when}?"),
        yesno=("Is it true that {S} {v}?", "Did {S} {b}?", "Is it right that {S} {v}?", "Did {S} really {b}?", "Is it correct that {S} {v}?"),
        when=("When did {S} {b}?", "On what date did {S} {b}?", "What day did {S} {b}?", "When was it that {S} {v}?", "When exactly did {S} {b}?"),
        who=("Who {v}?", "Which person {v}?", "Who was it that {v}?", "Who is the one that {v}?", "Who has told us that they {v}?"),
    ),
)  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}

CORRECT = (
    "Actually, {fact}, not {old}.", "Sorry, I meant {v}, not {old}.", "Correction: {v}, not {old}.", "I said {old} earlier, but it is {v}.", "Wait, it isn't {old}, it's {v}.",
    "I made a mistake: {fact}, not {old}.", "Oh, I got that wrong, {fact} and not {old}.", "Not {old}, {v}! I mixed them up.", "I misspoke, {fact}, not {old}.", "Let me correct myself: {v} instead of {old}.",
)  # fmt: skip
RETRACT = (
    "Forget what I said about {v}.", "Please forget that {fact}.", "It isn't true that {fact}.", "I was joking when I said that {fact}.", "Ignore what I told you about {v}.",
    "Please delete what I said about {v}.", "Forget that {fact}.", "Strike that, it is not the case that {fact}.", "Don't remember that {fact}.", "Scrap what I said about {v}, it was wrong.",
    "Could you forget about {v}? It was not right.", "You can forget about {v}.",
)  # fmt: skip
REPEAT = (
    "{fact}, as I said.", "As you know, {fact}.", "Like I told you, {fact}.", "I told you already that {fact}.", "Remember, {fact}.", "Did I mention that {fact}?", "Again, {fact}.", "You know that {fact}, right?",
    "I think I said before that {fact}.", "Still true: {fact}.",
)  # fmt: skip
REMEMBER = (
    "Remember that {fact}.",
    "Please note that {fact}.",
    "Just so you know, {fact}.",
    "For the record, {fact}.",
    "You should know that {fact}.",
    "Please keep in mind that {fact}.",
    "One thing about {them}: {fact}.",
    "I wanted to tell you that {fact}.",
)
SMALL_TALK = (
    "How are you today?", "That sounds great!", "I'm so happy for you.", "What a lovely day it is.", "Thanks for telling me!", "Wow, really?", "Tell me more about it.", "I can't believe it is already {day}.", "What are you up to?",
    "It was so nice to see you.", "Good luck with that!", "That must have been hard.", "I hope you feel better soon.", "Congratulations, {other}!", "See you later, {other}.", "How was your weekend, {other}?", "Haha, that is funny.",
    "The weather has been awful lately.", "I totally agree with you.", "You are so kind.", "Let's talk again soon.", "What do you think about it?", "That is a good question.", "No way!", "I'm a bit tired today.", "Sounds like fun!",
    "I know what you mean.", "Have you seen the news?", "Take care of yourself.", "Oh no, I'm sorry to hear that.", "Good morning, {other}!", "It's been a long day.", "You always know what to say.", "I need a coffee.", "Do you have any plans for {day}?",
    "What is your favorite thing about it?", "Is {v} nice at this time of year?", "Have you ever tried {v}?", "Do you like {v}?", "I heard {v} is nice.", "Where do you live, {other}?", "How old are you, {other}?", "Do you have any pets, {other}?",
    "What do you do for a living?", "Have you ever been to {v}?", "Someone was talking about {v} on the radio.", "Many people like {v}.", "What is your opinion on {v}?", "I'm glad it is {day}.", "Long time no see!", "Cheers!", "Amazing, keep it up!",
    "Can you believe how fast time flies?", "I'll call you tomorrow.", "Let me know how it goes.", "My phone is almost dead, talk later.", "That reminds me of something.", "You should be proud of yourself, {other}.", "Life is full of surprises.", "Fingers crossed!",
)  # fmt: skip
OPENERS = (
    "Hey {other}! ",
    "Guess what! ",
    "By the way, ",
    "Oh, ",
    "So, ",
    "Hi {other}, ",
    "You won't believe it, but ",
    "Good news: ",
    "Well, ",
    "I've got news. ",
    "Thanks, {other}! ",
    "Not sure I told you, but ",
    "Hello! ",
    "Sad news: ",
    "Speaking of which, ",
)
CLOSERS = (
    " It's been great.",
    " I'm so happy!",
    " How are you?",
    " What about you?",
    " It means a lot to me.",
    " Crazy, right?",
    " I wanted you to know.",
    " What do you think?",
    " Let's see how it goes.",
    " That's all for now.",
    " Isn't that nice?",
    " Life goes on.",
)
FOLLOW = (
    " Also, ",
    " And ",
    " Besides, ",
    " Oh, and ",
    " Another thing: ",
    " In other news, ",
    " Apart from that, ",
    " What's more, ",
)
