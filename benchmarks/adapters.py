"""Two agents as one base and two LoRAs, beside two models: ``python -m benchmarks.adapters`` prints a table.

A base of random weights in the shape of Qwen2.5-0.5B, with its tokenizer, and two LoRAs on every matrix, made once by
this repository's own verbs. Each way of holding two agents runs in a process of its own, which reads prompts and writes
tokens with both in turns, as a bank does, and then tells its memory: what is resident, mapped files included. One plain
model that plays both roles, with one context, is what the others are measured against; ``two models`` are two files
with a LoRA each. What was written, and the logits after it, must be the same bit for bit on one base as from two.
A switch is what an evaluation of one token takes longer where the other agent had the turn before, in processor time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from memr1_lite.llama import LlamaModel
from memr1_lite.llm import Segment

WAYS = ("one model", "one base, two LoRAs", "two models")
TURNS = tuple(
    f"{day} May 2023 | Andrew: {sentence}" * 6
    for day, sentence in enumerate(("I adopted a dog, and its name is Buddy.", "My sister has moved to Lyon."), 7)
)


def load(way: str, folder: Path, context: int) -> list[LlamaModel]:
    """The Manager's model and the Answer Agent's; the same one twice where there is one."""
    how: dict[str, Any] = {"context": context, "threads": 1}
    if way == "one model":
        return [LlamaModel.load(folder / "base.gguf", **how)] * 2
    first = LlamaModel.load(folder / "base.gguf", adapter=folder / "lora-0.gguf", **how)
    if way == "two models":
        return [first, LlamaModel.load(folder / "other.gguf", adapter=folder / "lora-1.gguf", **how)]
    return [first, LlamaModel.load(folder / "base.gguf", adapter=folder / "lora-1.gguf", beside=first, **how)]


def resident() -> dict[str, float]:
    """MiB of this process: in all (with what it shares counted whole, and in parts), and without mapped files."""
    lines = Path("/proc/self/smaps_rollup").read_text("utf-8").splitlines()[1:]
    kib = {name.rstrip(":"): int(number) for name, number, *_ in map(str.split, lines)}
    return {name: kib[key] / 1024 for name, key in (("rss", "Rss"), ("pss", "Pss"), ("own", "Anonymous"))}


def seconds(model: LlamaModel, token: int) -> float:
    """Of an evaluation of one token."""
    began = time.process_time()
    model.greedy([token], 1)
    return time.process_time() - began


def child(way: str, folder: Path, context: int, tokens: int, rounds: int) -> None:
    """Measure one way; prints a JSON line."""
    models = load(way, folder, context)
    ids = [models[0].prompt_ids((Segment(turn),)) for turn in TURNS]
    turns = [(model, prompt) for prompt in ids for model in models]
    said = [model.greedy(prompt, tokens) for model, prompt in turns]
    memory = resident()
    slower = []
    for _ in range(rounds):
        took = [seconds(model, ids[0][0]) for model in (models[1], models[0], models[0])]
        slower.append(took[1] - took[2])
    digest = hashlib.sha256(str(said).encode())
    logits = [model.logits(prompt[-8:]) for model, prompt in turns]
    for rows in logits:
        digest.update(rows.tobytes())
    apart = not np.array_equal(logits[0], logits[1])
    print(json.dumps(memory | {"switch": 1000 * median(slower), "digest": digest.hexdigest(), "apart": apart}))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="qwen2.5-0.5b", help="one of benchmarks/conversion.py")
    parser.add_argument("--quant", default="Q4_K_M")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cache", type=Path, default=Path(".cache/adapters"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]), args.context, args.tokens, args.rounds)
        return
    from benchmarks.adapter_files import files  # not in the processes that are measured

    folder = files(args.cache, args.shape, args.quant, args.rank)
    found = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.adapters", "--child", way, str(folder)]
        for name in ("context", "tokens", "rounds"):
            command += [f"--{name}", str(getattr(args, name))]
        found[way] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    one = found[WAYS[0]]
    base, lora = (sum(f.stat().st_size for f in folder.glob(pattern)) / 2**20 for pattern in ("base.gguf", "lora-*"))
    print(f"{args.shape}, {args.quant}, context {args.context}: base {base:.0f} MiB, two LoRAs {lora:.0f} MiB\n")
    print("| | resident MiB | against one model | shared pages in parts | without mapped files | a switch, ms |")
    print("|---" * 6 + "|")
    for way, row in found.items():
        print(
            f"| {way} | {row['rss']:,.0f} | {row['rss'] / one['rss']:.2f} | {row['pss']:,.0f}"
            f" ({row['pss'] / one['pss']:.2f}) | {row['own']:,.0f} | {row['switch']:.1f} |"
        )
    shared, separate = found[WAYS[1]], found[WAYS[2]]
    same = shared["digest"] == separate["digest"]
    print(f"\nOn one base {'the same, bit for bit,' if same else 'OTHER THINGS'} as from two models.")
    if not same or not shared["apart"]:
        sys.exit("Either the agents differ from those of two models, or their LoRAs do nothing.")


if __name__ == "__main__":
    main()
