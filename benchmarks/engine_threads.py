"""How many threads llama.cpp should get: ``python benchmarks/engine_threads.py [--model qwen2.5-0.5b:Q4_K_M]``.

Every number of threads, with worker threads that wait by spinning (libgomp's own way) and by sleeping
(``OMP_WAIT_POLICY=passive``, this package's default), on a machine with nothing else to do and with one core taken by
somebody else. Each in a process of its own, for the policy is read once. Run from the repository, PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.engine_cases import model_file, ms
from memr1_lite.llama import LlamaModel
from memr1_lite.llama.library import default_threads

READ, WRITTEN = 128, 24
POLICIES = ("passive", "active")


@contextmanager
def somebody_else(busy: bool) -> Iterator[None]:
    """One core at work with something else."""
    worker = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if worker is not None:
            worker.kill()
            worker.wait()


def measured(path: str, threads: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of reading READ tokens, and of writing one, each time."""
    ids = list(range(300, 300 + READ))
    found: dict[str, list[float]] = {"read": [], "written": []}
    with LlamaModel.load(path, context=512, threads=threads) as model:
        for _ in range(rounds):
            model._session.forget()
            found["read"].append(_seconds(model, ids))
            found["written"] += [_seconds(model, [300]) for _ in range(WRITTEN)]
    return found


def _seconds(model: LlamaModel, ids: list[int]) -> float:
    began = time.perf_counter()
    model._session.evaluate(ids, 1)
    return time.perf_counter() - began


def child(path: Path, threads: int, policy: str, rounds: int) -> dict[str, list[float]]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.engine_threads", "--child", str(path), "--threads", str(threads)]
    environment = os.environ | {"OMP_WAIT_POLICY": policy}
    done = subprocess.run(
        [*command, "--rounds", str(rounds)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def table(times: dict[tuple[int, str, bool], dict[str, list[float]]]) -> list[str]:
    """Lines of Markdown: every way against one thread that has the machine for itself."""
    first = times[1, POLICIES[0], False]
    lines = [
        "| threads | waiting | somebody else on one core | reading | writing a token: median | 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for (threads, policy, busy), found in times.items():
        cells = [f"{median(found['read']) / median(first['read']):.2f} ({ms(median(found['read']) / READ)} a token)"]
        written = sorted(found["written"])
        for value in (median(written), written[int(0.95 * len(written))]):
            cells.append(f"{value / median(first['written']):.2f} ({ms(value)})")
        lines.append(f"| {threads} | {policy} | {'yes' if busy else 'no'} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-0.5b:Q4_K_M", help="bundled, or SHAPE:QUANT of random weights")
    parser.add_argument("--cache", type=Path, default=Path(".cache/engine"))
    parser.add_argument("--threads", type=int, nargs="+", help="as in 1 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measured(args.child, args.threads[0], args.rounds)))
        return
    path = model_file(args.model, args.cache)
    times = {}
    for threads in args.threads or range(1, (os.cpu_count() or 1) + 1):
        for policy in POLICIES if threads > 1 else POLICIES[:1]:  # one thread waits for nobody
            for busy in (False, True):
                with somebody_else(busy):
                    times[threads, policy, busy] = child(path, threads, policy, args.rounds)
    print(f"{args.model}; the default here is {default_threads()} of {os.cpu_count()}")
    print("\n".join(table(times)))


if __name__ == "__main__":
    main()
