"""Where the time of a call goes, and what is read and written for a message: ``python benchmarks/engine_pictures.py
LOCOMO.json --parts PARTS.png --tokens TOKENS.png --peer "mem0 2.2.1=8600,42"``.

Whole calls of a bank that holds the first turns of a LoCoMo talk as memories: ``remember`` of the turns after these,
``ask`` with the talk's own questions. The bundled agents say what they like; random weights say what annotators noted
and an answer of some words. With one thread, times are the processor's: waiting for the disk is not in them. A peer's
tokens are what ``mem0_remember.py`` printed. Run from the repository, PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine_cases import Case, ForcedModel, clock, model_file
from benchmarks.engine_resources import Clocked
from benchmarks.store_engines import AddsAll
from memr1_lite import BankConfig, MemoryBank, answer_agent, memory_manager
from memr1_lite.answer_agent import AnswerAgent, AnswerTemplate, answer_prompt
from memr1_lite.errors import MalformedOutputError
from memr1_lite.file_agents import bundled_agent
from memr1_lite.llama import LlamaModel
from memr1_lite.llm import END
from memr1_lite.memory_manager import ManagerTemplate, MemoryManager, manager_prompt
from memr1_lite.records import Candidate, Decision, Memory, Message, Reply

PARTS = ("bank: search, embedding, disk", "agent: prompt, choice of tokens", "model reads", "model writes")
ANSWER = ("[1]", ":", " in the spring of 2023")


class Phases(Clocked):
    """Also tells reading a prompt from writing: what is evaluated up to the first logits is read."""

    def __init__(self, library: Any, now: Callable[[], float]) -> None:  # noqa: ANN401 - ctypes
        super().__init__(library, now)
        self.begin()

    def begin(self) -> None:
        """A call begins."""
        self.seconds = self.read = 0.0
        self.tokens_read = self.tokens_written = 0
        self._reading = True

    def llama_decode(self, context: Any, batch: Any) -> int:  # noqa: ANN401
        """Decode, and note what for."""
        before, wanted = self.seconds, bool(batch.logits[batch.n_tokens - 1])
        status = super().llama_decode(context, batch)
        if self._reading:
            self.read += self.seconds - before
            self.tokens_read += batch.n_tokens
        else:
            self.tokens_written += batch.n_tokens
        self._reading = self._reading and not wanted
        return status


class TimedAgents:
    """Both agents on models of this process, with the clocks of the last call. Without ``forced`` they are free."""

    def __init__(self, manager: LlamaModel, answerer: LlamaModel, *, forced: bool, threads: int) -> None:
        told = (memory_manager.INSTRUCTIONS, answer_agent.INSTRUCTIONS) if forced else (None, None)
        self._manager, self._answerer = MemoryManager(manager, told[0]), AnswerAgent(answerer, told[1])
        self._forced = ForcedModel(manager) if forced else None
        self.now = clock(threads)
        self.note = ""
        self.thought = 0.0
        self.clocks = {}
        for model in (manager, answerer):
            if model not in self.clocks:
                self.clocks[model] = model._session._library = Phases(model._session._library, self.now)
        self.used = self.clocks[manager]

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """As a Memory Manager does."""
        if self._forced is not None:
            prompt = manager_prompt(message, similar, self._manager.instructions)
            self._forced.prepare(Case(prompt, ManagerTemplate(len(similar)), ("ADD", f" {self.note}", END)))
        return self._timed(self._manager.model, lambda: self._manager.decide(message, similar))

    def answer(self, question: str, candidates: Sequence[Candidate]) -> Reply:
        """As an Answer Agent does."""
        if self._forced is not None:
            prompt = answer_prompt(question, candidates, self._answerer.instructions)
            self._forced.prepare(Case(prompt, AnswerTemplate(len(candidates)), ANSWER))
        return self._timed(self._answerer.model, lambda: self._answerer.answer(question, candidates))

    def _timed(self, model: Any, call: Callable[[], Any]) -> Any:  # noqa: ANN401
        self.used = self.clocks[model]
        self.used.begin()
        began = self.now()
        try:
            return call()
        finally:
            self.thought = self.now() - began


def split(agents: TimedAgents, call: Callable[[], object]) -> tuple[float, ...] | None:
    """Seconds of a call by :data:`PARTS`; None where no agent had to think, or what it wrote was no output."""
    agents.thought = 0.0
    began = agents.now()
    try:
        call()
    except MalformedOutputError:
        return None
    whole = agents.now() - began
    used = agents.used
    if not agents.thought:
        return None
    return whole - agents.thought, agents.thought - used.seconds, used.read, used.seconds - used.read


def measured(name: str, args: argparse.Namespace, talk: dict[str, Any]) -> dict[str, list[tuple[float, ...]]]:
    """The split times of ``remember`` and ``ask``, and the tokens of the former as ``tokens``."""
    turns = [turn for part in talk["conversation"].values() if isinstance(part, list) for turn in part]
    notes = {source: text for of in talk["observation"].values() for part in of.values() for text, source in part
             if isinstance(source, str)}  # fmt: skip
    config = BankConfig(candidates=args.candidates)
    found: dict[str, list[tuple[float, ...]]] = {"remember": [], "ask": [], "tokens": []}
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "bank.db"
        with MemoryBank.open(path, memory_manager=AddsAll(), config=config) as bank:
            for turn in turns[: args.before]:
                bank.remember(turn["text"], speaker=turn["speaker"], at="2023-05-08")
        forced = name != "bundled"
        manager = stack.enter_context(LlamaModel.load(model_file(name, args.cache), threads=args.threads))
        answerer = manager if forced else LlamaModel.load(bundled_agent("answerer"), threads=args.threads)
        stack.callback(answerer.close)
        agents = TimedAgents(manager, answerer, forced=forced, threads=args.threads)
        bank = stack.enter_context(MemoryBank.open(path, memory_manager=agents, answer_agent=agents, config=config))
        later = [turn for turn in turns[args.before :] if turn["dia_id"] in notes]
        for turn in later[: args.calls + 1]:
            agents.note = notes[turn["dia_id"]]
            said = {"speaker": turn["speaker"], "at": "2023-05-09"}
            parts = split(agents, lambda turn=turn, said=said: bank.remember(turn["text"], **said))
            if parts is not None:
                found["remember"].append(parts)
                found["tokens"].append((agents.used.tokens_read, agents.used.tokens_written + 1))  # the last never is
        for question in talk["qa"][: args.calls + 1]:
            parts = split(agents, lambda question=question: bank.ask(question["question"]))
            if parts is not None:
                found["ask"].append(parts)
    return {what: rows[1:] for what, rows in found.items()}  # the first call makes tables that stay


def draw_parts(bars: dict[str, tuple[float, ...]], path: Path) -> None:
    """One bar per kind of call, its parts in per cent, the whole beside it."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.5 * len(bars)))
    for row, parts in enumerate(bars.values()):
        left = 0.0
        for number, part in enumerate(parts):
            share = 100 * part / sum(parts)
            axes.barh(row, share, left=left, color=f"C{number}", label=PARTS[number] if not row else None)
            if share > 6:
                axes.text(left + share / 2, row, f"{1000 * part:,.0f} ms", ha="center", va="center", fontsize=8)
            left += share
        axes.text(101, row, f"{1000 * sum(parts):,.0f} ms", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set(xlim=(0, 112), xlabel="% of the time of a call (median of each part)")
    axes.invert_yaxis()
    axes.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.3))
    figure.savefig(path, dpi=120, bbox_inches="tight")


