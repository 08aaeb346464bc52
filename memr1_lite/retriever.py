"""Hybrid retrieval: by word and by vector, each over a unit and the turns around it, added; needs no language model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from memr1_lite.embedders import keywords, words
from memr1_lite.hits import Found, Hits, Trait, ranked, shown
from memr1_lite.llm import Embedder
from memr1_lite.question import FIRST_PERSON, Question, understood
from memr1_lite.records import Candidate, Memory, Span
from memr1_lite.scoring import (
    VECTOR_REACH,
    WORD_REACH,
    Ids,
    Scores,
    laid_out,
    most_wanted,
    places,
    rarity,
    reached,
    spread,
)
from memr1_lite.store import Kind, Store
from memr1_lite.vector_index import VectorIndex

Legs = Literal["both", "words", "vectors"]
Vector = npt.NDArray[np.float32]
KINDS: tuple[Kind, ...] = ("turn", "memory")

RRF_K = 60
"""Constant of reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009."""
MIN_SIMILAR = 50
"""How deep each leg looks for similar memories, so that one only both together like can come to the top."""
MIN_COSINE = 0.05
"""A vector no closer than this was not found: nearest is not near."""
DEPTH = 64
"""How many nearest vectors are looked at, at least."""
COMMON = 4_096
"""A word is followed to its newest units only, so that a common one in a big bank does not cost more than this."""
POOL = 256
"""So many units of each kind, by their words, are looked at closely."""
CHOSEN = 128
"""For so many of each kind, at least, it is looked up who said them and what was written from them."""
SPARE = 8
OWN_MEMORY = 1.5
"""What a memory of the speaker, or of somebody of his, counts for what he says of himself."""
NAME_WORD = 0.5
"""Share of its rarity that a speaker's name counts as a word: who said something matters more than who is mentioned."""


def spoken(speaker: str, text: str) -> str:
    """A turn as it is embedded, and as memories are compared with it."""
    return f"{speaker}: {text}"


