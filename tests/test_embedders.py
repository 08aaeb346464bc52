from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memr1_lite.embedders import MAX_KEYWORDS, LexicalEmbedder, keywords, stem


def cosine(one: str, other: str) -> float:
    left, right = LexicalEmbedder().embed([one, other])
    return float(left @ right)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_every_text_becomes_one_finite_unit_row(texts):
    rows = LexicalEmbedder().embed(texts)
    assert rows.shape == (len(texts), LexicalEmbedder().dimension) == (len(texts), 384)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)


def test_a_text_without_words_is_like_itself_and_unlike_others():
    assert cosine("🎉", " 🎉 ") == pytest.approx(1.0)
    assert cosine("", "   ") == pytest.approx(1.0)
    assert abs(cosine("🎉", "?!")) < 0.5
    assert abs(cosine("", "Andrew has a dog.")) < 0.5


def test_words_with_opposite_signs_do_not_cancel_to_nothing():
    assert np.linalg.norm(LexicalEmbedder().embed(["a" * 5000])[0]) == pytest.approx(1.0, abs=1e-5)


def test_another_process_with_another_hash_seed_makes_the_same_vectors():
    text = "Andrew adopted a dog named Buddy — déjà vu, don't ask! 狗"
    program = (
        "import sys, zlib; from memr1_lite.embedders import LexicalEmbedder;"
        "sys.stdout.write(str(zlib.crc32(LexicalEmbedder().embed([sys.argv[1]]).tobytes())))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, text],
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1", "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout) == zlib.crc32(LexicalEmbedder().embed([text]).tobytes())


def test_the_vectors_of_this_name_stay_what_they_are():
    # Banks hold vectors of the name lexical-1: whoever changes them changes the name.
    assert LexicalEmbedder().name == "lexical-1"
    row = LexicalEmbedder().embed(["Andrew adopted two dogs."])[0]
    assert zlib.crc32(np.round(row * 1000).astype("<i4").tobytes()) == 1861337956


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dog", "dogs"),
        ("adopt", "adopted"),
        ("adopt", "adopting"),
        ("move", "moved"),
        ("move", "moving"),
        ("city", "cities"),
        ("study", "studied"),
        ("stop", "stopped"),
        ("box", "boxes"),
        ("church", "churches"),
        ("andrew", "andrew's"),
    ],
)
def test_forms_of_a_word_meet(one, other):
    assert stem(one) == stem(other)


@pytest.mark.parametrize("word", ["bus", "class", "this", "sing", "red", "bed", "is", "as", "king"])
def test_short_words_keep_their_endings(word):
    assert stem(word) == word


def test_case_accents_and_typographic_apostrophes_do_not_matter():
    assert cosine("Andrew's café", "ANDREW\N{RIGHT SINGLE QUOTATION MARK}S CAFE\N{COMBINING ACUTE ACCENT}") > 0.99


def test_what_shares_words_is_nearer_than_what_shares_stop_words():
    question = "How many dogs does Andrew have?"
    assert cosine(question, "Andrew has a dog named Buddy.") > 0.4
    assert cosine(question, "Andrew has a dog named Buddy.") > cosine(question, "How many does she have?") + 0.1


def test_a_misspelt_word_is_still_near():
    assert cosine("restaurant", "restuarant") > 0.15
    assert cosine("restaurant", "restuarant") > cosine("restaurant", "bicycle") + 0.1


def test_a_word_said_often_counts_more_but_not_as_often_as_it_is_said():
    once, thrice = cosine("dog", "dog cat"), cosine("dog", "dog dog dog cat")
    assert once < thrice < 0.95


def test_keywords_are_the_words_worth_searching_for():
    assert keywords("How many dogs does Andrew's sister have, and which dogs?") == ["dogs", "andrew", "sister"]
    assert keywords("What did you do?") == []
    assert keywords('" OR * NEAR( -x') == ["near", "x"]
    assert keywords("O'Brien isn't here") == ["o'brien"]


def test_a_long_text_has_at_most_32_keywords():
    assert keywords(" ".join(f"word{number}" for number in range(99))) == [f"word{n}" for n in range(MAX_KEYWORDS)]
