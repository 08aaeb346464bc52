"""Faithful writing: every word of a free text is one that was read, or one of a short list of the model's own.

A small model copies unheard names almost right, and almost right is wrong. So an agent whose file names its own words
(``memr1.own_words``: verbs, prepositions, months, counts) can write only those and the words of its prompt: a name
that nobody said cannot come out. Words are runs of letters and digits, compared as bytes, whatever the tokens are.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

WORD = re.compile(rb"[0-9A-Za-z\x80-\xff]+")
CLITIC = re.compile(rb"(?<=[A-Za-z\x80-\xff])'(?:s|t|m|d|re|ve|ll)\b")
PLURAL_FROM = 3
"""Letters of the shortest word that takes an s."""
REMEMBERED = 1 << 14
"""Words whose tokens are kept."""
Mask = npt.NDArray[np.bool_]


def words_of(text: str) -> set[bytes]:
    """The words of ``text``, also with a small first letter, and with an s for the plural; no ``m`` of ``I'm``."""
    words: set[bytes] = set()
    for word in WORD.findall(CLITIC.sub(b"", text.encode("utf-8", "replace"))):
        for form in {word, word[:1].lower() + word[1:]}:
            words |= {form, form + b"s"} if len(form) >= PLURAL_FROM else {form}
    return words


class TokenForms:
    """The tokens of a vocabulary by what they do to the word that is being written.

    :param pieces: the bytes of every token that free text may hold, by id
    """

    def __init__(self, pieces: dict[int, bytes], size: int) -> None:
        self.size = size
        self.between = np.zeros(size, dtype=np.bool_)
        """Tokens without letters or digits."""
        self.starting: dict[bytes, list[int]] = defaultdict(list)
        """Tokens that begin a new word, such as a space and letters, by those letters."""
        self.continuing: dict[bytes, list[int]] = defaultdict(list)
        """Tokens of nothing but letters and digits, by these."""
        for token, piece in pieces.items():
            runs = list(WORD.finditer(piece))
            if not runs:
                self.between[token] = True
            elif len(runs) == 1 and runs[0].end() == len(piece):
                (self.starting if runs[0].start() else self.continuing)[runs[0].group()].append(token)
            # Tokens that end a word and go on, or hold two, do not exist where words are split before merging.
        self._starts: dict[bytes, tuple[int, ...]] = {}
        self._goes_on: dict[bytes, tuple[int, ...]] = {}

    def starts(self, word: bytes) -> tuple[int, ...]:
        """The tokens that begin ``word`` after something else."""
        return self._remembered(self._starts, self.starting, word)

    def goes_on(self, rest: bytes) -> tuple[int, ...]:
        """The tokens that go on with ``rest``, where the letters before it were written."""
        return self._remembered(self._goes_on, self.continuing, rest)

    @staticmethod
    def _remembered(
        known: dict[bytes, tuple[int, ...]], tokens: dict[bytes, list[int]], letters: bytes
    ) -> tuple[int, ...]:
        ids = known.get(letters)
        if ids is None:
            if len(known) >= REMEMBERED:  # an agent's own words and those of today come back; the rest is not worth it
                known.clear()
            beginnings = (letters[:end] for end in range(1, len(letters) + 1))
            ids = known[letters] = tuple(token for part in beginnings for token in tokens.get(part, ()))
        return ids


class Wording:
    """Which tokens may come next, given the bytes written so far.

    No two words may follow each other twice in one text: small models that lose the thread go round in circles.
    """

    def __init__(self, forms: TokenForms, words: Iterable[bytes]) -> None:
        self._forms = forms
        self._words = frozenset(words)
        self._sorted = sorted(self._words)
        starts = self._ids(forms.starts, self._words)
        self._starts = np.bincount(starts, minlength=forms.size)
        """How many of the words each token may begin; where it is none, the token may not come. (n_vocab,)"""
        self._anywhere = np.bincount(self._ids(forms.goes_on, self._words), minlength=forms.size) + self._starts

    def allowed(self, written: bytes) -> tuple[Mask, bool]:
        """The tokens that may follow ``written``, (n_vocab,), and whether the text may stop there."""
        words = WORD.findall(written)
        begun = words.pop() if words and written.endswith(words[-1]) else b""
        repeated = _followers(words, words[-1]) if words else set()
        if not begun:
            return self._start(repeated, bare=True), True
        whole = begun in self._words and begun not in repeated
        if whole:
            mask = self._start(_followers([*words, begun], begun), bare=False)
        else:
            mask = np.zeros(self._forms.size, dtype=np.bool_)
        rests = []
        for place in range(bisect.bisect_right(self._sorted, begun), len(self._sorted)):
            word = self._sorted[place]
            if not word.startswith(begun):
                break
            if word not in repeated:
                rests.append(word[len(begun) :])
        mask[self._ids(self._forms.goes_on, rests)] = True
        return mask, whole

    def _start(self, repeated: set[bytes], *, bare: bool) -> Mask:
        """Tokens that may come between words or begin one; ``bare`` where it needs no space before it."""
        counts = self._anywhere if bare else self._starts
        gone = repeated & self._words
        if gone:
            counts = counts.copy()
            np.subtract.at(counts, self._ids(self._forms.starts, gone), 1)
            if bare:
                np.subtract.at(counts, self._ids(self._forms.goes_on, gone), 1)
        return self._forms.between | (counts > 0)

    @staticmethod
    def _ids(ids_of: Callable[[bytes], Sequence[int]], words: Iterable[bytes]) -> npt.NDArray[np.intp]:
        return np.fromiter(itertools.chain.from_iterable(map(ids_of, words)), dtype=np.intp)


def _followers(words: list[bytes], word: bytes) -> set[bytes]:
    """The words that have followed ``word``."""
    return {after for before, after in itertools.pairwise(words) if before == word}
