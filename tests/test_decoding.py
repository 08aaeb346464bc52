"""Decoding under a template: what is evaluated when, and that drafts never change what is said."""

from __future__ import annotations

import numpy as np
import pytest
from evaluators import FunctionModel
from hypothesis import given, settings
from hypothesis import strategies as st

from memr1_lite.errors import InvalidInputError, MalformedOutputError, ModelError
from memr1_lite.llama.decoding import Decoding, sampler
from memr1_lite.llama.lookup import LONGEST, REMEMBERED, Pace, PromptLookup
from memr1_lite.llama.wording import TokenForms, Wording, words_of
from memr1_lite.llm import END, Choice, Forced, FreeText, Sampling

SIZE = 128
END_ID = SIZE - 1
LETTERS = np.arange(32, 127)


class Ascii:
    """A vocabulary of the printable ASCII characters."""

    free_text_bias = np.full(SIZE, -np.inf, dtype=np.float32)
    free_text_bias[LETTERS] = 0

    def tokenize(self, segment):
        return [ord(letter) for letter in segment.text]

    def piece(self, token):
        return bytes([token])


class Steps:
    def __init__(self, *steps):
        self.steps = steps

    def next_step(self, values):
        return self.steps[len(values)] if len(values) < len(self.steps) else None


class Eager(Pace):
    """Drafts always seem to pay."""

    def cost(self, tokens):
        return 1.0


def copying(seed, prompt, faith):
    """A model that goes on as its prompt went on after the last two tokens, with probability ``faith``."""

    def logits_after(ids):
        random = np.random.default_rng([seed, *ids[-3:], len(ids)])
        logits = random.normal(size=SIZE).astype(np.float32)
        logits[END_ID] += 2
        for place in range(2, len(prompt)):
            if prompt[place - 2 : place] == ids[-2:] and random.random() < faith:
                logits[prompt[place]] += 10
        return logits

    return logits_after


TEMPLATE = Steps(
    Choice(("ADD", "ANY", "[1]")),
    FreeText("\n", 40),
    Choice(("x", "yes")),
    FreeText(END, 30),
    Forced("!"),
    Choice("ab"),
)


def said(model, prompt, **how):
    try:
        return Decoding(Ascii(), END_ID, prompt, model, **how).run(TEMPLATE).values
    except MalformedOutputError as error:
        return error.raw


