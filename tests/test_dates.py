"""Dates: read strictly, and relative ones resolved beside the words that said them, from a Friday."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from memr1_lite.dates import as_datetime, resolved, written_date
from memr1_lite.errors import InvalidInputError

FRIDAY = datetime(2023, 6, 16, 19, 20)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("today", "16 June 2023"),
        ("this morning", "16 June 2023"),
        ("Yesterday", "15 June 2023"),
        ("last night", "15 June 2023"),
        ("the day before yesterday", "14 June 2023"),
        ("tomorrow", "17 June 2023"),
        ("the day after tomorrow", "18 June 2023"),
        ("three days ago", "13 June 2023"),
        ("20 days ago", "27 May 2023"),
        ("a couple of weeks ago", "2 June 2023"),
        ("in a week", "23 June 2023"),
        ("two months ago", "April 2023"),
        ("in six months", "December 2023"),
        ("12 years ago", "2011"),
        ("last Monday", "12 June 2023"),
        ("last Friday", "9 June 2023"),
        ("this Friday", "16 June 2023"),
        ("next Friday", "23 June 2023"),
        ("this Sunday", "18 June 2023"),
        ("last week", "the week of 5 June 2023"),
        ("this week", "the week of 12 June 2023"),
        ("next weekend", "the weekend of 17 June 2023"),
        ("last weekend", "the weekend of 10 June 2023"),
        ("next month", "July 2023"),
        ("last year", "2022"),
    ],
)
def test_a_relative_date_is_written_out_behind_its_words(said, meant):
    assert resolved(f"It was {said}, I think.", FRIDAY) == f"It was {said} ({meant}), I think."


@pytest.mark.parametrize(
    "said",
    [
        "half a year ago",
        "1.5 years ago",
        "2,5 years ago",
        "3-4 days ago",
        "1/2 days ago",
        "1000 days ago",
        "in 9000 years",
        "today's",
        "yesteryear",
        "16 June",
    ],
)
def test_what_names_no_day_stays_as_it_was_said(said):
    assert resolved(f"It was {said}.", FRIDAY) == f"It was {said}."


@pytest.mark.parametrize(("said", "at"), [("12 years ago", datetime(5, 1, 1)), ("tomorrow", datetime(9999, 12, 31))])
def test_a_day_that_no_calendar_has_is_not_written_out(said, at):
    assert resolved(said, at) == said


def test_without_a_date_nothing_is_resolved():
    assert resolved("We met yesterday.", None) == "We met yesterday."
    assert written_date(None) == "no date"


def test_months_are_counted_to_their_last_day():
    assert resolved("in a month", datetime(2024, 1, 31)) == "in a month (February 2024)"


@pytest.mark.parametrize(
    ("at", "read"),
    [
        (None, None),
        ("2023-06-16", datetime(2023, 6, 16)),
        (" 2023-06-16T19:20 ", FRIDAY),
        (date(2023, 6, 16), datetime(2023, 6, 16)),
        (FRIDAY.replace(tzinfo=timezone(timedelta(hours=9))), FRIDAY),  # the speaker's own clock
        ("2023-06-16T19:20+09:00", FRIDAY),
    ],
)
def test_a_moment_is_read_on_the_speakers_own_clock(at, read):
    assert as_datetime(at) == read


@pytest.mark.parametrize("at", ["soon", "16.6.2023", "2023-13-01", "", 20230616, 1.5])
def test_what_is_no_moment_is_refused_by_name(at):
    with pytest.raises(InvalidInputError, match="since="):
        as_datetime(at, "since")
