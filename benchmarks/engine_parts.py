"""Where the engine's time goes: ``python benchmarks/engine_parts.py LOCOMO.json [--models ...] [--threads 1,2]``.

Two things decide whether a decode loop can be quicker than a bare one: what this package does per token beside the
model, measured here with a stand-in for the model; and what llama.cpp takes for a batch of n tokens, as against n
times one. Times are the processor's, with one thread: what else the machine does counts less then. With more threads
they are the clock's. Run from the repository, PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.engine_cases import FORCE, Case, ForcedModel, cases, model_file
from memr1_lite import memory_manager
from memr1_lite.llama import LlamaModel
from memr1_lite.llama.decoding import Decoding
from memr1_lite.llama.wording import Wording, words_of

BATCHES = (1, 2, 3, 4, 8, 16, 32)
HELD = 300


class StandIn:
    """Costs nothing to evaluate, and says what a case wants."""

    room = 4096

    def __init__(self, ids: Sequence[int], size: int) -> None:
        self._ids, self._held = ids, 0
        self._row = np.random.default_rng(0).standard_normal((1, size), dtype=np.float32)
        self._last = 0

    def evaluate(self, ids: Sequence[int], rows: int) -> np.ndarray:
        """One row of logits, with the wanted token on top."""
        self._held += len(ids)
        self._row[0, self._last] = 0.0
        self._last = self._ids[self._held]
        self._row[0, self._last] = FORCE
        return self._row

    def rewind(self, count: int) -> None:
        """Nothing is drafted here."""


def own_work(model: LlamaModel, case: Case, own_words: bool, rounds: int) -> float:
    """Seconds per token of output beside the model."""
    said = ForcedModel(model).prepare(case)
    ids = [*model.prompt_ids(case.prompt), *said]
    vocabulary = model._vocabulary
    read = " ".join(segment.text for segment in case.prompt) + " ".join(case.values)
    words = words_of(read) | (model._own_words or frozenset())

    def run() -> None:
        wording = Wording(vocabulary.token_forms, words) if own_words else None
        Decoding(vocabulary, model._end, ids[: -len(said)], StandIn(ids, vocabulary.size), wording).run(case.template)

    run()
    return min(_seconds(run, time.perf_counter) for _ in range(rounds)) / len(said)


def by_batch(model: LlamaModel, clock: Callable[[], float], rounds: int) -> dict[int, tuple[float, float]]:
    """Seconds of one evaluation of n tokens after HELD others: with the logits after each, and after the last alone."""
    session = model._session
    ids = [int(token) for token in np.random.default_rng(0).integers(300, 4000, HELD)]
    session.begin(ids)
    session.evaluate(ids, 1)
    best = {(count, rows): float("inf") for count in BATCHES for rows in (count, 1)}
    for _ in range(rounds):
        for count, rows in best:
            took = _seconds(lambda count=count, rows=rows: session.evaluate(ids[:count], rows), clock)
            best[count, rows] = min(best[count, rows], took)
            session.rewind(count)
    return {count: (best[count, count], best[count, 1]) for count in BATCHES}


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    call()
    return clock() - began


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path, metavar="LOCOMO.json")
    parser.add_argument("--models", default="bundled,qwen2.5-0.5b:Q4_K_M,qwen2.5-0.5b:Q8_0")
    parser.add_argument("--threads", default="1", help="as in 1,2")
    parser.add_argument("--cache", type=Path, default=Path(".cache/engine"))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    conversations = json.loads(args.conversations.read_text(encoding="utf-8"))
    for name in args.models.split(","):
        bundled, path = name == "bundled", model_file(name, args.cache)
        print(name, flush=True)
        case = cases(conversations, 1, None if bundled else memory_manager.INSTRUCTIONS)["free text"][0]
        for threads in map(int, args.threads.split(",")):
            clock = time.process_time if threads == 1 else time.perf_counter
            with LlamaModel.load(path, threads=threads) as model:
                best = by_batch(model, clock, args.rounds * (20 if bundled else 1))
            one = best[1][0]
            row = "  ".join(f"{n}: {each / one:.2f} / {last / one:.2f}" for n, (each, last) in best.items())
            print(f"    {threads} threads, one token {1000 * one:.2f} ms, batch of  {row}", flush=True)
        with LlamaModel.load(path, threads=1) as model:
            for own_words in (False, True) if bundled else (False,):
                what = "its words restricted" if own_words else "any words"
                took = 1e6 * own_work(model, case, own_words, args.rounds * 10)
                print(f"    beside the model, per token of free text, {what}: {took:.0f} us", flush=True)


if __name__ == "__main__":
    main()
