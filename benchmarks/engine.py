"""What the engine costs: ``python benchmarks/engine.py LOCOMO.json [--models NAME,NAME] [--rows ROWS ...]``.

Prompts are turns and memories of a LoCoMo file; outputs are plausible ones, forced on the model by its logits, so
random weights do. Every row is a ratio of two things measured in turns in this run, by the sum of each case's best
time (the processor's, where one thread writes); absolute times belong to this machine and to what else it does. Run
from the repository, PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine_cases import Case, ForcedModel, Row, bare, cases, model_file, ms, ours, questions
from benchmarks.engine_peers import peers
from benchmarks.engine_resources import beside, importing, resources
from memr1_lite import answer_agent, memory_manager
from memr1_lite.answer_agent import AnswerTemplate, answer_prompt
from memr1_lite.control import Calls
from memr1_lite.errors import CallCancelledError, DeadlineError
from memr1_lite.llama import LlamaModel, ProcessModel
from memr1_lite.records import Candidate

ROWS = ("decoding", "peers", "prompts", "resources", "stopping")


def decoding(forced: ForcedModel, found: dict[str, list[Case]], rounds: int) -> list[Row]:
    """Ours against the bare loop, without and with drafts of what the prompt says next."""
    rows = []
    best: dict[str, list[list[float]]] = {kind: [] for kind in found}
    for number in range(len(found["NOOP"])):  # the kinds of one prompt one after another: most of it stays in place
        for kind, group in found.items():
            runs = (bare, ours, with_drafts)
            best[kind].append([min(run(forced, group[number]) for _ in range(rounds)) for run in runs])
    sums = {kind: tuple(map(sum, zip(*times, strict=True))) for kind, times in best.items()}
    sums["the four together, equally often"] = tuple(
        sum(part) for part in zip(*(times for kind, times in sums.items() if kind != "free text"), strict=True)
    )
    for kind, (plain, own, drafting) in sums.items():
        measure = f"{plain / own:.2f}x, with drafts {plain / drafting:.2f}x"
        rows.append((f"{kind}: bare loop / ours", f"{measure}  ({ms(plain)} / {ms(own)} / {ms(drafting)})"))
    return rows


def with_drafts(forced: ForcedModel, case: Case) -> float:
    """The same with drafts, whose worth is learned from one call to the next."""
    model = forced.model
    model._pace = forced.pace
    try:
        return ours(forced, case)
    finally:
        model._pace = None


def instructions(path: Path, case: Case) -> list[Row]:
    """The time of fixed instructions: evaluated at first, and from disk after a restart."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in ("first", "restarted"):
            with LlamaModel.load(path, states=Path(folder)) as model:
                began = time.perf_counter()
                model._session.begin(model.prompt_ids(case.prompt), model._fixed(case.prompt))
                seconds.append(time.perf_counter() - began)
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
    share = f"1/{seconds[0] / seconds[1]:.0f}  ({ms(seconds[1])} / {ms(seconds[0])}, {size:.1f} MiB)"
    return [("instructions: state from disk / evaluated", share)]


def prompts(path: Path, groups: dict[str, list[Case]], *, on_disk: bool) -> list[Row]:
    """Prompt tokens evaluated per call: the first one, others, one again, and the first after a restart."""
    counts: dict[str, list[list[int]]] = {role: [] for role in groups}
    whole: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in ("first", "restarted"):
            with LlamaModel.load(path, states=Path(folder) if on_disk else None) as model:
                forced = ForcedModel(model)
                for role, group in groups.items():
                    counts[role].append([evaluated(forced, case) for case in [*group, group[-1]]])
                    whole[role] = median(len(model.prompt_ids(case.prompt)) for case in group)
    where = "states on disk" if on_disk else "none on disk"
    return [
        (
            f"{role}, {where}: whole; evaluated at first, then, again, restarted",
            f"{whole[role]:.0f}; {first[0]}, {median(first[1:-1]):.0f}, {first[-1]}, {restarted[0]}",
        )
        for role, (first, restarted) in counts.items()
    ]


def evaluated(forced: ForcedModel, case: Case) -> int:
    """Tokens evaluated by a call that says one token."""
    forced.prepare(case)
    before = forced.model.evaluated_tokens
    said = forced.model.complete(case.prompt, case.template)
    assert said.values == case.values, (said.values, case.values)
    return forced.model.evaluated_tokens - before