@pytest.mark.parametrize("own_words", [False, True])
@pytest.mark.parametrize("temperature", [None, 0.7])
@settings(deadline=None)  # a busy machine is no failure
@given(
    seed=st.integers(0, 2**32 - 1),
    text=st.sampled_from(["Andrew has a dog. Andrew has two dogs.\n", "aaaaaaaaaa", "[1] a b a b a b\n[1] b a b\n"]),
    faith=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_drafts_never_change_what_is_said(temperature, own_words, seed, text, faith):
    prompt = [ord(letter) for letter in text]
    pieces = {int(token): bytes([token]) for token in LETTERS}
    wording = Wording(TokenForms(pieces, SIZE), words_of(text) | {b"in"}) if own_words else None

    def how():
        return {"wording": wording} | ({} if temperature is None else {"pick": sampler(temperature, seed)})

    plain = FunctionModel(copying(seed, prompt, faith))
    drafting = FunctionModel(copying(seed, prompt, faith))
    assert said(drafting, prompt, pace=Eager(), **how()) == said(plain, prompt, **how())
    assert len(drafting.calls) <= len(plain.calls)
    assert plain.rewound == 0


def test_copied_text_takes_fewer_evaluations():
    prompt = [ord(letter) for letter in "Andrew lives in Lyon and works as a nurse there\nAn"]
    text = "drew lives in Lyon and works as a nurse there\n"

    def logits_after(ids):
        logits = np.zeros(SIZE, dtype=np.float32)
        logits[ord(text[len(ids) - len(prompt)])] = 9
        return logits

    def run(pace):
        model = FunctionModel(logits_after)
        template = Steps(FreeText("\n", 60), Choice(("a", "d")))
        values = Decoding(Ascii(), END_ID, prompt, model, pace=pace).run(template).values
        return values[0], len(model.calls)

    text += "a"
    (plain_text, plain), (text_drafted, drafted) = run(None), run(Eager())
    assert plain_text == text_drafted == text[:-2]
    assert plain == len(text)
    assert drafted <= plain / 3


def test_drafts_never_go_beyond_the_room_that_is_left():
    prompt = [ord(letter) for letter in "abcdefghijklmnopqrst" * 2]
    model = FunctionModel(copying(1, prompt, 1.0), room=52)
    template = Steps(FreeText("\n", 12))
    with pytest.raises(MalformedOutputError):
        Decoding(Ascii(), END_ID, prompt, model, pace=Eager()).run(template)
    assert len(model.calls[0]) == len(prompt) + 11  # the last of the twelve is never evaluated


def test_a_machine_on_which_batches_cost_as_much_as_their_tokens_gets_no_drafts():
    pace = Pace()
    lookup = PromptLookup([1, 2, 3, 4, 1, 2], pace, 0)
    assert lookup.draft() == [3, 4, 1]
    for tokens in range(1, 2 + LONGEST):
        pace.note(tokens, 0.01 * tokens)
    assert lookup.draft() == []


def test_drafts_are_as_long_as_copies_were_and_batches_are_worth():
    pace = Pace()
    for tokens, cost in {1: 1.0, 2: 2.4, 4: 3.2, 8: 5.9, 16: 8.6, 32: 14.1}.items():  # a 0.5B on two cores
        pace.note(tokens, cost)
    assert pace.length(3) == 0
    said = [*range(100, 124)]
    for _ in range(REMEMBERED // 4):
        lookup = PromptLookup([1, 2, 3, *said, 0, 9, 1, 2, 3], pace, 0)
        for token in [*said, 50]:  # 24 tokens are copied, then it says something of its own
            lookup.add(token)
    assert pace.length(3) == 15
    assert PromptLookup([1, 2, 3, *said, 0, 9, 1, 2, 3], pace, 0).draft() == said[:15]
    assert pace.length(2) == 0  # of which nothing was learned
    short = PromptLookup([1, 2, 3, 4, 5, 0, 9, 1, 2, 3], pace, 0)
    assert short.draft() == [4, 5, 0]  # the stop ends it


def test_what_was_copied_is_known_without_a_draft():
    pace = Pace()
    noted = []
    pace.note_copy = lambda alike, held: noted.append((alike, held))
    lookup = PromptLookup([7, 1, 2, 3, 4, 0, 8, 1, 2], pace, 0)
    lookup.add(3)
    lookup.add(9)
    assert noted == [(2, 1), (3, 0)]
    noted.clear()
    lookup = PromptLookup([7, 1, 2, 3, 0, 8, 1, 2], pace, 0)
    lookup.add(3)
    lookup.add(0)
    assert noted == [(2, 2), (3, 1)]


def test_drafts_that_keep_failing_are_given_up_within_one_text():
    lookup = PromptLookup([1, 2] * 20, Pace(), 0)
    drafts = 0
    while draft := lookup.draft():
        drafts += 1
        lookup.judge(len(draft), 0)
    assert 1 <= drafts <= 4


def test_the_place_most_like_this_one_is_continued():
    assert PromptLookup([9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2], Pace(), 0).draft() == [3, 8, 1]
    assert PromptLookup([9, 1, 2, 3, 9, 1, 2, 4, 9, 1, 2], Pace(), 0).draft() == [4, 9, 1]
    assert PromptLookup([1], Pace(), 0).draft() == []


def test_forced_text_costs_no_evaluation_of_its_own():
    model = FunctionModel(lambda ids: np.zeros(300, dtype=np.float32))
    steps = Steps(Forced("ab"), Choice(("xyz", "yyy")), Choice(("only",)), Forced("!"))
    decoded = Decoding(Ascii(), END_ID, [1, 2, 3], model).run(steps)
    assert model.calls == [[1, 2, 3, ord("a"), ord("b")]]
    assert decoded.values == ("ab", "xyz", "only", "!")
    assert decoded.confidences == (1.0, pytest.approx(0.5), 1.0, 1.0)
    assert (decoded.prompt_tokens, decoded.output_tokens) == (3, 10)


def test_what_was_held_is_not_evaluated_again():
    model = FunctionModel(lambda ids: np.zeros(300, dtype=np.float32))
    Decoding(Ascii(), END_ID, [1, 2, 3, 4], model, held=3).run(Steps(Choice("ab")))
    assert model.calls == [[4]]


def test_logits_that_are_no_numbers_are_an_error():
    broken = FunctionModel(lambda ids: np.full(300, np.nan, dtype=np.float32))
    with pytest.raises(ModelError, match="finite"):
        Decoding(Ascii(), END_ID, [1], broken).run(Steps(Choice(("a", "b"))))


def test_a_drawn_token_comes_as_often_as_its_probability_says():
    logits = np.log(np.array([0.5, 0.3, 0.2, 1e-30], dtype=np.float32))
    pick = sampler(1.0, seed=3)
    counts = np.bincount([pick(logits) for _ in range(4000)], minlength=4) / 4000
    assert counts == pytest.approx([0.5, 0.3, 0.2, 0.0], abs=0.03)
    sharper = sampler(0.1, seed=3)
    assert np.mean([sharper(logits) == 0 for _ in range(400)]) > 0.95


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_a_temperature_that_cannot_be_drawn_at_is_refused(temperature):
    with pytest.raises(InvalidInputError, match="temperature"):
        Sampling(seed=1, temperature=temperature)


def test_text_is_heard_in_whole_characters_as_it_comes():
    class Bytes(Ascii):
        free_text_bias = np.zeros(300, dtype=np.float32)

        def piece(self, token):
            return bytes([token])

    data = "né 🐶!".encode()

    def logits_after(ids):
        logits = np.zeros(300, dtype=np.float32)
        place = len(ids) - 1
        logits[data[place] if place < len(data) else 299] = 50
        return logits

    heard = []
    steps = Steps(FreeText(END, 30))
    decoded = Decoding(Bytes(), 299, [1], FunctionModel(logits_after), listen=heard.append).run(steps)
    assert decoded.values == ("né 🐶!",)
    assert heard == ["n", "é", " ", "🐶", "!"]
