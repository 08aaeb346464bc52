"""How much of LoCoMo's evidence a search finds: ``python benchmarks/retrieval_locomo.py ../shared/data/locomo6.json``.

The turns of a conversation are recorded in a new bank, without any language model; each question that is not
adversarial is put to the public ``search``. R@k is the share of a question's evidence turns among the first k found,
in the mean over the questions whose evidence can be resolved. The retriever's settings were fixed on
``--conversations conv-26 conv-30``; all others are a test.

LoCoMo (snap-research/LoCoMo, CC BY-NC 4.0) does not come with this project.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from memr1_lite.bank import MemoryBank
from memr1_lite.conversations import read_locomo
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.llama.embedding import LlamaEmbedder
from memr1_lite.llm import Embedder
from memr1_lite.opening import cached_embedder
from memr1_lite.records import Turn
from memr1_lite.retriever import Legs

DEPTHS = (5, 10, 30, 60)
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}
"""What LoCoMo's own code means by its numbers; several papers print them in another order. 5 is adversarial."""
NAMES: dict[Legs, str] = {"vectors": "vectors alone", "words": "BM25 alone", "both": "ours"}


@dataclass(frozen=True)
class Asked:
    """A question and the positions of the turns that are its evidence."""

    text: str
    category: int
    evidence: tuple[int, ...]


@dataclass(frozen=True)
class Conversation:
    """Turns, oldest first, and what is asked about them; ``unresolved`` counts evidence that names no turn."""

    name: str
    turns: Sequence[Turn]
    asked: Sequence[Asked]
    unresolved: int


def read(path: Path, name: str) -> Conversation:
    """One conversation of the file. Some evidence ids are several in one text, some are misspelt."""
    turns = read_locomo(path, name)
    positions = {turn.source_id.split("/")[1]: position for position, turn in enumerate(turns)}
    asked, unresolved = [], 0
    sample = next(sample for sample in json.loads(path.read_text("utf-8")) if sample["sample_id"] == name)
    for question in sample["qa"]:
        if question["category"] not in CATEGORIES:
            continue
        ids = {part for text in question["evidence"] for part in re.split(r"[;\s]+", text) if part}
        unresolved += len(ids - positions.keys())
        evidence = tuple(sorted(positions[turn_id] for turn_id in ids & positions.keys()))
        if evidence:
            asked.append(Asked(question["question"], question["category"], evidence))
    return Conversation(name, turns, asked, unresolved)


class Row:
    """What one way of searching found, question by question."""

    def __init__(self, embedder: str, legs: Legs) -> None:
        self.embedder, self.legs = embedder, legs
        self.recalls: dict[int, list[list[float]]] = defaultdict(list)
        self.seconds: list[float] = []

    def recall(self, *categories: int) -> list[float]:
        """R@k at every depth over these categories."""
        return [float(mean) for mean in np.mean([each for c in categories for each in self.recalls[c]], axis=0)]

    def record(self) -> dict[str, object]:
        """Everything as JSON has it."""
        parts = {CATEGORIES[c]: self.recall(c) for c in CATEGORIES if self.recalls[c]} | {
            "all": self.recall(*CATEGORIES)
        }
        return {
            "embedder": self.embedder,
            "search": NAMES[self.legs],
            "questions": {CATEGORIES[c]: len(self.recalls[c]) for c in CATEGORIES},
            "recall": {part: dict(zip(map(str, DEPTHS), values, strict=True)) for part, values in parts.items()},
            "search_ms_p50": round(1000 * median(self.seconds), 2),
        }