def stopping(model: LlamaModel, case: Case, count: int) -> list[Row]:
    """From cancel(), and from a deadline, to the exception, at random moments of calls."""
    draw = random.Random(1)
    waits: dict[str, list[float]] = {"cancel()": [], "deadline": []}
    began = time.perf_counter()
    model._session.forget()
    model.complete(case.prompt, case.template)
    whole = time.perf_counter() - began
    for number in range(2 * count):
        model._session.forget()
        calls, moment = Calls(), draw.random() * whole * 0.8
        stopped: list[float] = []

        def stop(calls: Calls = calls, stopped: list[float] = stopped) -> None:
            stopped.append(time.perf_counter())
            calls.cancel()

        timer = threading.Timer(moment, stop)
        by_deadline = number % 2 == 1
        if by_deadline:
            stopped.append(time.perf_counter() + moment)
        else:
            timer.start()
        try:
            with calls.limited(moment if by_deadline else None):
                model.complete(case.prompt, case.template)
        except (CallCancelledError, DeadlineError):
            waits["deadline" if by_deadline else "cancel()"].append(time.perf_counter() - stopped[0])
        finally:
            if not by_deadline:
                timer.join()
    rows = []
    for what, times in waits.items():
        times.sort()
        rows.append(
            (
                f"{what} to exception, {len(times)} random moments: median, 95 %, worst",
                f"{ms(median(times))}, {ms(times[int(0.95 * len(times))])}, {ms(times[-1])}",
            )
        )
    return rows


def apart(path: Path, case: Case, rounds: int) -> list[Row]:
    """A call to a child process against one here."""
    with LlamaModel.load(path) as here, ProcessModel.load(path) as child:
        seconds = []
        for model in (here, child):
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                model.complete(case.prompt, case.template)
                times.append(time.perf_counter() - began)
            seconds.append(min(times))
    more = f"{seconds[1] / seconds[0]:.2f}x  (+{ms(seconds[1] - seconds[0])})"
    return [("engine='process' / in this process, a whole call", more)]


def rows_of(name: str, conversations: list[dict[str, Any]], args: argparse.Namespace) -> Iterable[list[Row]]:
    """The table of one model, a few rows at a time."""
    bundled, path = name == "bundled", model_file(name, args.cache)
    told = None if bundled else memory_manager.INSTRUCTIONS
    found = cases(conversations, args.cases, told)
    with LlamaModel.load(path, threads=args.threads) as model:
        model._own_words = None  # forced texts hold any word
        model.prepare(found["NOOP"][0].prompt)
        forced = ForcedModel(model, args.threads)
        if "decoding" in args.rows:
            yield decoding(forced, found, args.rounds)
        if "peers" in args.rows and not bundled:  # a vocabulary that can write JSON
            yield peers(forced, path, found, args.rounds, args.threads)
        if "resources" in args.rows:
            yield beside(forced, found, max(args.rounds, 3))
            yield resources(model, path, found["NOOP"], args.threads)
    if "prompts" in args.rows and not bundled:
        yield instructions(path, found["NOOP"][0])
        # Only tokens are counted, and those are the vocabulary's: a small model has the same.
        counted = model_file("tiny:Q8_0", args.cache)
        asked = questions(conversations, args.cases, answer_agent.INSTRUCTIONS, args.candidates)
        for on_disk in (True, False):
            yield prompts(counted, {"remember": found["NOOP"], "ask": asked}, on_disk=on_disk)
    if "stopping" in args.rows:
        if bundled:
            yield apart(path, found["NOOP"][0], 20)
        with LlamaModel.load(path, threads=args.threads) as model:
            yield stopping(model, citing(), args.cancels if bundled else args.cancels // 10)


def citing() -> Case:
    """A call that goes on and on, whatever the model wants."""
    candidates = [Candidate(kind="memory", id=n, text="a dog " * 8) for n in range(30)]

    class Citing:
        def next_step(self, values: Sequence[str]) -> Any:  # noqa: ANN401
            return AnswerTemplate(30).next_step(()) if len(values) < 12 else None

    return Case(answer_prompt("Who?", candidates), Citing(), ())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path, metavar="LOCOMO.json")
    parser.add_argument(
        "--models", default="bundled,qwen2.5-0.5b:Q4_K_M", help="bundled, or SHAPE:QUANT of random weights"
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--cache", type=Path, default=Path(".cache/engine"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--candidates", type=int, default=60, help="shown with a question")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cancels", type=int, default=200)
    args = parser.parse_args()
    conversations = json.loads(args.conversations.read_text(encoding="utf-8"))
    if "resources" in args.rows:
        _print(importing(5))
    for name in args.models.split(","):
        print(f"{name}  ({model_file(name, args.cache).stat().st_size / 2**20:.0f} MiB)", flush=True)
        for rows in rows_of(name, conversations, args):
            _print(rows)


def _print(rows: Iterable[Row]) -> None:
    for what, measure in rows:
        print(f"    {what:72} {measure}", flush=True)


if __name__ == "__main__":
    main()
