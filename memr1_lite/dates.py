"""Dates: read strictly, written in words, and relative ones resolved beside the words that said them.

Small models copy well and compute badly, so "yesterday" reaches them as "yesterday (15 June 2023)".
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

from dateutil.parser import isoparse
from dateutil.relativedelta import relativedelta

from memr1_lite.errors import InvalidInputError

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
NUMBERS = {
    word: value
    for value, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
} | {"a": 1, "an": 1, "a couple of": 2, "a few": 3}

_COUNT = r"(\d{1,3}|" + "|".join(sorted(NUMBERS, key=len, reverse=True)) + ")"
_WHOLE = r"(?<!half )(?<!\d[.,/-])"
"""Not the end of "half a year ago", "1.5 years ago" or "3-4 days ago": these name no day."""
_UNIT = r"(day|week|month|year)s?"
_RELATIVE = re.compile(
    rf"\b(?:(?P<before>the day before yesterday)|(?P<after>the day after tomorrow)"
    rf"|(?P<today>today|tonight|this morning|this afternoon|this evening)"
    rf"|(?P<yesterday>yesterday|last night)|(?P<tomorrow>tomorrow)"
    rf"|{_WHOLE}{_COUNT}\s+{_UNIT}\s+ago|in\s+{_COUNT}\s+{_UNIT}"
    rf"|(?P<which>last|next|this)\s+(?P<what>{'|'.join(WEEKDAYS)}|week|weekend|month|year))\b(?!'s)",
    re.IGNORECASE,
)
_GIVE = "give a datetime or ISO 8601 text, such as '2023-06-16' or '2023-06-16T19:20'."


def as_datetime(at: str | date | datetime | None, name: str = "at") -> datetime | None:
    """Read a moment: a datetime, a date, or an ISO 8601 text such as ``2023-06-16`` or ``2023-06-16T19:20``.

    The result has no time zone: it is the speaker's own clock.

    :param name: the argument that it is, for the error
    :raises InvalidInputError: not such a text
    """
    if at is None:
        return None
    if isinstance(at, datetime):
        return at.replace(tzinfo=None)
    if isinstance(at, date):
        return datetime.combine(at, time.min)
    try:
        return isoparse(at.strip()).replace(tzinfo=None)
    except (ValueError, AttributeError, OverflowError) as error:
        raise InvalidInputError(f"{name}={at!r} is not a date: {_GIVE}") from error


def as_instant(at: str | date | datetime, name: str) -> datetime:
    """Read a moment of this machine's clock, as :func:`as_datetime` does, but with its time zone: here, if none.

    :param name: the argument that it is, for the error
    :raises InvalidInputError: not such a text
    """
    try:
        return (at if isinstance(at, datetime) else isoparse(str(at).strip())).astimezone()
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"{name}={at!r} is not a moment: {_GIVE}") from error


def written_date(at: datetime | date | None) -> str:
    """A day in words, ``16 June 2023``; ``no date`` where there is none."""
    return "no date" if at is None else f"{at.day} {MONTHS[at.month - 1]} {at.year}"


def resolved(text: str, at: datetime | None) -> str:
    """``text`` with the date that each relative expression means, said on ``at``, in brackets behind it.

    >>> resolved("We met yesterday.", datetime(2023, 6, 16))
    'We met yesterday (15 June 2023).'
    """
    if at is None:
        return text
    day = at.date()

    def annotated(match: re.Match[str]) -> str:
        try:
            meant = _meant(match, day)
        except (ValueError, OverflowError):  # before year 1 or after 9999: leave the words as they are
            return match.group()
        return f"{match.group()} ({meant})"

    return _RELATIVE.sub(annotated, text)


def _meant(match: re.Match[str], day: date) -> str:
    offsets = {"before": -2, "yesterday": -1, "today": 0, "tomorrow": 1, "after": 2}
    for name, offset in offsets.items():
        if match[name]:
            return written_date(day + timedelta(days=offset))
    if match["which"]:
        return _named(match["which"].lower(), match["what"].lower(), day)
    counts = [group for group in match.groups()[5:9] if group]
    count, unit = counts[0].lower(), counts[1].lower()
    number = int(count) if count.isdigit() else NUMBERS[count]
    sign = 1 if match.group().lower().startswith("in") else -1
    return _period(unit, day + sign * relativedelta(**{f"{unit}s": number}))  # type: ignore[arg-type]


def _named(which: str, what: str, day: date) -> str:
    step = {"last": -1, "this": 0, "next": 1}[which]
    if what in WEEKDAYS:
        return written_date(_weekday(step, WEEKDAYS.index(what), day))
    if what == "weekend":
        return "the weekend of " + written_date(_weekday(step or 1, 5, day))
    if what == "week":
        return "the week of " + written_date(day - timedelta(days=day.weekday()) + timedelta(weeks=step))
    return _period(what, day + relativedelta(**{f"{what}s": step}))  # type: ignore[arg-type]


def _weekday(step: int, weekday: int, day: date) -> date:
    """The last one before ``day``, the next one after it, or the one in its own week."""
    distance = weekday - day.weekday()
    if step < 0:
        return day + timedelta(days=distance if distance < 0 else distance - 7)
    if step > 0:
        return day + timedelta(days=distance if distance > 0 else distance + 7)
    return day + timedelta(days=distance)


def _period(unit: str, day: date) -> str:
    if unit == "year":
        return str(day.year)
    if unit == "month":
        return f"{MONTHS[day.month - 1]} {day.year}"
    return written_date(day)
