"""What a model takes beside the time of its tokens: loading, the first token, memory, our own work in a call."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.engine_cases import Case, ForcedModel, Row, ms, ours
from benchmarks.footprint import import_seconds
from benchmarks.store_engines import resident_mib
from memr1_lite.llama import LlamaModel
from memr1_lite.llama.library import load_library
from memr1_lite.llm import Choice, Segment, Step


class Clocked:
    """llama.cpp's library, with the seconds that ``llama_decode`` took."""

    def __init__(self, library: Any, now: Callable[[], float]) -> None:  # noqa: ANN401 - ctypes
        self._library, self._now = library, now
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._library, name)

    def llama_decode(self, context: Any, batch: Any) -> int:  # noqa: ANN401
        """Decode, and look at the clock before and after."""
        began = self._now()
        try:
            return int(self._library.llama_decode(context, batch))
        finally:
            self.seconds += self._now() - began


def own_time(forced: ForcedModel, group: Sequence[Case], rounds: int) -> float:
    """Median seconds of a whole call outside ``llama_decode``: prompt, decoding, bookkeeping; each case at its best."""
    clocked = Clocked(forced.session._library, forced.clock)
    forced.session._library = clocked
    try:
        best = []
        for case in group:
            beside = []
            for _ in range(rounds):
                forced.prepare(case)
                clocked.seconds, began = 0.0, forced.clock()
                forced.model.complete(case.prompt, case.template)
                beside.append(forced.clock() - began - clocked.seconds)
            best.append(min(beside))
    finally:
        forced.session._library = clocked._library
    return median(best)


def child(path: Path, work: dict[str, Any]) -> dict[str, Any]:
    """What ``python -m benchmarks.engine_resources`` measures in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.engine_resources"]
    job = json.dumps({"path": str(path)} | work)
    done = subprocess.run(command, input=job, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def resources(model: LlamaModel, path: Path, group: Sequence[Case], threads: int) -> list[Row]:
    """Rows of loading, first tokens and memory; ``group`` are prompts for ``model``, which is ``path`` loaded."""
    size = path.stat().st_size / 2**20
    with tempfile.TemporaryDirectory() as folder:
        work = {
            "prompts": [[[segment.text, segment.trusted] for segment in case.prompt] for case in group],
            "ids": [model.prompt_ids(case.prompt) for case in group],
            "threads": threads,
            "states": folder,
        }
        bare, first, again = (child(path, work | {"bare": alone}) for alone in (True, False, False))
    return [
        ("loading, with its context: ours / llama.cpp alone", _ratio(again["load"], bare["load"])),
        ("first token of a first message: ours / whole prompt evaluated", _ratio(first["token"], bare["token"])),
        ("the same after a restart, with the state on disk", _ratio(again["token"], bare["token"])),
        ("first token of another message", _ratio(again["another"], bare["another"])),
        ("memory at rest, loaded: ours / llama.cpp alone", _mib(again["rest"], bare["rest"], size)),
        ("memory at work", _mib(again["work"], bare["work"], size)),
    ]


def importing(rounds: int) -> list[Row]:
    """``import memr1_lite``, as against the interpreter's own start."""
    added = import_seconds(rounds)
    return [("import memr1_lite, beside a bare interpreter", f"+{ms(added)}")]


def beside(forced: ForcedModel, found: dict[str, list[Case]], rounds: int) -> list[Row]:
    """Our own work in a call, by what is said."""
    rows = []
    for kind in ("NOOP", "ADD"):
        group = found[kind]
        share = own_time(forced, group, rounds)
        said = median(len(forced.prepare(case)) for case in group)
        whole = median(ours(forced, case) for case in group)
        text = f"{ms(share)} for {said:.0f} tokens, whose writing takes {ms(whole)}"
        rows.append((f"our own work in a call, {kind}", text))
    return rows


def _ratio(own: float, other: float) -> str:
    return f"{own / other:.2f}x  ({ms(own)} / {ms(other)})"


def _mib(own: float, other: float, size: float) -> str:
    return f"{own / other:.2f}x  ({own:.0f} / {other:.0f} MiB; the file {size:.0f})"


class OneChoice:
    """A template that is said with the first token."""

    def next_step(self, values: Sequence[str]) -> Step | None:
        """An operation, and nothing after it."""
        return None if values else Choice(("ADD", "NOOP"))


def measured(job: dict[str, Any]) -> dict[str, float]:
    """The child's work: seconds and MiB."""
    first_token = _bare if job["bare"] else _ours
    began = time.perf_counter()
    call = first_token(job)
    found = {"load": time.perf_counter() - began, "rest": resident_mib()}
    seconds = []
    for number in range(len(job["ids"])):
        began = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - began)
    return found | {"token": seconds[0], "another": median(seconds[1:]), "work": resident_mib()}


def _ours(job: dict[str, Any]) -> Callable[[int], object]:
    prompts = [tuple(Segment(text, trusted=trusted) for text, trusted in prompt) for prompt in job["prompts"]]
    model = LlamaModel.load(job["path"], threads=job["threads"], states=Path(job["states"]))
    return lambda number: model.complete(prompts[number], OneChoice())


def _bare(job: dict[str, Any]) -> Callable[[int], object]:
    library = load_library()
    parameters = library.llama_model_default_params()
    parameters.use_extra_bufts = False
    settings = library.llama_context_default_params()
    settings.n_ctx, settings.n_threads, settings.n_threads_batch = 4096, job["threads"], job["threads"]
    model = library.llama_model_load_from_file(job["path"].encode(), parameters)
    context = library.llama_init_from_model(model, settings)
    size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))

    def call(number: int) -> int:
        ids = job["ids"][number]
        library.llama_memory_clear(library.llama_get_memory(context), False)
        array = (library.llama_token * len(ids))(*ids)
        assert library.llama_decode(context, library.llama_batch_get_one(array, len(ids))) == 0
        return int(np.ctypeslib.as_array(library.llama_get_logits(context), shape=(size,)).argmax())

    return call


if __name__ == "__main__":
    print(json.dumps(measured(json.load(sys.stdin))))
