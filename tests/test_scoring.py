from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memr1_lite.question import NamedDays, understood
from memr1_lite.scoring import laid_out, most_wanted, rarity, reached, spread, standing_in

ids = st.lists(st.integers(1, 80), min_size=1, max_size=12, unique=True).map(lambda items: np.array(sorted(items)))


@settings(max_examples=200, deadline=None)
@given(hits=ids, reach=st.integers(1, 6))
def test_near_ids_lie_as_near_as_they_are_and_others_out_of_reach(hits, reach):
    pool = laid_out(hits, reach)
    assert (np.diff(pool) > 0).all()
    around = {item + step for item in hits.tolist() for step in range(-reach, reach + 1)}
    assert set(pool.tolist()) == around
    found = np.searchsorted(pool, hits)
    for one, item in zip(found, hits, strict=True):
        for other, another in zip(found, hits, strict=True):
            apart = abs(item - another)
            assert abs(one - other) == apart if apart <= 2 * reach + 1 else abs(one - other) > reach


@settings(max_examples=100, deadline=None)
@given(hits=ids, holders=st.lists(ids, min_size=1, max_size=3))
def test_a_word_counts_for_its_neighbours_by_the_nearest_turn_that_holds_it(hits, holders):
    reach = (1.0, 0.6, 0.4)
    pool = laid_out(np.unique(np.concatenate([hits, *holders])), 2)
    held = np.array([np.isin(pool, holder) for holder in holders])
    counts = reached(held, reach)
    for row, holder in enumerate(holders):
        for place, item in enumerate(pool.tolist()):
            nearest = min(abs(item - other) for other in holder.tolist())
            assert counts[row, place] == (reach[nearest] if nearest < len(reach) else 0.0)


def test_cosines_of_neighbours_are_averaged_with_less_weight():
    spread_out = spread(np.array([0.0, 1.0, 0.0, 0.0, 0.5]), (1.0, 0.4, 0.2))
    assert spread_out == pytest.approx(np.array([0.4, 1.0, 0.5, 0.4, 0.5]) / 2.2)


def test_a_rare_word_says_more_than_a_common_one_and_neither_says_nothing():
    rare, common, everywhere = rarity([1, 50, 100], 100)
    assert rare > common > everywhere > 0


def test_where_too_many_hold_a_word_those_with_the_rarest_words_are_kept_and_the_newest():
    holding = [np.arange(1, 100), np.array([3, 7])]
    assert most_wanted(holding, np.array([0.1, 5.0]), 4).tolist() == [3, 7, 98, 99]
    assert most_wanted([], np.array([]), 4).tolist() == []


@settings(max_examples=100, deadline=None)
@given(holders=st.lists(ids, max_size=4), limit=st.integers(1, 20))
def test_the_most_wanted_are_those_that_hold_most_by_weight(holders, limit):
    weights = np.array([1.0, 2.0, 4.0, 8.0])[: len(holders)]
    sums = {}
    for weight, holder in zip(weights.tolist(), holders, strict=True):
        for item in holder.tolist():
            sums[item] = sums.get(item, 0.0) + weight
    best = sorted(sums, key=lambda item: (-sums[item], -item))[:limit]
    assert most_wanted(holders, weights, limit).tolist() == sorted(best)


@given(pool=ids, holders=st.lists(st.one_of(ids, st.just(np.zeros(0, np.int64))), max_size=3))
def test_which_word_stands_in_which_unit(pool, holders):
    expected = [np.isin(pool, holder).tolist() for holder in holders]
    assert standing_in(pool, holders).tolist() == expected


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("What happened on 7 May 2023?", [NamedDays(2023, 5, 7)]),
        ("On May 7th, 2023 or the 3rd of June?", [NamedDays(None, 6, 3), NamedDays(2023, 5, 7)]),
        ("Was it 2023-05-07?", [NamedDays(2023, 5, 7)]),
        ("In October 2023 or in 2021?", [NamedDays(2023, 10), NamedDays(2021)]),
        ("What did she do in March?", [NamedDays(None, 3)]),
        ("May I march in 12 shoes?", []),
        ("Since when has it cost 20000?", []),
    ],
)
def test_the_days_that_a_question_names(text, days):
    assert list(understood(text, []).days) == days


def test_the_speakers_that_a_question_names():
    question = understood("Did Andrew's sister meet Anna Lee?", ["Andrew", "anna", "Bob"])
    assert question.names == {"andrew", "anna"}
    assert question.names_speaker("Andrew Smith")
    assert not question.names_speaker("Bob")
    assert not question.names_speaker(None)


def test_a_question_about_me_is_about_the_user():
    assert understood("What do I like?", ["user"]).names == {"user"}
