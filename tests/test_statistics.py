"""Intervals and tests, by hand arithmetic."""

from __future__ import annotations

import pytest

from memr1_lite.evaluation.locomo import CATEGORIES, PAPER_LABELS
from memr1_lite.evaluation.statistics import bootstrap_interval, mcnemar, paired_test, share_interval
from memr1_lite.evaluation.tables import percent, table


def test_wilsons_interval_by_hand():
    interval = share_interval(5, 10)
    assert (round(interval.low, 4), interval.value, round(interval.high, 4)) == (0.2366, 0.5, 0.7634)
    assert share_interval(0, 0).high - share_interval(0, 0).low == 1.0


def test_an_interval_of_equal_scores_has_no_width():
    interval = bootstrap_interval({"one": [0.5, 0.5], "two": [0.5]})
    assert (interval.low, interval.value, interval.high) == (0.5, 0.5, 0.5)


def test_the_mean_is_over_questions_not_over_conversations():
    assert bootstrap_interval({"long": [1.0, 1.0, 1.0], "short": [0.0]}).value == 0.75


def test_conversations_that_disagree_make_a_wider_interval_than_their_questions_alone():
    apart = bootstrap_interval({"easy": [1.0] * 50, "hard": [0.0] * 50})
    mixed = bootstrap_interval({"all": [1.0, 0.0] * 50})
    assert apart.high - apart.low > 2 * (mixed.high - mixed.low)
    assert apart == bootstrap_interval({"easy": [1.0] * 50, "hard": [0.0] * 50})


def test_mcnemar_by_hand():
    assert mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 1024)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0


def test_two_systems_are_compared_question_by_question():
    compared = paired_test({"a": [1.0] * 9 + [0.0]}, {"a": [0.0] * 9 + [1.0]})
    assert (compared.better, compared.worse, compared.difference.value) == (9, 1, pytest.approx(0.8))
    assert compared.p == pytest.approx(mcnemar(9, 1))


def test_scores_between_are_compared_by_flipping_signs():
    better = paired_test({"a": [0.6 + 0.01 * step for step in range(8)]}, {"a": [0.1] * 8})
    assert better.p == pytest.approx(2 / 2**8, abs=0.004)  # only all eight signs alike are as extreme
    assert paired_test({"a": [0.3, 0.2]}, {"a": [0.2, 0.3]}).p == 1.0


def test_questions_that_do_not_match_cannot_be_compared():
    with pytest.raises(ValueError, match="longer"):
        paired_test({"a": [1.0]}, {"a": [1.0, 0.0]})


def test_a_table_lines_its_columns_up():
    lines = table(["name", "n"], [["one", "1"], ["eleven", "11"]])
    assert lines == ["| name   |  n |", "|--------|---:|", "| one    |  1 |", "| eleven | 11 |"]
    assert percent(share_interval(5, 10)) == "50.0 [23.7, 76.3]"


# Memory-R1 (arXiv 2508.19828v5), table 1, LLaMA-3.1-8B with GRPO: questions, F1, BLEU-1, J under the printed labels.
PUBLISHED = {
    "Single Hop": (239, 35.73, 27.70, 59.83),
    "Multi-Hop": (83, 35.65, 30.77, 53.01),
    "Open Domain": (727, 47.42, 41.24, 68.78),
    "Temporal": (258, 49.86, 38.27, 51.55),
}
OVERALL = (45.02, 37.51, 62.74)


def test_the_papers_overall_is_the_mean_over_its_1307_questions_as_ours_is():
    counts = [row[0] for row in PUBLISHED.values()]
    assert sum(counts) == 1307
    for column, overall in enumerate(OVERALL, start=1):
        scores = [row[column] for row in PUBLISHED.values() for _ in range(row[0])]
        talks = {str(start): scores[start::8] for start in range(8)}  # however they lie in the eight conversations
        assert bootstrap_interval(talks, resamples=2).value == pytest.approx(overall, abs=0.006)


def test_the_papers_judge_scores_are_whole_numbers_of_questions_only_under_the_true_categories():
    """239 questions are LoCoMo's category 1, multi-hop, which the paper prints as Single Hop; and so on."""
    by_category = {number: PUBLISHED[label] for number, label in PAPER_LABELS.items()}
    for count, _, _, judged in by_category.values():
        assert round(100 * round(count * judged / 100) / count, 2) == judged
    right = sum(round(count * judged / 100) for count, _, _, judged in by_category.values())
    assert right / 1307 == pytest.approx(OVERALL[2] / 100, abs=1e-4)
    assert {CATEGORIES[n]: by_category[n][0] for n in by_category} == {
        "multi-hop": 239,
        "temporal": 258,
        "open-domain": 83,
        "single-hop": 727,
    }
