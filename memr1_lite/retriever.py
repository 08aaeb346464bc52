"""Hybrid retrieval: by word and by vector, each over a unit and the turns around it, added; needs no language model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from memr1_lite.apart import Apart
from memr1_lite.control import current_call
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
    distinct,
    laid_out,
    most_wanted,
    or_zero,
    rarity,
    reached,
    spread,
    standing_in,
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
"""How many nearest vectors are looked at, at least, and how many units of the best words, which in a big bank get their
cosines from the store where their vectors were not found near."""
COMMON = 4_096
"""A word is followed to its newest units only, so that a common one in a big bank does not cost more than this."""
POOL = 256
"""So many units of each kind, by their words, are looked at closely."""
CHOSEN = 128
"""For so many of each kind, at least, it is looked up who said them and what was written from them."""
DEEPER = 8
"""So many times as far a search looks where turns that say nothing of their own crowd the others out."""
SPARE = 8
FEW = 64
"""So many changes an index takes over within the call; more are taken over apart, where a deadline need not wait."""
OWN_MEMORY = 1.5
"""What a memory of the speaker, or of somebody of his, counts for what he says of himself."""
NAME_WORD = 0.5
"""Share of its rarity that a speaker's name counts as a word: who said something matters more than who is mentioned."""


class Near(NamedTuple):
    """What lies near a vector: ids and cosines, both of shape ``(n,)``; nothing where there is no vector."""

    vector: Vector | None
    ids: Ids
    cosines: Scores


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
        self._apart = Apart("memr1-index")

    def similar(self, message_text: str, speaker: str, k: int) -> list[Memory]:
        """Return up to ``k`` memories most like what ``speaker`` said, best first, by reciprocal rank fusion.

        Who says "I" or "my" speaks of himself and his own. So memories of him and of those around him come first, and
        those of another speaker whom he does not name are left out: a small model may write over them.
        """
        if k < 1:
            return []
        text, depth = spoken(speaker, message_text), max(2 * k, MIN_SIMILAR)
        near = self._near("memory", self._vector(text), depth)
        said = self._store.keyword_search("memory", keywords(text), depth)
        scores: dict[int, float] = {}
        for leg in (near.ids.tolist(), said):
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
        highest = {kind: standing.highest for kind, standing in self._store.standings().items()}
        nothing = [np.zeros(0, np.int64)] * len(question.words)
        said = {
            kind: self._store.holding(kind, question.words, COMMON, span) if highest[kind] else nothing
            for kind in KINDS
        }
        counts = [sum(_about(said[kind][row], highest[kind]) for kind in KINDS) for row in range(len(question.words))]
        weights = rarity(counts, sum(highest.values()))
        weights *= [NAME_WORD if word in question.names else 1.0 for word in question.words]

        found, seen = self._weighed(question, vector, k, span, said, weights)
        if len(found) < k and seen == max(CHOSEN, 4 * k):
            # Turns that changed a memory took every place, and what they bring is few: others may say as much.
            alone = self._store.holding("turn", question.words, COMMON, span, uncovered=True)
            found, _ = self._weighed(question, vector, k, span, said, weights, most_wanted(alone, weights, POOL))
        return found

    def _weighed(
        self,
        question: Question,
        vector: Vector | None,
        k: int,
        span: Span | None,
        said: Mapping[Kind, Sequence[Ids]],
        weights: Scores,
        alone: Ids | None = None,
    ) -> tuple[list[Found], int]:
        """What was found, best first, and how many turns were looked at closely.

        :param alone: turns that changed no memory, each looked at whatever the others score
        """
        deeper = 1 if alone is None else DEEPER
        depth, chosen = max(DEPTH, 2 * k), max(CHOSEN, 4 * k)
        near = self._near("turn", vector, depth * deeper, span)
        turns, reach = self._turns(said["turn"], weights, near, depth, alone)
        best = turns.best_places(chosen * deeper)
        if alone is not None:
            best = np.union1d(best, np.flatnonzero(np.isin(turns.ids, alone)))
        turns, reach = turns.chosen(best), reach[:, best]
        near = self._near("memory", vector, depth, span)
        memories = self._memories(said["memory"], weights, near, depth, turns, reach).best(chosen)
        traits: dict[Kind, dict[int, Trait]] = {"turn": self._store.traits("turn", turns.ids.tolist())}
        # A memory that was deleted since the index followed drops out when it is shown.
        if span is not None or question.names or question.days:
            traits["memory"] = self._store.traits("memory", memories.ids.tolist())
        return ranked(question, [turns, memories], traits, span, k + SPARE), len(best)

    def _turns(
        self, said: Sequence[Ids], weights: Scores, near: Near, depth: int, alone: Ids | None
    ) -> tuple[Hits, Scores]:
        """Turns by what they and their neighbours say, and how much each word counts for each of them."""
        wanted = [most_wanted(said, weights, POOL), near.ids]
        pool = laid_out(np.concatenate(wanted if alone is None else [*wanted, alone]), len(WORD_REACH) - 1)
        held = standing_in(pool, said)
        reach = reached(held, WORD_REACH)
        cosines = self._cosines("turn", pool, weights @ held, near, depth)
        return Hits("turn", pool, weights @ reach, spread(or_zero(cosines), VECTOR_REACH), cosines, held), reach

    def _memories(
        self, said: Sequence[Ids], weights: Scores, near: Near, depth: int, turns: Hits, reach: Scores
    ) -> Hits:
        """Memories by what they say, and by the turns they were written from."""
        pairs = self._store.written_from(turns.ids.tolist())
        ids = distinct(np.concatenate([most_wanted(said, weights, POOL), near.ids, pairs[:, 1]]))
        held = standing_in(ids, said)
        counts, cosines = held.astype(np.float64), self._cosines("memory", ids, weights @ held, near, depth)
        vectors = or_zero(cosines)
        if len(pairs):
            pairs = pairs[np.argsort(pairs[:, 1], kind="stable")]
            order = np.argsort(turns.ids)
            turn = order[np.searchsorted(turns.ids[order], pairs[:, 0])]
            first = np.flatnonzero(np.diff(pairs[:, 1], prepend=-1))
            memory = np.searchsorted(ids, pairs[first, 1])
            counts[:, memory] = np.maximum(counts[:, memory], np.maximum.reduceat(reach[:, turn], first, axis=1))
            vectors[memory] = np.maximum(vectors[memory], np.maximum.reduceat(turns.vectors[turn], first))
        return Hits("memory", ids, weights @ counts, vectors, cosines, held)

    def _plain(self, question: Question, vector: Vector | None, depth: int, span: Span | None) -> list[Found]:
        """What one leg finds in the texts alone, without neighbours or factors: by vector, or else by word."""
        hits, traits = [], dict[Kind, dict[int, Trait]]()
        for kind in KINDS:
            if vector is None:
                # In order of BM25, whose scores in two indexes do not compare.
                said = self._store.keyword_search(kind, question.words, depth, span, uncovered=kind == "turn")
                ids = np.array(said, dtype=np.int64)
                words, cosines = 1.0 / np.arange(1, len(ids) + 1), np.full(len(ids), np.nan)
            else:
                _, ids, cosines = self._near(kind, vector, depth, span, uncovered=kind == "turn")
                words = np.zeros(len(ids))
            held = np.zeros((len(question.words), len(ids)), np.bool_)
            hits.append(Hits(kind, ids, words, or_zero(cosines), cosines, held))
            traits[kind] = self._store.traits(kind, ids.tolist())
        return ranked(Question(question.text, question.words, frozenset(), ()), hits, traits, span, depth, floor=0.0)

    def _shown(self, found: list[Found], k: int) -> list[Candidate]:
        candidates = self._records(found[:k], k)
        # A few more than k only where some were deleted or purged meanwhile.
        return candidates if len(candidates) == min(k, len(found)) else self._records(found[: k + SPARE], k)

    def _records(self, found: list[Found], k: int) -> list[Candidate]:
        current_call().check()
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
        self._follow()
        return self._indexes[kind].ids()

    def save(self) -> None:
        """Write the indexes that changed.

        :raises VectorIndexError: an index could not be written
        """
        for index in self._indexes.values():
            index.save()

    def close(self) -> None:
        """End what is built in the background, and save as :meth:`save` does.

        :raises VectorIndexError: an index could not be written
        """
        self._apart.cancel()
        self.save()

    def _follow(self) -> None:
        """Have both indexes take over what changed in the store."""
        for kind, standing in self._store.standings().items():
            behind = standing.position - self._indexes[kind].position
            if abs(behind) > FEW:  # reading an index, building one, adding much
                while not self._apart.run(kind, partial(self._catch_up, kind)):
                    pass
            elif behind:
                self._catch_up(kind)

    def _catch_up(self, kind: Kind) -> None:
        index = self._indexes[kind]
        with current_call().holding(self._lock):  # two threads at once could take over an older state after a newer one
            if index.position == 0:
                index.load()
            start = index.position
            # The position is read before the vectors: what changes in between is merely taken over twice.
            position, touched = self._store.touched_since(kind, start)
            if position < start or (start == 0 and position):  # a saved index may be newer than a restored bank
                index.rebuild(position, *self._store.vectors(kind))
            elif position > start:
                index.catch_up(position, touched, self._store.vectors(kind, touched))

    def _vector(self, text: str) -> Vector | None:
        """The vector of ``text``; None where there is nothing to compare it with."""
        self._follow()
        if not any(len(index) for index in self._indexes.values()):
            return None
        vector: Vector = self._embedder.embed([text])[0]
        return vector

    def _near(
        self, kind: Kind, vector: Vector | None, depth: int, span: Span | None = None, *, uncovered: bool = False
    ) -> Near:
        """The nearest that are near enough, best first."""
        current_call().check()
        found = list[tuple[int, float]]()
        if vector is not None and len(self._indexes[kind]):
            everything = span is None and not uncovered
            allowed = None if everything else self._store.within(kind, span, uncovered=uncovered)
            found = self._indexes[kind].search(vector, depth, allowed)
        found = [pair for pair in found if pair[1] > MIN_COSINE]
        return Near(vector, np.array([item for item, _ in found], np.int64), np.array([cosine for _, cosine in found]))

    def _cosines(self, kind: Kind, pool: Ids, by_words: Scores, near: Near, depth: int) -> Scores:
        """The cosine of each of ``pool``; NaN where it has no vector, is not near, or, in a big bank, is not among
        the best ``depth`` by word or by vector."""
        current_call().check()
        vector = near.vector
        cosines = None if vector is None or not len(pool) else self._indexes[kind].cosines(vector, pool)
        if cosines is None:
            cosines = np.full(len(pool), np.nan)
            cosines[np.searchsorted(pool, near.ids)] = near.cosines
            if vector is not None and len(pool):
                # A graph hands its vectors out slowly: the store is quicker, and still takes microseconds for each.
                asked = np.flatnonzero(np.isnan(cosines) & (by_words > 0.0))
                asked = np.sort(asked[np.lexsort((-pool[asked], -by_words[asked]))][:depth])
                found, matrix = self._store.vectors(kind, pool[asked].tolist())
                cosines[np.searchsorted(pool, found)] = matrix @ vector
        return np.where(cosines > MIN_COSINE, cosines, np.nan)


def _about(ids: Ids, highest: int) -> float:
    """About how many units hold a word, of which only the newest were looked up."""
    return len(ids) if len(ids) < COMMON else len(ids) * highest / (highest - int(ids[0]) + 1)


def _first_name(text: str) -> str:
    """The first word of a name, or of a memory, which begins with one: "Andrew's sister lives in Lyon."."""
    return "".join(words(text)[:1]).removesuffix("'s")
