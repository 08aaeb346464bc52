"""Words as the Penn Treebank has them, which is what nltk's ``word_tokenize`` counts; needed for BLEU-1 alone."""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_ABBREVIATIONS = frozenset(
    "dr. mr. mrs. ms. prof. st. vs. e.g. i.e. etc. inc. ltd. co. jr. sr. a.m. p.m. no. u.s.".split()
)
_ALONE = re.compile(r"(\.{2,}|--|[\[\](){}<>;@#$%&?!*«»`\u2018-\u201e\u2014]|[:,](?!\d))")
"""Stands by itself wherever it is; a colon or comma before a digit belongs to the number."""
_CLITIC = re.compile(r"(?<=[^'])(n't|'(?:s|m|d|ll|re|ve))$", re.IGNORECASE)
_OPENING = re.compile(r"'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", re.IGNORECASE)
_JOINED = {"cannot": 3, "gonna": 3, "gotta": 3, "wanna": 3, "lemme": 3, "gimme": 3}
"""Two words written as one, and the letters of the first."""


def treebank_words(text: str) -> list[str]:
    """The words and punctuation marks of ``text``: ``don't.`` is ``do``, ``n't``, ``.``.

    Sentences end at ``. ! ?`` and white space, except after a few abbreviations and single letters. nltk's own
    splitter has learnt more abbreviations; only a full stop inside an answer can be counted otherwise for it.
    """
    return [word for sentence in _sentences(text) for word in _sentence_words(sentence)]


def _sentences(text: str) -> list[str]:
    sentences: list[str] = []
    for part in _SENTENCE_END.split(text.strip()):
        if sentences and _is_abbreviation(sentences[-1].split()[-1]):
            sentences[-1] += f" {part}"
        elif part:
            sentences.append(part)
    return sentences


def _is_abbreviation(word: str) -> bool:
    bare = word.lower().lstrip("(\"'")
    return bare in _ABBREVIATIONS or (len(bare) == 2 and bare[0].isalpha() and bare[1] == ".")


def _sentence_words(sentence: str) -> list[str]:
    *earlier, last = sentence.split()
    end = re.fullmatch(r"(.*[^.])(\.)([\])}>\"']*)", last)
    words = [word for chunk in (*earlier, end[1] if end else last) for word in _chunk_words(chunk)]
    return [*words, ".", *("''" if mark == '"' else mark for mark in end[3])] if end else words


def _chunk_words(chunk: str) -> list[str]:
    words: list[str] = []
    for piece in _ALONE.split(chunk):
        for part in [piece] if _ALONE.fullmatch(piece) else re.split(r'(")', piece):
            if part == '"':
                words.append("''" if words and words[-1] not in "([{<" else "``")
            elif part:
                words += _parts(part)
    return words


def _parts(word: str) -> list[str]:
    if _OPENING.match(word):
        return ["'", *_parts(word[1:])]
    if clitic := _CLITIC.search(word):
        return [*_parts(word[: clitic.start()]), clitic[0]]
    if len(word) > 1 and word.endswith("'") and word[-2] != "'":
        return [word[:-1], "'"]
    if first := _JOINED.get(word.lower()):
        return [word[:first], word[first:]]
    return [word]
