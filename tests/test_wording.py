from __future__ import annotations

import itertools

import numpy as np
import pytest
from evaluators import FunctionModel
from hypothesis import given
from hypothesis import strategies as st

from memr1_lite.llama.decoding import Decoding
from memr1_lite.llama.wording import WORD, TokenForms, Wording, words_of
from memr1_lite.llm import END, FreeText

PIECES = " Hel|s|ink|i|ee| lives| in|.| |'s| O|slo|(| the|é| parrot".split("|")
PIECES += [letter for letter in "HelnkiOo15parrotvth" if letter not in PIECES]  # every byte stands alone too
END_ID = len(PIECES)
FORMS = TokenForms({token: piece.encode() for token, piece in enumerate(PIECES)}, len(PIECES) + 1)


def next_pieces(wording, written):
    mask, whole = wording.allowed(written.encode())
    return {PIECES[token] for token in np.flatnonzero(mask)}, whole


def test_words_are_runs_of_letters_and_digits_in_either_case_and_plural():
    assert {b"Oslo", b"oslo", b"Oslos", b"15", b"caf\xc3\xa9"} <= words_of("(Oslo), 15 café!")
    assert b"Oslo," not in words_of("Oslo, Rome")


def test_a_word_once_begun_can_only_go_on_as_one_that_was_read():
    wording = Wording(FORMS, words_of("Helsinki, 15 June") | {b"lives", b"in"})
    assert next_pieces(wording, " Hel") == ({"s"}, False)
    assert next_pieces(wording, " Hels") == ({"i", "ink"}, False)
    begun, whole = next_pieces(wording, " Helsinki")
    assert whole
    assert {".", " lives", "s"} <= begun
    assert "ee" not in begun
    assert " O" not in begun


def test_numbers_are_words_too():
    wording = Wording(FORMS, words_of("on 15 June"))
    assert next_pieces(wording, " on ")[0] >= {"1"}
    assert "5" not in next_pieces(wording, " on ")[0]
    assert next_pieces(wording, " on 1") == ({"5"}, False)


def test_nothing_that_was_not_read_can_begin():
    wording = Wording(FORMS, words_of("a parrot"))
    assert {" parrot", ".", " ", "("} <= next_pieces(wording, "")[0]
    assert not {" Hel", " lives", " the"} & next_pieces(wording, "")[0]


class Codec:
    free_text_bias = np.where(np.arange(len(PIECES) + 1) == END_ID, -np.inf, 0).astype(np.float32)

    def tokenize(self, segment):
        return []

    def piece(self, token):
        return PIECES[token].encode()


@given(st.integers(0, 2**32 - 1), st.sampled_from(["Helsinki", "Oslo lives in Helsinki", "15 parrots", "é"]))
def test_whatever_the_model_wants_only_words_read_or_its_own_are_written(seed, read):
    rng = np.random.default_rng(seed)
    words = words_of(read) | {b"in", b"the"}

    def logits_after(ids):
        logits = rng.normal(size=len(PIECES) + 1).astype(np.float32)
        logits[END_ID] += 1.5
        return logits

    class Once:
        def next_step(self, values):
            return None if values else FreeText(stop=END, max_tokens=400)

    value = Decoding(Codec(), END_ID, [0], FunctionModel(logits_after), Wording(FORMS, words)).run(Once()).values[0]
    assert value.strip()
    assert set(WORD.findall(value.encode())) <= words


@pytest.mark.parametrize("written", ["", " Helsinki", " Hel", " 1"])
def test_there_is_always_a_way_on(written):
    mask, whole = Wording(FORMS, words_of("Helsinki 15")).allowed(written.encode())
    assert mask.any() or whole


def test_no_two_words_follow_each_other_twice():
    wording = Wording(FORMS, {b"the", b"parrot", b"in"})
    assert " parrot" in next_pieces(wording, " the")[0]
    assert " parrot" not in next_pieces(wording, " the parrot, the")[0]
    assert not next_pieces(wording, " the parrot, the parrot")[1]
    assert " in" in next_pieces(wording, " the parrot, the")[0]


def naively_allowed(forms, words, written):
    """What may come next, from the definition: by trying every token."""
    said = WORD.findall(written)
    begun = said.pop() if said and written.endswith(said[-1]) else b""

    def after(said):
        return {b for a, b in itertools.pairwise(said) if a == said[-1]}

    def beginnings(of):
        return {word[:end] for word in of for end in range(1, len(word) + 1)}

    fresh, rest, bare = words - after([*said, begun] if begun else said), set(), not begun
    whole = not begun or (begun in words and begun not in after(said))
    if begun:
        rest = beginnings({w[len(begun) :] for w in words - after(said) if w.startswith(begun) and w != begun})
    mask = np.zeros(forms.size, dtype=bool)
    for token, piece in enumerate(PIECES):
        runs = list(WORD.finditer(piece.encode()))
        letters = runs[0].group() if runs else b""
        starts = bool(runs) and runs[0].start() > 0
        if not letters:
            mask[token] = whole
        elif starts:
            mask[token] = whole and letters in beginnings(fresh)
        else:
            mask[token] = letters in rest or (bare and letters in beginnings(fresh))
    return mask, whole


@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.sets(st.sampled_from([b"Helsinki", b"Oslo", b"lives", b"in", b"the", b"parrot", b"s", b"15", b"Hel"])),
)
def test_what_is_allowed_is_what_the_definition_says(written, words):
    mask, whole = Wording(FORMS, words).allowed(written.encode())
    expected, expected_whole = naively_allowed(FORMS, words, written.encode())
    assert whole == expected_whole
    assert {PIECES[n] for n in np.flatnonzero(mask)} == {PIECES[n] for n in np.flatnonzero(expected)}
