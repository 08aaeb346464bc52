"""What the engine costs: ``python benchmarks/engine.py LOCOMO.json [--models bundled,qwen2.5-0.5b:Q4_K_M]``.

Prompts are turns and memories of a LoCoMo file; outputs are plausible ones, forced on the model by its logits, so
random weights do. Every row is a ratio of two things measured in turns in this run, by the sum of each case's best
time; absolute times belong to this machine and to what else it does. Run from the repository, PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from memr1_lite import memory_manager
from memr1_lite.answer_agent import AnswerTemplate, answer_prompt
from memr1_lite.control import Calls
from memr1_lite.errors import CallCancelledError, DeadlineError
from memr1_lite.file_agents import bundled_agent
from memr1_lite.llama import LlamaModel, ProcessModel
from memr1_lite.llm import END, OutputTemplate, Segment
from memr1_lite.memory_manager import ManagerTemplate, manager_prompt
from memr1_lite.records import Candidate, Memory, Message

AT = datetime(2023, 5, 8)
FORCE = 1e4
"""Added to the logit of the token that is to be said."""


@dataclass(frozen=True)
class Case:
    """A prompt and what is to be said to it, value by value."""

    prompt: tuple[Segment, ...]
    template: OutputTemplate
    values: tuple[str, ...]


class ForcedModel:
    """A model whose logits say what a case wants; knows when its prompt was evaluated."""

    def __init__(self, model: LlamaModel) -> None:
        self.model, self.session = model, model._session
        self._evaluate = self.session.evaluate
        self.session.evaluate = self.evaluate  # type: ignore[method-assign]
        self.ids: list[int] = []
        self.begun = 0.0

    def prepare(self, case: Case) -> list[int]:
        """The ids of the output, which are forced from now on."""
        ids = self.model.prompt_ids(case.prompt)
        said: list[int] = []
        for value in case.values:
            said += [self.model._end] if value == END else self.model.tokenize(Segment(value, trusted=True))
            if value.startswith(" ") and case.template.next_step(("ADD", value)) is not None:
                said += self.model.tokenize(Segment("\n", trusted=True))
        self.ids, self.begun = ids + said, 0.0
        return said

    def evaluate(self, ids: Sequence[int], rows: int) -> np.ndarray:
        """Evaluate, and bend the logits."""
        logits = self._evaluate(ids, rows)
        self.begun = self.begun or time.perf_counter()
        after = len(self.session._held) - rows + 1
        for row in range(rows):
            if after + row < len(self.ids):
                logits[row][self.ids[after + row]] += FORCE
        return logits


def ours(forced: ForcedModel, case: Case) -> float:
    """Seconds of a completion from the moment its prompt was evaluated."""
    forced.prepare(case)
    said = forced.model.complete(case.prompt, case.template)
    seconds = time.perf_counter() - forced.begun
    assert said.values == case.values, (said.values, case.values)
    return seconds


def bare(forced: ForcedModel, case: Case) -> float:
    """Seconds of a loop of ``llama_decode`` and argmax, once the prompt was evaluated."""
    said = forced.prepare(case)
    session, ids = forced.session, forced.ids[: -len(said)]
    held = session.begin(ids, forced.model._fixed(case.prompt))
    logits = forced.evaluate(ids[held:], 1)
    began = time.perf_counter()
    for token in said[:-1]:
        assert int(np.argmax(logits[0])) == token
        logits = forced.evaluate([token], 1)
    return time.perf_counter() - began


def cases(conversations: list[dict[str, Any]], count: int, instructions: str | None) -> dict[str, list[Case]]:
    """Manager outputs by kind over real turns, with what annotators noted as the texts; free text is of other talks."""
    draw = random.Random(0)
    found: dict[str, list[Case]] = {"ADD": [], "UPDATE": [], "DELETE": [], "NOOP": [], "free text": []}
    noted = [
        [(text, source) for part in talk["observation"].values() for notes in part.values() for text, source in notes]
        for talk in conversations
    ]
    for number in range(count):
        talk = conversations[number % len(conversations)]
        turns = {
            turn["dia_id"]: turn for part in talk["conversation"].values() if isinstance(part, list) for turn in part
        }
        notes = [note for note in noted[number % len(conversations)] if isinstance(note[1], str) and note[1] in turns]
        place = draw.randrange(20, len(notes))
        text, source = notes[place]
        turn = turns[source]
        message = Message(id=1, speaker=turn["speaker"], text=turn["text"], at=AT)
        chosen = draw.sample(range(place), 8)
        similar = [Memory(id=n, text=notes[n][0]) for n in chosen]
        prompt = manager_prompt(message, similar, instructions)
        target = draw.randrange(8)
        mark, old = f"[{target + 1}]", similar[target].text.rstrip(".")
        other = draw.choice(noted[(number + 1) % len(conversations)])[0]
        for kind, values in {
            "ADD": ("ADD", f" {text}", END),
            "UPDATE": ("UPDATE", mark, f" {old}, and {text[0].lower()}{text[1:]}", END),
            "DELETE": ("DELETE", mark, END),
            "NOOP": ("NOOP",),
            "free text": ("ADD", f" {other}", END),
        }.items():
            found[kind].append(Case(prompt, ManagerTemplate(8), values))
    return found


def decoding(model: LlamaModel, found: dict[str, list[Case]], rounds: int) -> list[tuple[str, str]]:
    """Ours against the bare loop."""
    forced = ForcedModel(model)
    rows, totals = [], [0.0, 0.0]
    for kind, group in found.items():
        sums = [0.0, 0.0]
        for case in group:
            best = [min(run(forced, case) for _ in range(rounds)) for run in (bare, ours)]
            sums = [a + b for a, b in zip(sums, best, strict=True)]
        rows.append((f"{kind}: bare loop / ours", f"{sums[0] / sums[1]:.2f}x  ({_ms(sums[0])} / {_ms(sums[1])})"))
        if kind != "free text":
            totals = [a + b for a, b in zip(totals, sums, strict=True)]
    rows.insert(4, ("the four together, equally often", f"{totals[0] / totals[1]:.2f}x"))
    return rows


def beginnings(path: Path, found: dict[str, list[Case]]) -> list[tuple[str, str]]:
    """Tokens evaluated and the time of fixed instructions: first, repeated, and after a restart."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        seconds, tokens = [], []
        for _ in ("first", "restarted"):
            with LlamaModel.load(path, states=Path(folder)) as model:
                began = time.perf_counter()
                case = found["NOOP"][0]
                ids = model.prompt_ids(case.prompt)
                model._session.begin(ids, model._fixed(case.prompt))
                seconds.append(time.perf_counter() - began)
                forced = ForcedModel(model)
                counts = []
                for case in found["NOOP"]:
                    forced.prepare(case)
                    before = model.evaluated_tokens
                    model.complete(case.prompt, case.template)
                    counts.append(model.evaluated_tokens - before)
                tokens.append((len(ids), model._fixed(case.prompt), median(counts)))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    share = f"1/{seconds[0] / seconds[1]:.0f}  ({_ms(seconds[1])} / {_ms(seconds[0])}, {size / 2**20:.1f} MiB)"
    rows.append(("instructions: state from disk / evaluated", share))
    evaluated = f"{tokens[0][2]:.0f}, without the {tokens[0][1]} of the instructions"
    rows.append(("prompt tokens evaluated per message, median", evaluated))
    return rows


