"""The shipped agents, through the SDK, on conversations that no training has seen: one JSON line.

``python -m train_ref.evaluate --split heldout`` plays generated conversations whose phrasings, names and objects are
held out. Three things are measured, each with the bank's own retriever:

- *decisions*: before each message the bank holds the truth, so that one wrong decision does not spoil the next;
- *end to end*: the Manager keeps its own bank, then the questions are asked with ``--candidates`` candidates;
- *answers*: the same questions over the bank that holds the truth, which is what the Answer Agent alone can do.

``--card FOLDER`` also writes the line, what depends on the machine aside, into ``memr1.json`` of the checkpoint that
was measured, as its ``figures``; converted again, the GGUF file says them. What training noted there moves to
``training_figures``.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

from tqdm import tqdm

from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents, BankConfig
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import ModelError
from memr1_lite.evaluation.metrics import exact_match, token_f1
from memr1_lite.evaluation.operations import expected, named_memories, same_operations, text_of
from memr1_lite.file_agents import FileAgents, bundled_agent
from memr1_lite.llama.gguf_header import read_gguf_header
from memr1_lite.records import Add, Answer, Decision, Delete, Memory, Operation, Update
from memr1_lite.retriever import Retriever
from memr1_lite.store import Store
from memr1_lite.vector_index import VectorIndex
from train_ref.world.conversation import Conversation, conversation
from train_ref.world.episodes import operations
from train_ref.world.facts import Fact, Said
from train_ref.world.questions import Question
from train_ref.world.words import Split

OF_THE_MACHINE = ("remember_ms", "ask_ms", "peak_memory_mib", "gguf_bytes")
"""Figures that do not belong to the weights."""


class TrueBank:
    """A store that holds the truth about one conversation, whoever decides."""

    def __init__(self) -> None:
        self.embedder = LexicalEmbedder()
        self.store = Store.open(":memory:", embedder=self.embedder.name, dimension=self.embedder.dimension)
        indexes = (VectorIndex(None, self.embedder.dimension, exact_below=10_000) for _ in range(2))
        self.retriever = Retriever(self.store, self.embedder, *indexes)
        self.facts: dict[int, Fact] = {}

    def hear(self, said: Said) -> int:
        """Record the raw turn."""
        return self.store.record(said.speaker, said.text, said.at).id

    def learn(self, said: Said, message_id: int) -> None:
        """Make true what ``said`` made true."""
        ids = {fact.key: memory_id for memory_id, fact in self.facts.items()}
        done: list[Operation] = []
        results: list[Fact] = []
        for effect in said.effects:
            old = ids.get(effect.target.key) if effect.target else None
            old = ids.get(effect.result.key, old) if effect.result else old
            if effect.result is None and old is not None:
                done.append(Delete(op="DELETE", memory_id=old, version=self.store.memory(old).version))
                del self.facts[old]
            elif effect.result is not None and old is None:
                done.append(Add(op="ADD", text=effect.result.text()))
                results.append(effect.result)
            elif effect.result is not None and old is not None and effect.result != self.facts[old]:
                version = self.store.memory(old).version
                done.append(Update(op="UPDATE", memory_id=old, version=version, text=effect.result.text()))
                self.facts[old] = effect.result
        if not done:
            return
        vectors = {o.text: self.embedder.embed([o.text])[0] for o in done if isinstance(o, Add | Update)}
        change = self.store.apply(done, message_id=message_id, reason="manager", vectors=vectors)
        added = [o.memory_id for o in change.operations if o.op == "ADD"]
        for memory_id, fact in zip(added, results, strict=True):
            assert memory_id is not None
            self.facts[memory_id] = fact


@dataclass
class Tally:
    """Everything counted."""

    counts: Counter[str] = field(default_factory=Counter)
    f1: list[float] = field(default_factory=list)
    by_intent: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    by_kind: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    remember_ms: list[float] = field(default_factory=list)
    ask_ms: list[float] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def share(self, part: str, whole: str) -> float:
        """A share, rounded."""
        return round(self.counts[part] / max(1, self.counts[whole]), 4)


def score_decision(
    tally: Tally, said: Said, right: Sequence[Operation], decision: Decision, shown: Sequence[Memory]
) -> None:
    """Operation, memory and text of one decision. Operations in any order; texts are compared in order of writing."""
    done = decision.operations
    wanted, chosen = [expected(o) for o in right], [expected(o) for o in done]
    same = same_operations(wanted, chosen)
    tally.counts["operation"] += same
    tally.by_intent[said.intent].append(same)
    memory_right = same and named_memories(wanted) == named_memories(chosen)
    if same and named_memories(wanted):
        tally.counts["naming"] += 1
        tally.counts["memory"] += memory_right
    if memory_right:
        tally.f1 += [token_f1(text_of(a), text_of(b)) for a, b in zip(done, right, strict=True) if text_of(b)]
    if not memory_right or any(text_of(a) != text_of(b) for a, b in zip(done, right, strict=True)):
        tally.failures.append(
            {
                "kind": f"decision/{said.intent}", "said": f"{said.speaker}: {said.text}",
                "right": " ; ".join(f"{o.op} {text_of(o)}" for o in right),
                "got": " ; ".join(f"{o.op} {text_of(o)}" for o in done), "shown": " | ".join(m.text for m in shown),
            }
        )  # fmt: skip


def decide_all(tally: Tally, agents: FileAgents, talk: Conversation, similar: int) -> TrueBank:
    """Decisions over a bank that always holds the truth; returns that bank."""
    bank = TrueBank()
    for said in talk.messages:
        message_id = bank.hear(said)
        shown = bank.retriever.similar(said.text, said.speaker, similar)
        right = operations(said, [(bank.facts[memory.id], memory) for memory in shown])
        message = bank.store.message(message_id)
        assert message is not None
        if right is not None:
            tally.counts["decisions"] += 1
            try:
                decision = agents.decide(message, shown)
            except ModelError as error:
                tally.failures.append({"kind": "invalid", "said": said.text, "got": str(error)})
            else:
                tally.counts["valid"] += 1
                score_decision(tally, said, right, decision, shown)
            targets = [effect.target for effect in said.effects if effect.target]
            tally.counts["targets"] += len(targets)
            tally.counts["targets_shown"] += sum(t in [bank.facts[memory.id] for memory in shown] for t in targets)
        bank.learn(said, message_id)
    return bank


def score_answer(tally: Tally, name: str, question: Question, answer: Answer | None) -> None:
    """One answer, by exact match; not known counts as right where nothing is known."""
    right = answer is not None and (
        not answer.known if question.answer is None else answer.known and exact_match(answer.text, question.answer)
    )
    tally.counts[f"{name}_asked"] += 1
    tally.counts[f"{name}_right"] += right
    if name == "end_to_end":
        tally.by_kind[question.kind].append(right)
    if not right:
        shown = " | ".join(c.text for c in answer.candidates[:6]) if answer else ""
        said = answer.text if answer else "(model error)"
        entry = {"kind": f"{name}/{question.kind}", "asked": question.text, "right": str(question.answer), "got": said}
        tally.failures.append(
            entry | {"shown": shown, "cited": " | ".join(c.text for c in answer.cited) if answer else ""}
        )


def ask(tally: Tally, bank: MemoryBank, name: str, questions: Sequence[Question], k: int) -> None:
    """Ask everything with ``k`` candidates."""
    for question in questions:
        began = time.perf_counter()
        try:
            answer: Answer | None = bank.ask(question.text, k=k)
        except ModelError:
            answer = None
        tally.ask_ms.append(1000 * (time.perf_counter() - began))
        if answer is not None:
            tally.shown.append(len(answer.candidates))
        score_answer(tally, name, question, answer)


def play(tally: Tally, agents: FileAgents, talk: Conversation, candidates: Sequence[int], config: BankConfig) -> None:
    """One conversation, measured in all three ways."""
    truth = decide_all(tally, agents, talk, config.similar)
    with MemoryBank(truth.store, truth.retriever, truth.embedder, agents, agents, config) as bank:
        ask(tally, bank, "truth", talk.questions, candidates[-1])
    with MemoryBank.open(
        ":memory:", embedder=truth.embedder, memory_manager=agents, answer_agent=agents, config=config
    ) as bank:
        for said in talk.messages:
            began = time.perf_counter()
            try:
                bank.remember(said.text, speaker=said.speaker, at=said.at)
            except ModelError as error:
                tally.failures.append({"kind": "remember", "said": said.text, "got": str(error)})
            tally.remember_ms.append(1000 * (time.perf_counter() - began))
        for k in candidates:
            ask(tally, bank, "end_to_end" if k == candidates[-1] else f"end_to_end_{k}", talk.questions, k)


def summary(tally: Tally, files: dict[str, int], candidates: Sequence[int]) -> dict[str, object]:
    """The JSON line."""
    return {
        "decisions": tally.counts["decisions"],
        "valid": tally.share("valid", "decisions"),
        "operation_accuracy": tally.share("operation", "decisions"),
        "right_memory": tally.share("memory", "naming"),
        "text_f1": round(mean(tally.f1 or [0.0]), 4),
        "target_shown": tally.share("targets_shown", "targets"),
        "questions": tally.counts["truth_asked"],
        **{
            f"end_to_end_em_{k}": tally.share(f"end_to_end_{k}_right", f"end_to_end_{k}_asked") for k in candidates[:-1]
        },
        f"end_to_end_em_{candidates[-1]}": tally.share("end_to_end_right", "end_to_end_asked"),
        f"answer_em_on_truth_{candidates[-1]}": tally.share("truth_right", "truth_asked"),
        "candidates_shown_mean": round(mean(tally.shown or [0]), 1),
        "operation_by_intent": {name: round(mean(rights), 3) for name, rights in sorted(tally.by_intent.items())},
        "em_by_kind": {name: round(mean(rights), 3) for name, rights in sorted(tally.by_kind.items())},
        "remember_ms": {"median": round(median(tally.remember_ms), 1), "max": round(max(tally.remember_ms), 1)},
        "ask_ms": {"median": round(median(tally.ask_ms), 1), "max": round(max(tally.ask_ms), 1)},
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "gguf_bytes": files,
    }  # fmt: skip


def write_card(folder: Path, line: Mapping[str, object]) -> None:
    """Make ``line`` the figures that ``memr1.json`` in ``folder`` tells."""
    card = json.loads((folder / "memr1.json").read_text(encoding="utf-8"))
    if "figures" in card and "split" not in card["figures"]:
        card["training_figures"] = card["figures"]
    card["figures"] = {name: value for name, value in line.items() if name not in OF_THE_MACHINE}
    (folder / "memr1.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def is_made_of(gguf: Path, folder: Path) -> bool:
    """Whether the GGUF file was converted from the weights of the checkpoint in ``folder``."""
    from convert.checkpoint import read_checkpoint  # needs the extra convert, which measuring alone does not

    return read_gguf_header(gguf).metadata.get("memr1.checkpoint_sha256") == read_checkpoint(folder).sha256()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["train", "heldout"], default="heldout")
    parser.add_argument("--conversations", type=int, default=4)
    parser.add_argument("--messages", type=int, default=250, help="per conversation")
    parser.add_argument("--questions", type=int, default=50, help="per conversation")
    parser.add_argument("--candidates", type=int, nargs="+", default=[30, 60], help="shown to the Answer Agent")
    parser.add_argument("--similar", type=int, default=BankConfig().similar, help="shown to the Memory Manager")
    parser.add_argument("--seed", type=int, default=1_000_003)
    parser.add_argument("--manager", type=Path, help="a GGUF; the shipped one if left out")
    parser.add_argument("--answerer", type=Path, help="a GGUF; the shipped one if left out")
    parser.add_argument("--failures", type=Path, help="write every failing case here, as JSON Lines")
    parser.add_argument(
        "--card",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="checkpoints measured: write it into memr1.json",
    )
    args = parser.parse_args()
    split: Split = args.split
    paths = {
        "manager": args.manager or bundled_agent("manager"),
        "answerer": args.answerer or bundled_agent("answerer"),
    }
    for folder in args.card:
        if not any(is_made_of(path, folder) for path in paths.values()):
            parser.error(f"neither {' nor '.join(map(str, paths.values()))} was converted from the weights in {folder}")
    agents = FileAgents(Agents(**paths))
    tally = Tally()
    config = BankConfig(similar=args.similar)
    for number in tqdm(range(args.conversations), desc="conversations"):
        talk = conversation(args.seed + number, split, args.messages, args.questions)
        play(tally, agents, talk, args.candidates, config)
    agents.close()
    if args.failures:
        args.failures.write_text("".join(json.dumps(failure) + "\n" for failure in tally.failures))
    head = {"split": split, "conversations": args.conversations, "messages": args.messages, "seed": args.seed}
    sizes = {role: path.stat().st_size for role, path in paths.items()}
    line = head | summary(tally, sizes, args.candidates)
    for folder in args.card:
        write_card(folder, line)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
