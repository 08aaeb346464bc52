"""The measures, against the libraries that they are named after, and by hand."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from nltk.tokenize import NLTKWordTokenizer
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from memr1_lite.evaluation.metrics import (
    bleu1,
    evidence_recall,
    exact_match,
    same_items,
    set_f1,
    strict_match,
    token_f1,
)
from memr1_lite.evaluation.operations import Confusion, Expected, made_up, paired, same_operations, unsaid
from memr1_lite.evaluation.treebank import treebank_words
from memr1_lite.records import Add, Delete, Memory, Message, Noop, Update

SENTENCES = [
    "Don't you think they're at Ben's, or can't you tell?",
    'He said "yes" (twice), then 5,000 more: 3:30 pm; $4 & 20%',
    "the dogs' bowls -- all 3 -- are gone...",
    'a list: [one], {two}, <three>, "four".',
    "I cannot, I'd rather not and I've told 'em so!",
    "Mother\u2019s Day \u2014 \u201cthe best\u201d",
    "gonna gotta wanna lemme",
    "x",
    "",
    "7 May 2023",
    "pottery, camping, painting, swimming",
    "U.S. a.m. e.g. this",
]
PAIRS = [
    ("Andrew has two dogs", "Andrew has a dog."),
    ("two", "two dogs, Buddy and Scout"),
    ("She doesn't know; it's 7 May, 2023!", "7 May 2023"),
    ("the the the the", "the cat"),
    ("no words in common", "7"),
    ("", "something"),
    ("yes, yes.", "Yes"),
]


def test_exact_match_forgives_case_punctuation_and_articles_only():
    assert exact_match("The Lyon.", "lyon")
    assert not exact_match("Lyon, France", "lyon")


def test_strict_match_forgives_case_only():
    assert strict_match("Lyon", "lyon")
    assert not strict_match("Lyon.", "lyon")


def test_items_of_a_list_may_stand_in_any_order_but_none_may_be_missing():
    assert same_items("Buddy and the Scout", "Scout, Buddy")
    assert not same_items("Buddy", "Scout, Buddy")
    assert not same_items("Buddy, Scout, Rex", "Scout, Buddy")


def test_token_f1_by_hand():
    assert token_f1("Andrew has two dogs", "Andrew has a dog") == pytest.approx(2 * 2 / (4 + 3))
    assert token_f1("dogs dogs", "dogs") == pytest.approx(2 * 1 / (2 + 1))
    assert token_f1("yes", "no") == 0.0


def test_set_f1_by_hand_counts_articles_and_no_word_twice():
    assert set_f1("a dog, a dog", "a cat") == pytest.approx(2 * 1 / (2 + 2))
    assert set_f1("two!", "TWO") == 1.0
    assert set_f1("(two)", "two") == 0.0
    assert set_f1("", "two") == set_f1("", "") == 0.0


def test_bleu_1_by_hand():
    assert bleu1("two", "two dogs") == pytest.approx(math.exp(1 - 2 / 1))
    assert bleu1("two dogs and two cats", "two dogs") == pytest.approx(2 / 5)
    assert bleu1("", "two") == bleu1("cats", "dogs") == 0.0


def test_words_are_those_of_nltk():
    tokenizer = NLTKWordTokenizer()
    for sentence in SENTENCES:
        assert treebank_words(sentence.lower()) == tokenizer.tokenize(sentence.lower())


def test_bleu_1_is_that_of_nltk():
    tokenizer = NLTKWordTokenizer()
    smoothing = SmoothingFunction().method1
    for said, right in PAIRS:
        one, other = tokenizer.tokenize(said.lower()), tokenizer.tokenize(right.lower())
        theirs = sentence_bleu([other], one, weights=(1, 0, 0, 0), smoothing_function=smoothing) if one else 0.0
        assert bleu1(said, right) == pytest.approx(theirs), (said, right)


def test_a_full_stop_within_an_answer_ends_a_sentence_but_not_after_an_abbreviation():
    assert treebank_words("yes. it was.") == ["yes", ".", "it", "was", "."]
    assert treebank_words("dr. who, j. smith") == ["dr.", "who", ",", "j.", "smith"]


def test_evidence_recall_looks_at_the_first_k_only():
    assert evidence_recall(["D1:1", "D1:2", "D1:3"], ["D1:3", "D1:1"], 2) == 0.5
    assert evidence_recall(["D1:1", "D1:1"], ["D1:1", "D1:1"], 5) == 1.0
    with pytest.raises(ZeroDivisionError):
        evidence_recall(["D1:1"], [], 5)


def op(name, memory=None):
    return Expected(op=name, memory=memory)


def test_operations_are_compared_in_any_order():
    assert same_operations([op("ADD"), op("UPDATE", 1)], [op("UPDATE", 2), op("ADD")])
    assert not same_operations([op("ADD")], [op("ADD"), op("ADD")])


def test_a_decision_is_paired_with_the_right_one_as_well_as_it_can_be():
    assert paired([op("UPDATE", 1), op("ADD")], [op("ADD"), op("DELETE", 1)]) == [("ADD", "ADD"), ("UPDATE", "DELETE")]
    assert paired([op("NOOP")], [op("ADD"), op("DELETE", 2)]) == [("NOOP", "ADD"), ("NOOP", "DELETE")]
    assert paired([op("ADD"), op("ADD")], [op("ADD")]) == [("ADD", "ADD"), ("ADD", "NOOP")]


def test_the_confusion_matrix_adds_up_and_gives_precision_and_recall():
    confusion = Confusion()
    confusion.add([op("UPDATE", 1)], [op("UPDATE", 2)])
    confusion.add([op("UPDATE", 1)], [op("ADD")])
    confusion.add([op("NOOP")], [op("NOOP")])
    assert dict(confusion.rows())["UPDATE"] == [1, 1, 0, 0]
    assert confusion.recall("UPDATE") == 0.5
    assert confusion.precision("ADD") == 0.0
    assert confusion.recall("DELETE") is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Andrew has two dogs, Buddy and Scout.", []),
        ("Andrew adopted a dog named Rex.", ["rex"]),
        ("Andrew is 43 years old.", ["43"]),
        ("Andrew has a cat.", ["cat"]),
    ],
)
def test_a_memory_may_hold_only_what_was_said(text, left):
    assert unsaid(text, ["Andrew", "I adopted another dog named Scout.", "Andrew has a dog named Buddy."]) == left


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        ((Update(op="UPDATE", memory_id=7, version=1, text="Andrew has two dogs, Buddy and Scout."),), []),
        ((Add(op="ADD", text="Andrew adopted Scout on 15 June 2023."),), []),  # said as "yesterday"
        ((Add(op="ADD", text="Andrew has Buddy and Scout."),), ["buddy"]),  # not the memory it rewrites
        ((Delete(op="DELETE", memory_id=7, version=1), Add(op="ADD", text="Andrew has Buddy.")), ["buddy"]),
        ((Update(op="UPDATE", memory_id=7, version=1, text="Andrew has a dog in Lyon."),), ["lyon"]),
        ((Delete(op="DELETE", memory_id=7, version=1),), None),
        ((Noop(op="NOOP"),), None),
    ],
)
def test_made_up_is_what_is_neither_in_the_message_nor_in_a_memory_that_is_rewritten(operations, words):
    message = Message(id=1, speaker="Andrew", text="I adopted Scout yesterday.", at=datetime(2023, 6, 16))
    shown = [Memory(id=7, text="Andrew has a dog named Buddy."), Memory(id=8, text="Andrew lives in Lyon.")]
    assert made_up(operations, message, shown) == words
