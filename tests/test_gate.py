"""The cheap gate: what passes it, and what is never held back."""

from __future__ import annotations

from datetime import datetime

import pytest

from memr1_lite.errors import InvalidInputError
from memr1_lite.gate import check_line, check_text, is_chit_chat, says_the_same

MAY, JUNE = datetime(2023, 5, 1), datetime(2023, 6, 1)


@pytest.mark.parametrize(
    "text", ["Hi!", "ok", "Thank you so much!!", "Haha, great!", "Hello, how are you?", "What's up"]
)
def test_greetings_thanks_and_laughter_need_no_model(text):
    assert is_chit_chat(text)


@pytest.mark.parametrize(
    "text",
    [
        "Yes.",
        "No",
        "Me too!",
        "Sure",
        "Hi, I moved to Lyon.",
        "Hello Lyon!",
        "Great dog",
        "🎉",
        "...",
        "lol " * 13,
        "5",
    ],
)
def test_anything_that_may_be_a_fact_or_an_answer_goes_to_the_manager(text):
    assert not is_chit_chat(text)


def test_the_same_words_are_the_same_whatever_their_case_and_punctuation():
    assert says_the_same("I like tea!", MAY, "i LIKE tea", JUNE)
    assert not says_the_same("I like tea", MAY, "I like coffee", MAY)


def test_a_relative_date_said_on_two_days_is_two_facts():
    assert says_the_same("I ran yesterday.", MAY, "I ran yesterday", MAY)
    assert not says_the_same("I ran yesterday.", MAY, "I ran yesterday", JUNE)


@pytest.mark.parametrize("text", ["", " \n\t", "a\0b", "half \ud83d", "x" * 11, 7, None])
def test_a_text_that_cannot_be_kept_is_refused(text):
    with pytest.raises(InvalidInputError, match="text"):
        check_text(text, "text", 10)


@pytest.mark.parametrize("line", ["", "  ", "two\nlines", "x" * 11, "a\0b", "\udc00"])
def test_a_speaker_is_one_visible_line(line):
    with pytest.raises(InvalidInputError, match="speaker"):
        check_line(line, "speaker", 10)