def measure(talks: Sequence[Conversation], embedder: Embedder) -> list[Row]:
    """Search every conversation in all three ways."""
    rows = [Row(embedder.name, legs) for legs in NAMES]
    for talk in tqdm(talks, desc=embedder.name):
        with MemoryBank.open(":memory:", embedder=embedder) as bank:
            positions = {turn.id: position for position, turn in enumerate(bank.record_many(talk.turns))}
            for row in rows:
                for asked in talk.asked:
                    began = time.perf_counter()
                    found = bank.search(asked.text, DEPTHS[-1], legs=row.legs)
                    row.seconds.append(time.perf_counter() - began)
                    ranks = {positions[hit.id]: rank for rank, hit in enumerate(found)}
                    places = [ranks.get(turn, DEPTHS[-1]) for turn in asked.evidence]
                    row.recalls[asked.category].append(
                        [sum(place < depth for place in places) / len(places) for depth in DEPTHS]
                    )
    return rows


def table(rows: Sequence[Row]) -> str:
    """Markdown: overall at every depth, then R@10 by category."""
    heads = [f"R@{depth}" for depth in DEPTHS] + [f"{name} R@10" for name in CATEGORIES.values()]
    lines = ["| vectors of | search | " + " | ".join(heads) + " |", "|---" * (2 + len(heads)) + "|"]
    for row in rows:
        numbers = row.recall(*CATEGORIES)
        numbers += [row.recall(category)[1] if row.recalls[category] else float("nan") for category in CATEGORIES]
        cells = [f"{number:.3f}".removeprefix("0") for number in numbers]
        lines.append(f"| {row.embedder.split(':')[0]} | {NAMES[row.legs]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_category(rows: Sequence[Row]) -> str:
    """Markdown: every category at every depth, a line each."""
    heads = ["vectors of", "search", "category", "questions", *(f"R@{depth}" for depth in DEPTHS)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        for category, name in CATEGORIES.items():
            if row.recalls[category]:
                numbers = [f"{number:.3f}".removeprefix("0") for number in row.recall(category)]
                cells = [row.embedder.split(":")[0], NAMES[row.legs], name, str(len(row.recalls[category])), *numbers]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Recall against depth, a line per row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    styles = {"vectors": ":", "words": "--", "both": "-"}
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(row.embedder for row in rows))}
    for row in rows:
        if row.legs == "words" and row.embedder != rows[0].embedder:
            continue  # it is the same whatever made the vectors
        name = NAMES[row.legs] if row.legs == "words" else f"{NAMES[row.legs]}, {row.embedder.split(':')[0]}"
        colour = "0.4" if row.legs == "words" else colours[row.embedder]
        axes.plot(DEPTHS, row.recall(*CATEGORIES), styles[row.legs], marker="o", color=colour, label=name)
    axes.set(xscale="log", xlabel="turns retrieved", ylabel="recall of evidence turns", ylim=(0.2, 1), xticks=DEPTHS)
    axes.set_xticklabels([str(depth) for depth in DEPTHS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="locomo10.json, or a part of it")
    parser.add_argument("--conversations", nargs="+", help="only these, such as conv-26 conv-30; all if left out")
    parser.add_argument(
        "--encoder", type=Path, default=cached_embedder(), help="a sentence encoder; `make embedder`'s if left out"
    )
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--png", type=Path, help="draw the table here")
    args = parser.parse_args()
    names = args.conversations or [sample["sample_id"] for sample in json.loads(args.file.read_text("utf-8"))]
    talks = [read(args.file, name) for name in names]
    asked, unresolved = sum(len(talk.asked) for talk in talks), sum(talk.unresolved for talk in talks)
    embedders: list[Embedder] = [LlamaEmbedder.load(args.encoder)] if args.encoder.is_file() else []
    rows = [row for embedder in [*embedders, LexicalEmbedder()] for row in measure(talks, embedder)]
    print(f"{table(rows)}\n\n{by_category(rows)}")
    print(f"\n{asked} questions about {len(talks)} conversations; {unresolved} evidence ids name no turn.")
    if args.json:
        args.json.write_text(
            json.dumps({"conversations": names, "rows": [row.record() for row in rows]}, indent=1) + "\n"
        )
    if args.png:
        draw(rows, args.png)


if __name__ == "__main__":
    main()
