"""What each number type costs and keeps of our agents: ``python -m benchmarks.quantise MANAGER ANSWERER --out FOLDER``

MANAGER and ANSWERER are the checkpoint folders that training left. Both are converted to F16, quantised by llama.cpp to
each type, and asked the same things: messages and questions of generated conversations held out of training, each over
a bank that holds the truth. A decision is equal if its operations, memories and texts are; an answer, if its text and
citations are. ``+I``: quantised with an importance matrix of the agent's own prompts on the conversations of training.
Tokens are read and written, per second of one thread's processor time. Every row is kept in FOLDER/quantise.jsonl,
and not measured again; FOLDER/quantise.png is the picture. Run with OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convert.architectures import architecture_of
from convert.checkpoint import read_checkpoint
from convert.decoder import LINEAR
from convert.gguf_header import read_gguf_header
from convert.quantize import quantize
from convert.reference import Reference
from convert.sizes import bits_per_weight
from convert.to_gguf import to_gguf
from memr1_lite.answer_agent import answer_prompt
from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents, BankConfig
from memr1_lite.evaluation.metrics import exact_match
from memr1_lite.evaluation.operations import expected, same_operations
from memr1_lite.file_agents import FileAgents
from memr1_lite.llama import LlamaModel
from memr1_lite.llm import Segment
from memr1_lite.memory_manager import manager_prompt
from memr1_lite.records import Candidate, Decision, Memory, Message, Operation, Reply
from train_ref.evaluate import TrueBank
from train_ref.world.conversation import conversation
from train_ref.world.episodes import operations
from train_ref.world.words import Split

ROLES = ("manager", "answerer")
TYPES = (
    "F16",
    "BF16",
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q5_0",
    "Q4_K_M",
    "Q4_0",
    "Q3_K_M",
    "Q5_K_M+I",
    "Q4_K_M+I",
    "Q3_K_M+I",
)
IMPORTANCE_PROMPTS = 60
TIMED_TOKENS = 100
Decided = tuple[Message, list[Memory], list[Operation]]
Asked = tuple[str, list[Candidate], str | None]


class Shown:
    """An Answer Agent that only notes what it is shown."""

    candidates: Sequence[Candidate] = ()

    def answer(self, question: str, candidates: Sequence[Candidate], *, distil: bool = True) -> Reply:
        """Answer nothing."""
        self.candidates = candidates
        return Reply(text="", known=False)


def cases(
    split: Split, seeds: Sequence[int], messages: int, questions: int, k: int
) -> tuple[list[Decided], list[Asked]]:
    """Messages with the memories most like them and the right operations; questions with candidates and the answer."""
    decided, asked, config = [], [], BankConfig()
    for seed in seeds:
        talk, bank = conversation(seed, split, messages, questions), TrueBank()
        for said in talk.messages:
            number = bank.hear(said)
            similar = bank.retriever.similar(said.text, said.speaker, config.similar)
            right = operations(said, [(bank.facts[memory.id], memory) for memory in similar])
            message = bank.store.message(number)
            if right is not None and message is not None:
                decided.append((message, similar, list(right)))
            bank.learn(said, number)
        shown = Shown()
        with MemoryBank(bank.store, bank.retriever, bank.embedder, FileAgents(Agents()), shown, config) as opened:
            for question in talk.questions:
                opened.ask(question.text, k=k)
                asked.append((question.text, list(shown.candidates), question.answer))
    return decided, asked


def importance(folder: Path, full: Path, prompts: Sequence[tuple[Segment, ...]]) -> dict[str, np.ndarray]:
    """The mean square of what each column of each matrix reads on ``prompts``, by the name of the GGUF tensor."""
    with LlamaModel.load(full) as model:
        ids = [model.prompt_ids(prompt) for prompt in prompts]
    checkpoint = read_checkpoint(folder)
    sums: dict[str, np.ndarray] = {}

    def observe(layer: int, module: str, values: np.ndarray) -> None:
        name = f"blk.{layer}.{LINEAR[module]}.weight"
        sums[name] = sums.get(name, 0) + (values.astype(np.float64) ** 2).sum(axis=0)

    Reference(checkpoint, architecture_of(checkpoint)).logits(ids, observe)
    return {name: (total / sum(map(len, ids))).astype(np.float32) for name, total in sums.items()}


def tokens_per_second(path: Path, prompt: tuple[Segment, ...]) -> tuple[float, float]:
    """Prompt tokens read, and tokens written, per second of processor time; the best of three."""
    reading, writing = [], []
    with LlamaModel.load(path, threads=1) as model:
        ids = model.prompt_ids(prompt)
        for _ in range(3):
            model.logits([1, 2, 3])  # nothing of the prompt stays
            began = time.process_time()
            model.greedy(ids, 1)
            read = time.process_time() - began
            model.logits([1, 2, 3])
            began = time.process_time()
            written = len(model.greedy(ids, TIMED_TOKENS))
            if written > 1:
                writing.append((written - 1) / max(time.process_time() - began - read, 1e-9))
            reading.append(len(ids) / read)
    return max(reading), max(writing, default=0.0)


def decide(path: Path, decided: Sequence[Decided]) -> tuple[list[Any], dict[str, float]]:
    """Every decision, and the share of right operations."""
    agents, said, right = FileAgents(Agents(manager=path), BankConfig(threads=1)), [], 0
    for message, similar, wanted in decided:
        decision: Decision = agents.decide(message, similar)
        said.append([operation.model_dump(mode="json", exclude={"confidence"}) for operation in decision.operations])
        right += same_operations([expected(o) for o in wanted], [expected(o) for o in decision.operations])
    agents.close()
    return said, {"right": right / len(decided)}


def answer(path: Path, asked: Sequence[Asked]) -> tuple[list[Any], dict[str, float]]:
    """Every answer, and the share of right ones by exact match."""
    agents, said, right = FileAgents(Agents(answerer=path), BankConfig(threads=1)), [], 0
    for question, candidates, wanted in asked:
        reply = agents.answer(question, candidates)
        said.append([reply.text, reply.known, list(reply.cited)])
        right += (not reply.known) if wanted is None else (reply.known and exact_match(reply.text, wanted))
    agents.close()
    return said, {"right": right / len(asked)}


def measure(role: str, folder: Path, out: Path, args: argparse.Namespace) -> None:
    """Append the rows of ``role`` that are not there yet."""
    done = {row["type"]: row for row in rows(out) if row["role"] == role}
    decided, asked = cases("heldout", args.seeds, args.messages, args.questions, args.candidates)
    with tempfile.TemporaryDirectory() as temporary:
        full = Path(temporary) / "full.gguf"
        to_gguf(folder, full, outtype="F32")
        matrix: Mapping[str, np.ndarray] = {}
        for kind in args.types:
            if kind in done:
                continue
            quant, _, weighted = kind.partition("+")
            if weighted and not matrix:
                count = IMPORTANCE_PROMPTS
                own, other = cases("train", args.seeds[:1], count, count // 3, args.candidates)
                heard = [manager_prompt(*case[:2]) for case in own] if role == "manager" else []
                matrix = importance(folder, full, heard or [answer_prompt(*case[:2]) for case in other])
            path = Path(temporary) / f"{kind}.gguf"
            quantize(full, path, quant=quant, importance=matrix if weighted else None)
            said, figures = decide(path, decided) if role == "manager" else answer(path, asked)
            reference = done["F16"]["said"] if "F16" in done else said
            prompt = manager_prompt(*decided[-1][:2]) if role == "manager" else answer_prompt(*asked[-1][:2])
            read, written = tokens_per_second(path, prompt)
            row = {
                "role": role,
                "type": kind,
                "bytes": path.stat().st_size,
                "bits": bits_per_weight(read_gguf_header(path).tensors),
                "cases": len(said),
                "equal": sum(a == b for a, b in zip(said, reference, strict=True)) / len(said),
                **figures,
                "read": read,
                "written": written,
                "said": said,
            }
            done[kind] = row
            with (out / "quantise.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(role, kind, f"{row['equal']:.3f} equal", file=sys.stderr)


def rows(out: Path) -> list[dict[str, Any]]:
    """What was measured."""
    path = out / "quantise.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: one line per type, both agents beside each other."""
    by = {(row["role"], row["type"]): row for row in measured}
    lines = [
        "| type | MiB, both | bits per weight | Manager: decisions as at F16 | right operation"
        " | Answer Agent: answers as at F16 | exact match | tokens/s read | written |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in TYPES:
        both = [by[role, kind] for role in ROLES if (role, kind) in by]
        if len(both) == 2:
            manager = both[0]
            figures = [f"{row['equal']:.1%} | {row['right']:.3f}" for row in both]
            lines.append(
                f"| {kind} | {sum(row['bytes'] for row in both) / 2**20:.1f} | {manager['bits']:.2f} |"
                f" {' | '.join(figures)} | {manager['read']:,.0f} | {manager['written']:,.0f} |"
            )
    return "\n".join(lines)


def draw(measured: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Size against how much is said as at F16."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for role, name in (("manager", "Manager: decisions"), ("answerer", "Answer Agent: answers")):
        mine = [row for row in measured if row["role"] == role and row["type"] in TYPES]
        for weighted, marker in ((False, "o"), (True, "x")):
            some = sorted((row for row in mine if ("+" in row["type"]) == weighted), key=lambda row: row["bytes"])
            label = f"{name}{', importance matrix' if weighted else ''}"
            line = "-" if not weighted else ""
            sizes, equal = [row["bytes"] / 2**20 for row in some], [100 * row["equal"] for row in some]
            axes.plot(sizes, equal, line, marker=marker, color="C0" if role == "manager" else "C1", label=label)
        if role == "manager":
            for row in mine:
                if "+" not in row["type"]:
                    axes.annotate(row["type"], (row["bytes"] / 2**20, 100 * row["equal"]), (3, 5), fontsize=7,
                                  textcoords="offset points")  # fmt: skip
    axes.set(xscale="log", xlabel="MiB of one file", ylabel="% equal to F16")
    axes.set_xticks([4, 6, 8, 12], ["4", "6", "8", "12"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manager", type=Path)
    parser.add_argument("answerer", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--roles", nargs="+", choices=ROLES, default=ROLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1_000_003, 1_000_004], help="one conversation each")
    parser.add_argument("--messages", type=int, default=250, help="per conversation")
    parser.add_argument("--questions", type=int, default=50, help="per conversation")
    parser.add_argument("--candidates", type=int, default=30, help="shown to the Answer Agent")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for role in args.roles:
        measure(role, getattr(args, role), args.out, args)
    measured = rows(args.out)
    print(table(measured))
    draw(measured, args.out / "quantise.png")


if __name__ == "__main__":
    main()
