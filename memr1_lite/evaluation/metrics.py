"""How right an answer is. Each measure is a number from 0 to 1, and its docstring says whose it is.

None of them looks at meaning: "her husband" for "Tunde" scores nothing. What does is the judge, in ``judge``.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Collection, Sequence

from memr1_lite.evaluation.treebank import treebank_words

_ARTICLES = frozenset({"a", "an", "the"})
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PAPER_SPACES = str.maketrans(".,!?", "    ")
_BETWEEN_ITEMS = re.compile(r"\s*(?:,|;|&|\band\b)\s*")


def squad_words(text: str) -> list[str]:
    """The words of ``text`` in lower case, without ASCII punctuation and articles (SQuAD v1.1, Rajpurkar 2016)."""
    return [word for word in text.lower().translate(_NO_PUNCTUATION).split() if word not in _ARTICLES]


def exact_match(said: str, right: str) -> bool:
    """Equal after SQuAD's normalisation: case, punctuation and articles do not count."""
    return squad_words(said) == squad_words(right)


def strict_match(said: str, right: str) -> bool:
    """Equal but for case: the exact match of Memory-R1's own scripts."""
    return said.lower() == right.lower()


def same_items(said: str, right: str) -> bool:
    """Exact match of a list whose items may stand in any order: "tea and milk" is "milk, tea"."""
    return exact_match(said, right) or _items(said) == _items(right)


def token_f1(said: str, right: str) -> float:
    """SQuAD's F1: harmonic mean of precision and recall over the multiset of normalised words; none shared is 0."""
    one, other = Counter(squad_words(said)), Counter(squad_words(right))
    shared = sum((one & other).values())
    return 0.0 if not shared else 2 * shared / (sum(one.values()) + sum(other.values()))


def set_f1(said: str, right: str) -> float:
    """The F1 of Memory-R1's tables (from A-Mem's and Mem0's scripts): over the *sets* of words, articles included.

    Only ``. , ! ?`` are removed, so ``"(two)"`` is not ``"two"``. Nothing in common is 0.
    """
    one, other = (set(text.lower().translate(_PAPER_SPACES).split()) for text in (said, right))
    shared = len(one & other)
    return 0.0 if not shared else 2 * shared / (len(one) + len(other))


def bleu1(said: str, right: str) -> float:
    """BLEU-1 of Memory-R1's tables: share of said words that are right, each counted as often as it is in ``right``.

    As nltk's ``sentence_bleu`` with weights (1, 0, 0, 0) over ``word_tokenize`` of the lower-cased texts: punctuation
    counts as words, and an answer shorter than the right one is punished by exp(1 - right / said) (Papineni 2002).
    nltk's smoothing (method1) changes longer n-grams only.
    """
    one, other = treebank_words(said.lower()), treebank_words(right.lower())
    shared = sum((Counter(one) & Counter(other)).values())
    if not shared:
        return 0.0
    brevity = 1.0 if len(one) >= len(other) else math.exp(1 - len(other) / len(one))
    return brevity * shared / len(one)


def evidence_recall(found: Sequence[str], evidence: Collection[str], k: int) -> float:
    """Share of the ``evidence`` turns that are among the first ``k`` found; an error where there is no evidence."""
    first = set(found[:k])
    return len(first.intersection(evidence)) / len(set(evidence))


def list_items(text: str) -> list[str]:
    """The items of a list in words: "Buddy and Scout" and "Buddy, Scout" have two."""
    return [item for item in _BETWEEN_ITEMS.split(text.lower()) if item]


def _items(text: str) -> Counter[tuple[str, ...]]:
    items = (tuple(squad_words(item)) for item in list_items(text))
    return Counter(item for item in items if item)
