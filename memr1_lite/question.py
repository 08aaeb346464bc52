"""What a question says about where to look: its words, the speakers it names, and the days it names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from memr1_lite.dates import MONTHS
from memr1_lite.embedders import keywords, words
from memr1_lite.records import DEFAULT_SPEAKER

FIRST_PERSON = frozenset({"i", "me", "my", "mine", "myself"})

_MONTH = "(?P<month>" + "|".join(MONTHS) + ")"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>(?:19|20)\d\d)"
# The fullest first: a part of what one of them has read is not read again. A month alone needs a word before it that
# makes it one, since May and March are words too.
_DAYS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?P<year>(?:19|20)\d\d)-(?P<number>\d\d)-(?P<day>\d\d)\b",
        rf"\b{_DAY}(?:\s+of)?\s+{_MONTH}\b(?:,?\s+{_YEAR})?\b",
        rf"\b{_MONTH}\s+{_DAY}\b(?:,?\s+{_YEAR})?",
        rf"\b{_MONTH},?\s+(?:of\s+)?{_YEAR}\b",
        rf"\b(?:in|during|of|since|until|by|last|this|early|late|mid)[ -]{_MONTH}\b",
        rf"\b{_YEAR}\b",
    )
]
_PERHAPS_A_DAY = re.compile(r"\d\d|" + "|".join(MONTHS), re.IGNORECASE)
"""What each of them needs: most questions name no day, and are read once instead of a dozen times."""


@dataclass(frozen=True, slots=True)
class NamedDays:
    """The days that a question names: each part that it leaves open may be anything."""

    year: int | None = None
    month: int | None = None
    day: int | None = None

    def holds(self, at: str | None) -> bool:
        """Whether a moment in ISO 8601 lies on such a day."""
        if at is None:
            return False
        parts = int(at[:4]), int(at[5:7]), int(at[8:10])
        return all(asked in (None, part) for asked, part in zip((self.year, self.month, self.day), parts, strict=True))


@dataclass(frozen=True, slots=True)
class Question:
    """``words`` are worth searching for; those in ``names`` are part of a speaker's name."""

    text: str
    words: tuple[str, ...]
    names: frozenset[str]
    days: tuple[NamedDays, ...]

    def names_speaker(self, speaker: str | None) -> bool:
        """Whether the question names this speaker."""
        return speaker is not None and not self.names.isdisjoint(words(speaker))

    def names_day(self, at: str | None) -> bool:
        """Whether the question names the day of a moment in ISO 8601."""
        return any(days.holds(at) for days in self.days)


def understood(text: str, speakers: Iterable[str]) -> Question:
    """Read ``text``, asked of a bank where ``speakers`` spoke."""
    if FIRST_PERSON.intersection(words(text)):  # who asks about "me" is the app's own user, whom memories name so
        text = f"{text} {DEFAULT_SPEAKER}"
    asked = keywords(text)
    names = {word for speaker in speakers for word in words(speaker)}
    return Question(text, tuple(asked), frozenset(names.intersection(asked)), tuple(_days(text)))


def _days(text: str) -> list[NamedDays]:
    found: list[NamedDays] = []
    if _PERHAPS_A_DAY.search(text) is None:
        return found
    for pattern in _DAYS:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            month = int(parts["number"]) if parts.get("number") else _month(parts.get("month"))
            year, day = (int(parts[part]) if parts.get(part) else None for part in ("year", "day"))
            found.append(NamedDays(year, month, day))
        text = pattern.sub(" ", text)
    return found


def _month(name: str | None) -> int | None:
    return None if name is None else MONTHS.index(name.capitalize()) + 1