class Retriever:
    """Finds memories and turns in a store. Its indexes follow the store: each query first takes over what changed."""

    def __init__(self, store: Store, embedder: Embedder, memories_index: VectorIndex, turns_index: VectorIndex) -> None:
        self._store = store
        self._embedder = embedder
        self._indexes: Mapping[Kind, VectorIndex] = {"memory": memories_index, "turn": turns_index}
        self._lock = threading.Lock()

    def similar(self, message_text: str, speaker: str, k: int) -> list[Memory]:
        """Return up to ``k`` memories most like what ``speaker`` said, best first, by reciprocal rank fusion.

        Who says "I" or "my" speaks of himself and his own. So memories of him and of those around him come first, and
        those of another speaker whom he does not name are left out: a small model may write over them.
        """
        if k < 1:
            return []
        text, depth = spoken(speaker, message_text), max(2 * k, MIN_SIMILAR)
        vector = self._vector(text)
        found = [] if vector is None else self._indexes["memory"].search(vector, depth)
        near = [item for item, cosine in found if cosine > MIN_COSINE]
        said = self._store.keyword_search("memory", keywords(text), depth)
        scores: dict[int, float] = {}
        for leg in (near, said):
            for rank, item in enumerate(leg, start=1):
                scores[item] = scores.get(item, 0.0) + 1.0 / (RRF_K + rank)
        memories = self._store.fetch_memories(list(scores))
        said_words = {word.removesuffix("'s") for word in words(message_text)}
        if FIRST_PERSON.intersection(word.partition("'")[0] for word in said_words):  # I'm, I've
            others = {_first_name(name) for name in self._store.speakers()} - {_first_name(speaker)} - said_words
            memories = {item: memory for item, memory in memories.items() if _first_name(memory.text) not in others}
            for item, memory in memories.items():
                scores[item] *= OWN_MEMORY if _first_name(memory.text) == _first_name(speaker) else 1.0
        best = sorted(memories, key=lambda item: (-scores[item], item))
        return [memories[item] for item in best][:k]

    def candidates(self, text: str, k: int, span: Span | None = None, legs: Legs = "both") -> list[Candidate]:
        """Return up to ``k`` memories, and turns that no memory covers, best first; empty where nothing is near.

        A turn that a memory was written from counts for that memory, and brings it where only the turn was found.

        :param span: look only at what was said by this speaker, in this time
        :param legs: ``words``: by BM25 of each text alone; ``vectors``: by its cosine alone
        """
        if k < 1:
            return []
        question = understood(text, self._store.speakers())
        vector = None if legs == "words" else self._vector(question.text)
        if legs == "both":
            found = self._found(question, vector, k, span)
        else:
            found = self._plain(question, vector, max(DEPTH, 2 * k), span)
        return self._shown(found, k)

    def _found(self, question: Question, vector: Vector | None, k: int, span: Span | None) -> list[Found]:
        """What either leg found, or found close by."""
        depth, chosen = max(DEPTH, 2 * k), max(CHOSEN, 4 * k)
        said = {kind: [self._store.holding(kind, word, COMMON, span) for word in question.words] for kind in KINDS}
        highest = {kind: self._store.highest(kind) for kind in KINDS}
        counts = [sum(_about(said[kind][row], highest[kind]) for kind in KINDS) for row in range(len(question.words))]
        weights = rarity(counts, sum(highest.values()))
        weights *= [NAME_WORD if word in question.names else 1.0 for word in question.words]

        turn_ids = np.union1d(most_wanted(said["turn"], weights, POOL), self._near("turn", vector, depth, span))
        pool = laid_out(turn_ids, len(WORD_REACH) - 1)
        reach = reached(_held(said["turn"], pool), WORD_REACH)
        cosines = self._cosines("turn", vector, pool, turn_ids)
        turns = Hits(
            "turn", pool, weights @ reach, spread(np.nan_to_num(cosines), VECTOR_REACH), cosines, reach == WORD_REACH[0]
        )
        best = turns.best_places(chosen)
        turns, reach = turns.chosen(best), reach[:, best]
        ids = turns.ids.tolist()
        memories = self._memories(said["memory"], weights, vector, depth, span, turns, reach).best(chosen)
        traits: dict[Kind, dict[int, Trait]] = {
            "turn": self._store.traits("turn", list(self._store.uncovered_messages(ids))),
            "memory": self._store.traits("memory", memories.ids.tolist()),
        }
        return ranked(question, [turns, memories], traits, span, k + SPARE)

    def _memories(
        self,
        said: Sequence[Ids],
        weights: Scores,
        vector: Vector | None,
        depth: int,
        span: Span | None,
        turns: Hits,
        reach: Scores,
    ) -> Hits:
        """Memories by what they say, and by the turns they were written from."""
        pairs = np.array(self._store.written_from(turns.ids.tolist()), dtype=np.int64).reshape(-1, 2)
        near = self._near("memory", vector, depth, span)
        ids = np.unique(np.concatenate([most_wanted(said, weights, POOL), near, pairs[:, 1]]))
        held = _held(said, ids)
        counts, cosines = held.astype(np.float64), self._cosines("memory", vector, ids, ids)
        vectors = np.nan_to_num(cosines)
        order = np.argsort(turns.ids)
        for turn, memory in zip(
            order[np.searchsorted(turns.ids[order], pairs[:, 0])], np.searchsorted(ids, pairs[:, 1]), strict=True
        ):
            counts[:, memory] = np.maximum(counts[:, memory], reach[:, turn])
            vectors[memory] = max(vectors[memory], turns.vectors[turn])
        return Hits("memory", ids, weights @ counts, vectors, cosines, held)

    def _plain(self, question: Question, vector: Vector | None, depth: int, span: Span | None) -> list[Found]:
        """What one leg finds in the texts alone, without neighbours or factors: by vector, or else by word."""
        hits, traits = [], dict[Kind, dict[int, Trait]]()
        for kind in KINDS:
            if vector is None:
                # In order of BM25, whose scores in two indexes do not compare.
                ids = np.array(self._store.keyword_search(kind, question.words, depth), dtype=np.int64)
                words, cosines = 1.0 / np.arange(1, len(ids) + 1), np.full(len(ids), np.nan)
            else:
                ids = self._near(kind, vector, depth, span)
                words, cosines = np.zeros(len(ids)), self._cosines(kind, vector, ids, ids)
            held = np.zeros((len(question.words), len(ids)), np.bool_)
            hits.append(Hits(kind, ids, words, np.nan_to_num(cosines), cosines, held))
            kept = ids.tolist() if kind == "memory" else list(self._store.uncovered_messages(ids.tolist()))
            traits[kind] = self._store.traits(kind, kept)
        return ranked(Question(question.text, question.words, frozenset(), ()), hits, traits, span, depth, floor=0.0)

    def _shown(self, found: list[Found], k: int) -> list[Candidate]:
        # A few more than k, for those that are deleted or purged meanwhile.
        found = found[: k + SPARE]
        memories = self._store.fetch_memories([each.id for each in found if each.kind == "memory"])
        turn_ids = {each.id for each in found if each.kind == "turn"}
        origins = self._store.origins(memories)
        turn_ids |= {turn for behind in origins.values() for turn in behind}
        return shown(found, k, memories, origins, self._store.fetch_messages(sorted(turn_ids)))

    def rebuild(self) -> None:
        """Build both indexes anew and save them: afterwards no trace of an erased vector is left in them.

        :raises VectorIndexError: an index could not be written
        """
        with self._lock:
            for kind, index in self._indexes.items():
                position, _ = self._store.touched_since(kind, 0)
                index.rebuild(position, *self._store.vectors(kind))
        self.save()

    def indexed(self, kind: Kind) -> list[int]:
        """The ids that a search by vector can find now, ascending."""
        return self._catch_up(kind).ids()

    def save(self) -> None:
        """Write the indexes that changed.

        :raises VectorIndexError: an index could not be written
        """
        for index in self._indexes.values():
            index.save()

    def _catch_up(self, kind: Kind) -> VectorIndex:
        index = self._indexes[kind]
        with self._lock:  # two threads at once could take over an older state after a newer one
            if index.position == 0:
                index.load()
            start = index.position
            # The position is read before the vectors: what changes in between is merely taken over twice.
            position, touched = self._store.touched_since(kind, start)
            if position < start or (start == 0 and position):  # a saved index may be newer than a restored bank
                index.rebuild(position, *self._store.vectors(kind))
            elif position > start:
                vectors = self._store.vectors(kind, touched) if touched else _no_vectors(self._embedder.dimension)
                index.catch_up(position, touched, vectors)
        return index

    def _vector(self, text: str) -> Vector | None:
        """The vector of ``text``; None where there is nothing to compare it with."""
        if not any(len(self._catch_up(kind)) for kind in KINDS):
            return None
        vector: Vector = self._embedder.embed([text])[0]
        return vector

    def _near(self, kind: Kind, vector: Vector | None, depth: int, span: Span | None) -> Ids:
        """The nearest that are near enough, ascending."""
        if vector is None:
            return np.zeros(0, np.int64)
        allowed = None if span is None else self._store.within(kind, span)
        found = self._catch_up(kind).search(vector, depth, allowed)
        return np.array(sorted(item for item, cosine in found if cosine > MIN_COSINE), dtype=np.int64)

    def _cosines(self, kind: Kind, vector: Vector | None, pool: Ids, wanted: Ids) -> Scores:
        """The cosine of each of ``pool``, of the ``wanted`` at least; NaN where it has no vector or is not near."""
        if vector is None:
            return np.full(len(pool), np.nan)
        cosines = self._indexes[kind].cosines(vector, pool)
        if cosines is None:  # a graph hands its vectors out slowly: the store is quicker
            cosines = np.full(len(pool), np.nan)
            found, matrix = self._store.vectors(kind, wanted.tolist())
            cosines[places(pool, found)[0]] = matrix @ vector
        return np.where(cosines > MIN_COSINE, cosines, np.nan)


def _about(ids: Ids, highest: int) -> float:
    """About how many units hold a word, of which only the newest were looked up."""
    return len(ids) if len(ids) < COMMON else len(ids) * highest / (highest - int(ids[0]) + 1)


def _held(said: Sequence[Ids], pool: Ids) -> npt.NDArray[np.bool_]:
    """Which word stands in which unit of ``pool``, shape ``(words, len(pool))``."""
    held = np.zeros((len(said), len(pool)), np.bool_)
    for row, ids in zip(held, said, strict=True):
        found, there = places(pool, ids)
        row[found[there]] = True
    return held


def _first_name(text: str) -> str:
    """The first word of a name, or of a memory, which begins with one: "Andrew's sister lives in Lyon."."""
    return "".join(words(text)[:1]).removesuffix("'s")


def _no_vectors(dimension: int) -> tuple[Ids, Vector]:
    return np.zeros(0, dtype=np.int64), np.zeros((0, dimension), dtype=np.float32)
