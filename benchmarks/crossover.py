"""Where a graph begins to pay: ``python benchmarks/crossover.py --sizes 1000 2000 5000 10000 20000 50000``.

The same bank twice for each size, searched exactly and by graph, both in turns in one process.
``BankConfig.exact_below`` is the size above which a bank uses the graph. "Open" holds the first search, which reads all
vectors, or the saved graph.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from store import make_data
from store_engines import Memr1, load, milliseconds

WAYS = {"exact": 10**9, "graph": 0}
"""``exact_below`` of each."""


def measure(folder: Path, size: int, queries: int, rounds: int) -> dict[str, dict[str, float]]:
    """Medians in milliseconds, by way and by what was timed."""
    make_data(folder, size, queries)
    vectors, texts = load(folder)
    asked, questions = load(folder, "query_")
    folders = {way: folder / way for way in WAYS}
    folders["exact"].mkdir()
    Memr1(folders["exact"], vectors.shape[1], exact_below=WAYS["exact"]).build(vectors, texts)
    # A bank of its own for each: one that finds a graph saved uses it, whatever the setting.
    shutil.copytree(folders["exact"], folders["graph"])
    graph = Memr1(folders["graph"], vectors.shape[1], exact_below=WAYS["graph"])
    graph.search(asked[0], questions[0])
    graph.close()
    opened: dict[str, list[float]] = {way: [] for way in WAYS}
    stores: dict[str, Memr1] = {}
    for _ in range(rounds):
        for way, exact_below in WAYS.items():
            if way in stores:
                stores[way].close()

            def opening(way: str = way, exact_below: int = exact_below) -> None:
                stores[way] = Memr1(folders[way], vectors.shape[1], exact_below=exact_below)
                stores[way].search(asked[0], questions[0])

            opened[way].append(milliseconds(opening))
    hybrid: dict[str, list[float]] = {way: [] for way in WAYS}
    alone: dict[str, list[float]] = {way: [] for way in WAYS}
    for vector, text in zip(asked, questions, strict=True):
        for way, store in stores.items():
            hybrid[way].append(milliseconds(store.search, vector, text))
            alone[way].append(milliseconds(store.nearest, vector, text))
    for store in stores.values():
        store.close()
    return {
        way: {"open": median(opened[way]), "search": median(hybrid[way]), "vectors alone": median(alone[way])}
        for way in WAYS
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 2_000, 5_000, 10_000, 20_000, 50_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    columns = ("open", "search", "vectors alone")
    print("| memories | " + " | ".join(f"{what} {way}, ms" for what in columns for way in WAYS) + " |")
    print("|---" * (1 + len(columns) * len(WAYS)) + "|")
    for size in args.sizes:
        with tempfile.TemporaryDirectory(prefix="memr1-bench-") as name:
            found = measure(Path(name), size, args.queries, args.rounds)
        cells = [f"{found[way][what]:.2f}" for what in columns for way in WAYS]
        print(f"| {size:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
