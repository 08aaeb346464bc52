"""Text to unit vectors without a model: words and their spelling, hashed (Weinberger et al. 2009, feature hashing).

It finds what shares words, word forms or spelling with a text; it knows no synonyms. Made for English, and sound for
any text.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

DIMENSION = 384
MAX_KEYWORDS = 32
STOP_WORD_WEIGHT = 0.05
SPELLING_WEIGHT = 0.8
"""The trigrams of a word together, against 1 for the word itself."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_VOWEL = re.compile(r"[aeiouy]")
_STOP_WORDS = """
    a about after again ago all also am an and any are aren't as at be because been before being both but by can can't
    cannot could couldn't did didn't do does doesn't doing don't done each even ever every few for from get gets getting
    go goes going got had hadn't has hasn't have haven't having he he's her here here's hers herself hey hi him himself
    his how how's i i'd i'll i'm i've if in into is isn't it it's its itself just know let let's like lot many me more
    most much my myself no nor not now of off oh ok okay on once one only or other our ours out over own really said
    same say says she she's should so some something such than that that's the their them themselves then there there's
    these they they're they've thing things this those through to too under until up us very was wasn't we we're we've
    well went were weren't what what's when where where's which while who who's whom whose why will with won't would
    wouldn't yeah yes yet you you're you've your yours yourself
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def words(text: str) -> list[str]:
    """The lower-cased words of ``text``, in order; ``don't`` is one word."""
    return _WORD.findall(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower())


def keywords(text: str) -> list[str]:
    """The words of ``text`` worth searching for: each once, in order, without stop words, at most 32.

    Accents and endings are left to the full-text index, which folds them its own way.
    """
    distinct = dict.fromkeys(word.removesuffix("'s") for word in words(text) if word not in STOP_WORDS)
    return [word for word in distinct if word not in STOP_WORDS][:MAX_KEYWORDS]


def stem(word: str) -> str:
    """``word`` without a light English ending, so that dog and dogs, adopt and adopted, city and cities meet."""
    word = word.removesuffix("'s")
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and _VOWEL.search(rest):
            word = rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
            break
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    if len(word) > 3 and word.endswith("y") and not _VOWEL.match(word[-2]):
        word = word[:-1] + "i"
    return word


def without_accents(text: str) -> str:
    """``text`` with each letter reduced to its base letter."""
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


class LexicalEmbedder:
    """An embedder of words and character trigrams, hashed with a sign into 384 dimensions.

    The same text gives the same vector in every process and on every platform. Two unrelated texts have a cosine of
    about 0 with a standard deviation of 0.05, which is what 384 dimensions can tell apart. A text without a single
    word, also an empty one, is hashed as a whole, so every row is a unit vector.
    """

    @property
    def name(self) -> str:
        """Identifies the vectors."""
        return "lexical-1"

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return DIMENSION

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one L2-normalised row per text, shape ``(len(texts), 384)``."""
        rows = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for row, text in enumerate(texts):
            rows[row] = _vector(text)
        return rows


def _vector(text: str) -> npt.NDArray[np.float64]:
    counted = Counter(words(text))
    vector: npt.NDArray[np.float64] = np.zeros(DIMENSION)
    if counted:
        places, weights = zip(*(_word_features(word) for word in counted), strict=True)
        times = [1.0 + math.log(count) for count in counted.values()]
        scaled = np.concatenate([weight * often for weight, often in zip(weights, times, strict=True)])
        np.add.at(vector, np.concatenate(places), scaled)
    length = float(np.sqrt(np.square(vector).sum()))
    if length < 1e-6:  # no word, or words whose signs cancel
        place, sign = _hashed("text:" + text.strip())
        vector, length = np.zeros(DIMENSION), 1.0
        vector[place] = sign
    return vector / length


@lru_cache(maxsize=65_536)
def _word_features(word: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """The places that ``word`` adds to and what it adds there: itself first, then its trigrams."""
    root = stem(without_accents(word))
    trigrams = list(_trigrams(root))
    weight = STOP_WORD_WEIGHT if word in STOP_WORDS else 1.0
    # The spelling weighs the same, as a vector, whether a word is short or long.
    each = weight * SPELLING_WEIGHT / math.sqrt(len(trigrams))
    hashed = [_hashed("word:" + root), *(_hashed("spelling:" + trigram) for trigram in trigrams)]
    places = np.array([place for place, _ in hashed], dtype=np.intp)
    weights = np.array([weight * hashed[0][1], *(each * sign for _, sign in hashed[1:])])
    return places, weights


def _trigrams(word: str) -> Iterator[str]:
    marked = f"<{word}>"
    for start in range(max(1, len(marked) - 2)):
        yield marked[start : start + 3]


def _hashed(feature: str) -> tuple[int, float]:
    """Where a feature goes and with which sign; CRC-32 because ``hash()`` differs from process to process."""
    code = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
    return (code >> 1) % DIMENSION, 1.0 if code & 1 else -1.0
