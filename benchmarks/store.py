"""The store beside what else would be picked: ``python benchmarks/store.py --sizes 10000 100000 --out runs/store``.

The same vectors (384 dimensions, in clusters as sentence embeddings are) and texts go into each engine, each in an
environment of its own, made in a cache folder. A search of this package is a hybrid one, with full text; the others
search by vector alone, so a column of its own says what this package's index takes for that. Opening and searching
are measured in a new process, with the files in the system's cache. "Open" and "first search" leave out what Python
spends on importing the engine: a store of ten is built and searched before.
Prints a table; ``--out`` also gets JSON, written after every engine, and a picture. What stands there already is not
measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from environments import python_with

from memr1_lite.evaluation.machine import processor

HERE = Path(__file__).parent
ENGINES = {
    "memr1-lite": [],
    "memr1-lite, with turns": [],
    "sqlite-vec": ["sqlite-vec==0.1.9", "pysqlite3-binary==0.5.4.post2"],
    "lancedb": ["lancedb==0.40.0"],
    "chromadb": ["chromadb==1.5.9"],
    "qdrant": ["qdrant-client==1.20.0"],
}
LARGEST = {"qdrant": 10_000}
"""Its local mode compares in Python; its authors advise a server above 20,000."""
DIMENSION, LATENT, TOPICS, NEAREST = 384, 48, 500, 10
Results = dict[str, dict[str, dict[str, float | str]]]
"""By size and engine."""
COLUMNS = {
    "build_s": "build s",
    "open_ms": "open ms",
    "first_search_ms": "first search ms",
    "search_p50_ms": "search p50 ms",
    "search_p95_ms": "p95 ms",
    "vectors_p50_ms": "by vector alone p50 ms",
    "recall_at_10": "recall@10",
    "remember_p50_ms": "remember p50 ms",
    "memory_mib": "memory MiB",
    "disk_bytes_per_memory": "bytes each",
}


def make_data(folder: Path, size: int, queries: int) -> None:
    """Memories and questions about them: topics decide both the words and the direction of the vector."""
    chance = np.random.default_rng(size)
    centres = chance.standard_normal((TOPICS, LATENT))
    spread = chance.standard_normal((LATENT, DIMENSION)) / np.sqrt(LATENT)
    vocabulary = np.array(["".join(word) for word in syllables(chance, 20_000)])
    # A quarter of the words belong to the topic, the others are common ones, as frequent as Zipf has it.
    common = 1.0 / (10.0 + np.arange(len(vocabulary)))
    common /= common.sum()

    def made(topics: np.ndarray, near: np.ndarray | None, words: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        noise = chance.standard_normal((len(topics), LATENT))
        latent = centres[topics] + 0.7 * noise if near is None else near + 0.3 * noise
        rows = latent @ spread + 0.05 * chance.standard_normal((len(topics), DIMENSION))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        drawn = chance.choice(len(vocabulary), size=(len(topics), words), p=common)
        own = words // 4
        drawn[:, :own] = 5_000 + 30 * topics[:, None] + chance.integers(0, 30, (len(topics), own))
        return rows.astype(np.float32), latent, [" ".join(line) for line in vocabulary[drawn]]

    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (size, DIMENSION))
    asked_topics = chance.integers(0, TOPICS, queries)
    near = np.zeros((queries, LATENT))
    with (folder / "texts.txt").open("w", encoding="utf-8") as file:
        for start in range(0, size, 50_000):
            topics = chance.integers(0, TOPICS, min(50_000, size - start))
            rows, latent, lines = made(topics, None, 12)
            vectors[start : start + len(rows)] = rows
            file.writelines(line + "\n" for line in lines)
            if start == 0:
                near, asked_topics = latent[:queries], topics[:queries]
    asked, _, lines = made(asked_topics, near, 6)
    np.save(folder / "query_vectors.npy", asked)
    (folder / "query_texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.save(folder / "nearest.npy", exact(vectors, asked))


def syllables(chance: np.random.Generator, count: int) -> list[list[str]]:
    """Different words of two to four syllables."""
    parts = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = {tuple(chance.choice(parts, chance.integers(3, 5))) for _ in range(count + count // 5)}
    return [list(word) for word in sorted(words)][:count]


def exact(vectors: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Row numbers of the nearest vectors of each query."""
    best = np.full((len(asked), NEAREST), -2.0, dtype=np.float32)
    rows = np.zeros((len(asked), NEAREST), dtype=np.int64)
    for start in range(0, len(vectors), 50_000):
        part = asked @ np.asarray(vectors[start : start + 50_000]).T
        both = np.concatenate([best, part], axis=1)
        numbers = np.concatenate([rows, np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)], axis=1)
        order = np.argsort(-both, axis=1)[:, :NEAREST]
        best, rows = np.take_along_axis(both, order, 1), np.take_along_axis(numbers, order, 1)
    return rows