def stopping(model: LlamaModel, case: Case, count: int) -> list[tuple[str, str]]:
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
                f"{_ms(median(times))}, {_ms(times[int(0.95 * len(times))])}, {_ms(times[-1])}",
            )
        )
    return rows


def apart(path: Path, case: Case, rounds: int) -> list[tuple[str, str]]:
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
    more = f"{seconds[1] / seconds[0]:.2f}x  (+{_ms(seconds[1] - seconds[0])})"
    return [("engine='process' / in this process, a whole call", more)]


def model_file(name: str, cache: Path) -> Path:
    """What ``--models`` names: ``bundled`` the Manager that ships, ``SHAPE:QUANT`` random weights, made once."""
    if name == "bundled":
        return bundled_agent("manager")
    from benchmarks.engine_models import random_model  # needs the extras of convert/

    return random_model(cache, *name.split(":"))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path, metavar="LOCOMO.json")
    parser.add_argument(
        "--models", default="bundled,qwen2.5-0.5b:Q4_K_M", help="bundled, or SHAPE:QUANT of random weights"
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache/engine"))
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cancels", type=int, default=200)
    args = parser.parse_args()
    conversations = json.loads(args.conversations.read_text(encoding="utf-8"))
    for name in args.models.split(","):
        bundled, path = name == "bundled", model_file(name, args.cache)
        found = cases(conversations, args.cases, None if bundled else memory_manager.INSTRUCTIONS)
        print(f"{name}  ({path.stat().st_size / 2**20:.0f} MiB)", flush=True)
        steps: list[Callable[[], list[tuple[str, str]]]] = []
        with LlamaModel.load(path) as model:
            model._own_words = None  # forced texts hold any word
            for row in decoding(model, found, args.rounds):
                print(f"    {row[0]:66} {row[1]}", flush=True)
        if not bundled:
            steps.append(lambda path=path, found=found: beginnings(path, found))
        else:
            steps.append(lambda path=path, found=found: apart(path, found["NOOP"][0], 20))
        for step in steps:
            for row in step():
                print(f"    {row[0]:66} {row[1]}", flush=True)
        with LlamaModel.load(path) as model:
            long = Case(
                answer_prompt("Who?", [Candidate(kind="memory", id=n, text="a dog " * 8) for n in range(30)]),
                AnswerTemplate(30),
                (),
            )

            class Citing:
                def next_step(self, values: Sequence[str]) -> Any:  # noqa: ANN401
                    return AnswerTemplate(30).next_step(()) if len(values) < 12 else None

            for row in stopping(
                model, Case(long.prompt, Citing(), ()), args.cancels if bundled else args.cancels // 10
            ):
                print(f"    {row[0]:66} {row[1]}", flush=True)


if __name__ == "__main__":
    main()