def draw_tokens(bars: dict[str, tuple[float, float]], path: Path) -> None:
    """Tokens read and written for one message, on a logarithmic scale."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7, 0.9 + 0.6 * len(bars)))
    for row, (read, written) in enumerate(bars.values()):
        for offset, value, color, name in ((-0.2, read, "C2", "read"), (0.2, written, "C3", "written")):
            axes.barh(row + offset, value, 0.38, color=color, label=None if row else f"tokens {name}")
            axes.text(1.05 * value, row + offset, f"{value:,.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set(xscale="log", xlabel="tokens per message (median)")
    axes.set_xlim(1, 4 * max(read for read, _ in bars.values()))
    axes.invert_yaxis()
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120, bbox_inches="tight")


def _pyplot() -> Any:  # noqa: ANN401
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def peer(text: str) -> tuple[str, tuple[float, float]]:
    """``NAME=READ,WRITTEN``."""
    name, _, counts = text.rpartition("=")
    read, written = map(float, counts.split(","))
    return name, (read, written)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path, metavar="LOCOMO.json")
    parser.add_argument("--models", default="bundled,qwen2.5-0.5b:Q4_K_M")
    parser.add_argument("--parts", type=Path, required=True, metavar="PNG")
    parser.add_argument("--tokens", type=Path, required=True, metavar="PNG")
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=READ,WRITTEN")
    parser.add_argument("--cache", type=Path, default=Path(".cache/engine"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--before", type=int, default=250, help="turns that are in the bank")
    parser.add_argument("--calls", type=int, default=5, help="of each kind")
    parser.add_argument("--candidates", type=int, default=60, help="shown with a question")
    args = parser.parse_args()
    talk = json.loads(args.conversations.read_text(encoding="utf-8"))[0]
    parts, tokens = {}, {}
    for name in args.models.split(","):
        found = measured(name, args, talk)
        for call in ("remember", "ask"):
            parts[f"{call}, {name}"] = tuple(map(median, zip(*found[call], strict=True)))
            said = ", ".join(
                f"{part} {1000 * s:.1f} ms" for part, s in zip(PARTS, parts[f"{call}, {name}"], strict=True)
            )
            print(f"{call}, {name}, {len(found[call])} calls: {said}", flush=True)
        read, written = map(median, zip(*found["tokens"], strict=True))
        tokens[f"memr1-lite, {name}"] = (read, written)
        print(f"remember, {name}: {read:.0f} tokens read, {written:.0f} written", flush=True)
    draw_parts(parts, args.parts)
    draw_tokens(tokens | dict(args.peer), args.tokens)


if __name__ == "__main__":
    main()
