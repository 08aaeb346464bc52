"""What a search found, unit by unit, with the scores and reasons of each, before anything is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from math import isnan

import numpy as np
import numpy.typing as npt

from memr1_lite.gate import says_the_same
from memr1_lite.question import Question
from memr1_lite.records import Candidate, Memory, Message, Span
from memr1_lite.scoring import Ids, Scores
from memr1_lite.store import Kind

Trait = tuple[str | None, str | None]
"""Who said it, and when, in ISO 8601."""

VECTOR_SHARE = 0.7
"""The best cosine counts so much of what the best words count."""
NAMED_SPEAKER = 1.5
"""Factor for what a speaker said whom the question names: in their own turns people do not say their names."""
NAMED_DAY = 1.5
"""Factor for what was said on a day that the question names. For these three see :mod:`memr1_lite.scoring`."""

FLOOR = 0.15
"""What scores less than this share of the best is left out: it would be found by a common word a few turns away."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Units of one kind, one entry of every array per unit; ``held``, ``(words, n)``, says which words stand in it.

    ``words`` and ``vectors`` are the scores of the two legs, ``cosines`` the unit's own, NaN where it has none.
    """

    kind: Kind
    ids: Ids
    words: Scores
    vectors: Scores
    cosines: Scores
    held: npt.NDArray[np.bool_]

    def chosen(self, which: npt.NDArray[np.intp]) -> Hits:
        """Only these entries."""
        return Hits(
            self.kind,
            self.ids[which],
            self.words[which],
            self.vectors[which],
            self.cosines[which],
            self.held[:, which],
        )

    def best_places(self, limit: int) -> npt.NDArray[np.intp]:
        """Where the ``limit`` best lie of those that either leg found."""
        scores = shares(self.words) + VECTOR_SHARE * shares(self.vectors)
        order = np.lexsort((self.ids, -scores))[:limit]
        return order[scores[order] > 0.0]

    def best(self, limit: int) -> Hits:
        """The ``limit`` best of those that either leg found."""
        return self.chosen(self.best_places(limit))


def shares(scores: Scores) -> Scores:
    """Scores as shares of the greatest."""
    most = float(scores.max(initial=0.0))
    return scores / most if most > 0.0 else scores


@dataclass(frozen=True, slots=True)
class Found:
    """One unit, and why: the fields of :class:`~memr1_lite.records.Candidate`."""

    kind: Kind
    id: int
    score: float
    vector_rank: int | None
    keyword_rank: int | None
    vector_score: float
    word_score: float
    cosine: float | None
    words: tuple[str, ...]
    speaker_named: bool
    day_named: bool


def ranked(
    question: Question,
    hits: Sequence[Hits],
    traits: Mapping[Kind, Mapping[int, Trait]],
    span: Span | None,
    limit: int,
    floor: float = FLOOR,
) -> list[Found]:
    """The ``limit`` best of what was found, may be shown and is within ``span``; ties go by kind and id.

    :param traits: of the units that may be shown; of a kind that is left out, all may be, and nobody asks who and when
    :param floor: what scores less than this share of the best is left out
    """
    hits = [each.chosen(_shown_of(each, traits[each.kind], span)) if each.kind in traits else each for each in hits]
    # Rounded, because sums of the same numbers differ in the last bits, and ties must be ties.
    words = np.round(shares(np.concatenate([each.words for each in hits])), 9)
    vectors = np.round(shares(np.concatenate([each.vectors for each in hits])), 9)
    scores, named, day = words + VECTOR_SHARE * vectors, np.zeros(len(words), np.bool_), np.zeros(len(words), np.bool_)
    if question.names:
        named = np.concatenate([_speaker_named(question, each, traits[each.kind]) for each in hits])
        scores = scores * np.where(named, NAMED_SPEAKER, 1.0)
    if question.days:
        day = np.concatenate([_day_named(question, each, traits[each.kind]) for each in hits])
        scores = scores * np.where(day, NAMED_DAY, 1.0)
    scores = np.round(scores, 9)
    ids, cosines = np.concatenate([each.ids for each in hits]), np.concatenate([each.cosines for each in hits])
    held = np.concatenate([each.held for each in hits], axis=1)
    kinds = [each.kind for each in hits]
    of_kind = np.repeat(np.arange(len(hits)), [len(each.ids) for each in hits])
    order = np.lexsort((ids, np.array(kinds)[of_kind], -scores))
    order = order[scores[order] >= floor * scores.max(initial=0.0)][:limit]
    # Lists, since taking numbers out of arrays one by one takes longer than all of the above.
    chosen = (array[order].tolist() for array in (of_kind, ids, scores, _ranks(vectors), _ranks(words), vectors, words))
    reasons = (array[order].tolist() for array in (cosines, named, day))
    return [
        Found(
            kind=kinds[kind],
            id=number,
            score=score,
            vector_rank=by_vectors if vector > 0.0 else None,
            keyword_rank=by_words if word > 0.0 else None,
            vector_score=vector,
            word_score=word,
            cosine=None if isnan(cosine) else cosine,
            words=tuple(compress(question.words, stand)),
            speaker_named=who,
            day_named=when,
        )
        for kind, number, score, by_vectors, by_words, vector, word, cosine, who, when, stand in zip(
            *chosen, *reasons, held[:, order].T.tolist(), strict=True
        )
    ]


def shown(
    found: Sequence[Found],
    k: int,
    memories: Mapping[int, Memory],
    origins: Mapping[int, Sequence[int]],
    turns: Mapping[int, Message],
) -> list[Candidate]:
    """The first ``k`` that are still there, as records.

    :param origins: by memory, the turns that it was written from, the latest first
    """
    candidates: list[Candidate] = []
    for each in found:
        unit = memories.get(each.id) if each.kind == "memory" else turns.get(each.id)
        if unit is None:  # deleted or purged since it was found
            continue
        turn = unit if isinstance(unit, Message) else turns.get(unit.message_id or 0)
        behind = [each.id] if isinstance(unit, Message) else origins.get(each.id, ())
        speaker = None if turn is None else turn.speaker
        why = {name: getattr(each, name) for name in Found.__slots__}
        written_from = tuple(turns[number] for number in behind if number in turns)
        candidates.append(Candidate(**why, text=unit.text, at=unit.at, speaker=speaker, turn=turn, turns=written_from))
    behind_memories = {_as_said(turn): turn for each in candidates if each.kind == "memory" for turn in each.turns}
    return [each for each in candidates if not _says_again(each, behind_memories)][:k]


def _says_again(candidate: Candidate, behind_memories: Mapping[tuple[str, str], Message]) -> bool:
    """Whether a turn says what stands behind a memory that is shown too: beside it, it would pass for news."""
    if candidate.kind != "turn" or candidate.turn is None:
        return False
    before = behind_memories.get(_as_said(candidate.turn))
    return before is not None and says_the_same(before.text, before.at, candidate.text, candidate.at)


def _as_said(turn: Message) -> tuple[str, str]:
    return turn.speaker, turn.text.casefold()


def _ranks(scores: Scores) -> npt.NDArray[np.intp]:
    """The rank of each, from 1; equals go by place."""
    ranks = np.empty(len(scores), np.intp)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return ranks


def _speaker_named(question: Question, hits: Hits, traits: Mapping[int, Trait]) -> npt.NDArray[np.bool_]:
    speakers = [traits[item][0] for item in hits.ids.tolist()]
    known = {speaker: question.names_speaker(speaker) for speaker in set(speakers)}
    named = np.array([known[speaker] for speaker in speakers], dtype=np.bool_)
    if hits.kind == "memory":  # what is remembered of somebody names him; in what he says himself, others are named
        rows = [row for row, word in enumerate(question.words) if word in question.names]
        named = named | hits.held[rows].any(axis=0)
    return named


def _day_named(question: Question, hits: Hits, traits: Mapping[int, Trait]) -> npt.NDArray[np.bool_]:
    return np.array([question.names_day(traits[item][1]) for item in hits.ids.tolist()], dtype=np.bool_)


def _shown_of(hits: Hits, traits: Mapping[int, Trait], span: Span | None) -> npt.NDArray[np.intp]:
    """Where the units lie that may be shown."""
    ids = hits.ids.tolist()
    return np.flatnonzero([item in traits and (span is None or _within(span, *traits[item])) for item in ids])


def _within(span: Span, speaker: str | None, at: str | None) -> bool:
    return (
        span.speaker in (None, speaker)
        and (span.since is None or (at is not None and at >= span.since.isoformat()))
        and (span.until is None or (at is not None and at < span.until.isoformat()))
    )