def interpreter(name: str, cache: Path) -> Path:
    """The Python with this engine; our own for this package."""
    return python_with(["numpy", *ENGINES[name]], cache / name) if ENGINES[name] else Path(sys.executable)


def measure(name: str, python: Path, folder: Path, data: Path) -> dict[str, float | str]:
    """One engine at one size: built in one process, asked in another."""
    measured: dict[str, float | str] = {}
    for what in ("build", "ask"):
        command = [python, HERE / "store_engines.py", what, name, folder / name, data]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(f"{name} failed to {what}:\n{done.stderr[-2000:]}")
        measured |= json.loads(done.stdout.splitlines()[-1])
    return measured


def table(results: Results) -> str:
    """One part per size, one line per engine."""
    lines = []
    for size, engines in results.items():
        lines += [f"\n{int(size):,} memories", "| engine | " + " | ".join(COLUMNS.values()) + " |"]
        lines += ["|---" * (len(COLUMNS) + 1) + "|"]
        for name, measured in engines.items():
            numbers = " | ".join(shown(measured[key]) for key in COLUMNS)
            lines.append(f"| {name} {measured['version']} | {numbers} |")
    return "\n".join(lines)


def shown(value: float | str) -> str:
    """A number with three digits that count."""
    return f"{value:,.0f}" if float(value) >= 100 else f"{value:.3g}"


def draw(results: Results, path: Path) -> None:
    """Search and opening against size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 4), constrained_layout=True)
    keys = (("search_p50_ms", "search, p50, ms"), ("open_ms", "open, ms"))
    for axis, (key, title) in zip(axes, keys, strict=True):
        for name in dict.fromkeys(name for engines in results.values() for name in engines):
            held = {int(size): engines[name] for size, engines in results.items() if name in engines}
            ours = name == "memr1-lite"
            (line,) = axis.plot(
                list(held),
                [each[key] for each in held.values()],
                marker="o",
                linewidth=2.5 if ours else 1.2,
                label=name,
            )
            if ours and key == "search_p50_ms":  # as the others search
                alone, label = [each["vectors_p50_ms"] for each in held.values()], f"{name}, by vector alone"
                axis.plot(list(held), alone, marker=".", linestyle="--", color=line.get_color(), label=label)
        axis.set(xscale="log", yscale="log", xlabel="memories", title=title)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(path, dpi=130)


def machine() -> dict[str, object]:
    """What it was measured on."""
    return {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}


def read(out: Path | None) -> Results:
    """What was measured before."""
    if out is None or not (out / "store.json").exists():
        return {}
    results: Results = json.loads((out / "store.json").read_text(encoding="utf-8"))["results"]
    return results


def write(out: Path | None, results: Results) -> None:
    """Keep what is measured, so that an interruption costs one engine."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": machine(), "results": results}, indent=1) + "\n"
        (out / "store.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "memr1-lite" / "benchmarks")
    parser.add_argument("--work", type=Path, help="where the stores are written, on the disk to be measured")
    parser.add_argument("--out", type=Path, help="folder for store.json and store.png")
    args = parser.parse_args()
    results = read(args.out)
    for size in args.sizes:
        wanted = [engine for engine in args.engines if size <= LARGEST.get(engine, size)]
        missing = [engine for engine in wanted if engine not in results.setdefault(str(size), {})]
        if not missing:
            continue
        with tempfile.TemporaryDirectory(prefix="memr1-bench-", dir=args.work) as name:
            folder = Path(name)
            data = folder / "data"
            data.mkdir()
            make_data(data, size, args.queries)
            for engine in missing:
                measured = measure(engine, interpreter(engine, args.cache), folder, data)
                results[str(size)][engine] = measured
                print(f"{size:,} {engine}: {json.dumps(measured)}", file=sys.stderr, flush=True)
                shutil.rmtree(folder / engine)
                write(args.out, results)
    print(f"{machine()}\n{table(results)}")
    if args.out is not None:
        draw(results, args.out / "store.png")


if __name__ == "__main__":
    main()
