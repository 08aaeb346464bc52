"""What a ``remember()`` reads and writes beside mem0's ``add()``: ``python benchmarks/mem0_remember.py LOCOMO.json``.

The same turns, the same vocabulary (Qwen2's). mem0 is what pip installs, with its defaults, in an environment of its
own; its requests are recorded by a stand-in for an OpenAI-compatible server, which replies with what an annotator noted
about the turn, and embeds by hashing words. Ours says the same note, with random weights and forced logits. Counted are
calls and tokens.

Seconds are the processor's, with one thread and a model of real shape: what else the machine does counts less. Ours
is a whole ``remember()``. Of mem0 only what its model takes: its requests of the same turns, with as many tokens as its
replies had, through llama-cpp-python's own ``Llama``, whose server would also hold every token to a JSON grammar. It
keeps what two prompts in a row begin with, so both are measured, each beside ours: the first prompt after a start, and
one after another, for a server that answers nobody else in between.
Run from the repository, PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine_cases import Case, ForcedModel
from benchmarks.engine_models import random_model
from benchmarks.environments import python_with
from memr1_lite import MemoryBank
from memr1_lite.llama import LlamaModel
from memr1_lite.llm import END, Segment
from memr1_lite.memory_manager import INSTRUCTIONS, ManagerTemplate, MemoryManager, manager_prompt
from memr1_lite.records import Decision, Memory, Message

CLIENT = Path(__file__).with_name("mem0_client.py")
PACKAGES = ("mem0ai==2.2.1",)
DIMENSION = 384
AT = "2023-05-08"


class ForcedManager:
    """A Memory Manager that reads and writes as always, and says ADD with the text it is given."""

    def __init__(self, model: LlamaModel) -> None:
        self.text = ""
        self.evaluated = self.written = 0
        self._model, self._forced = model, ForcedModel(model)
        self._manager = MemoryManager(model, INSTRUCTIONS)

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """Add the text."""
        prompt = manager_prompt(message, similar, INSTRUCTIONS)
        self._forced.prepare(Case(prompt, ManagerTemplate(len(similar)), ("ADD", f" {self.text}", END)))
        before = self._model.evaluated_tokens
        decision = self._manager.decide(message, similar)
        self.written = decision.output_tokens or 0
        self.evaluated = self._model.evaluated_tokens - before - (self.written - 1)  # the last one never is
        return decision


class Relay(ThreadingHTTPServer):
    """Stands for an OpenAI-compatible server: counts what it is asked, replies what it is told."""

    def __init__(self, model: LlamaModel) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.reply = ""
        self.calls: list[tuple[list[int], list[int]]] = []
        """The ids of each prompt, in the frame of ChatML, and of each reply."""


class _Handler(BaseHTTPRequestHandler):
    server: Relay

    def do_POST(self) -> None:
        """Embeddings by hashing, completions as told."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            vectors = [_vector(text) for text in request["input"]]
            rows = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
            usage = {"prompt_tokens": 0, "total_tokens": 0}
            self._answer({"object": "list", "model": "stand-in", "data": rows, "usage": usage})
            return
        asked = "".join(f"<|im_start|>{said['role']}\n{said['content']}<|im_end|>\n" for said in request["messages"])
        read, text = asked + "<|im_start|>assistant\n", self.server.reply
        prompt, reply = (self.server.model.tokenize(Segment(*said)) for said in ((read, True), (text, False)))
        self.server.calls.append((prompt, reply))
        tokens = [len(prompt), len(reply)]
        message = {"role": "assistant", "content": text}
        self._answer(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "stand-in",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
            }
        )

    def _answer(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing."""


def _vector(text: str) -> list[float]:
    vector = [0.0] * DIMENSION
    for word in text.lower().split():
        vector[zlib.crc32(word.encode()) % DIMENSION] += 1.0
    return vector


def turns_with_notes(conversation: dict[str, Any], count: int) -> list[tuple[dict[str, Any], str]]:
    """Turns about which an annotator noted something, with the first note."""
    talk = conversation["conversation"]
    turns = {turn["dia_id"]: turn for part in talk.values() if isinstance(part, list) for turn in part}
    notes = [note for part in conversation["observation"].values() for of in part.values() for note in of]
    noted = {source: text for text, source in reversed(notes) if isinstance(source, str) and source in turns}
    return [(turns[source], text) for source, text in list(reversed(noted.items()))[:count]]


@dataclass(frozen=True)
class Turn:
    """What was said, what is to be noted about it, and what it cost: mem0's requests as prompt and reply."""

    said: dict[str, Any]
    note: str
    evaluated: int
    written: int
    requests: list[tuple[list[int], list[int]]]


def tell_both(told: list[tuple[dict[str, Any], str]], path: Path, python: Path) -> list[Turn]:
    """Tell ours and mem0 the same turns; counts with the model at ``path``, which only needs the vocabulary."""
    turns = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        model = stack.enter_context(LlamaModel.load(path, threads=1))
        relay = Relay(model)
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        stack.callback(relay.shutdown)
        quiet = {**os.environ, "MEM0_TELEMETRY": "False", "MEM0_DIR": folder, "OPENAI_API_KEY": "none"}
        client = subprocess.Popen(
            [str(python), str(CLIENT), f"http://127.0.0.1:{relay.server_port}/v1", folder, "random"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet,
        )  # fmt: skip
        stack.callback(client.wait)
        assert client.stdin is not None
        assert client.stdout is not None
        stack.callback(client.stdin.close)
        assert client.stdout.readline() == "ready\n"
        manager = ForcedManager(model)
        bank = stack.enter_context(MemoryBank.open(":memory:", memory_manager=manager))
        for said, note in told:
            manager.text = note
            bank.remember(said["text"], speaker=said["speaker"], at=AT)
            relay.reply = json.dumps({"memory": [{"id": "0", "text": note, "attributed_to": "user"}]})
            relay.calls = []
            client.stdin.write(json.dumps(said) + "\n")
            client.stdin.flush()
            client.stdout.readline()
            turns.append(Turn(said, note, manager.evaluated, manager.written, relay.calls))
    return turns


def seconds_of_ours(turns: list[Turn], light: Path, path: Path, timed: int) -> list[float]:
    """Of each of the last ``timed`` ``remember()``, with the model at ``path``; the bank is filled with a light one."""
    seconds = []
    with contextlib.ExitStack() as stack:
        bank_file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "bank.db"
        for file, part in ((light, turns[:-timed]), (path, turns[-timed:])):
            manager = ForcedManager(stack.enter_context(LlamaModel.load(file, threads=1)))
            with MemoryBank.open(bank_file, memory_manager=manager) as bank:
                for turn in part:
                    manager.text = turn.note
                    began = time.process_time()
                    bank.remember(turn.said["text"], speaker=turn.said["speaker"], at=AT)
                    seconds.append(time.process_time() - began)
    return seconds[-timed:]


def seconds_of_theirs(turns: list[Turn], path: Path) -> tuple[float, list[float]]:
    """Of the requests of the first turn, with nothing kept, and of each later one, the prompt before kept."""
    from llama_cpp import Llama

    longest = max(len(prompt) + len(reply) for turn in turns for prompt, reply in turn.requests)
    model = Llama(str(path), n_ctx=longest // 256 * 256 + 512, n_threads=1, n_threads_batch=1, verbose=False)
    seconds = []
    for turn in turns:
        began = time.process_time()
        for prompt, reply in turn.requests:
            for _ in itertools.islice(model.generate(prompt, temp=0.0), len(reply)):
                pass
        seconds.append(time.process_time() - began)
    model.close()
    return seconds[0], seconds[1:]


def alike(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids the two begin with."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path, metavar="LOCOMO.json")
    parser.add_argument("--cache", type=Path, default=Path(".cache/engine"))
    parser.add_argument("--environment", type=Path, default=Path(".cache/mem0"))
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--model", default="qwen2.5-0.5b:Q4_K_M", metavar="SHAPE:QUANT", help="whose seconds count")
    parser.add_argument("--timed", type=int, default=3, help="so many of mem0's last turns are run after each other")
    args = parser.parse_args()
    conversation = json.loads(args.conversations.read_text(encoding="utf-8"))[0]
    told = turns_with_notes(conversation, args.turns)
    light = random_model(args.cache, "tiny", "Q8_0")
    turns = tell_both(told, light, python_with(PACKAGES, args.environment))
    read, replied = ([sum(len(one[n]) for one in turn.requests) for turn in turns] for n in (0, 1))
    ours = [median(turn.evaluated for turn in turns), median(turn.written for turn in turns)]
    calls = median(len(turn.requests) for turn in turns)
    print(f"over {len(turns)} turns, medians   calls, prompt tokens, output tokens")
    print(f"    ours   1, {ours[0]:.0f} evaluated (first turn: {turns[0].evaluated}), {ours[1]:.0f}")
    print(f"    mem0   {calls:.0f}, {median(read):,.0f}, {median(replied):.0f}", flush=True)
    if not args.timed:
        return
    path = random_model(args.cache, *args.model.split(":"))
    mine = seconds_of_ours(turns, light, path, args.timed + 1)
    usual = median(mine[1:])
    print(f"seconds of the processor, medians over the last {args.timed} turns, {args.model}, one thread")
    print(f"    ours, the whole remember(): {usual:.2f}, the first after a start {mine[0]:.2f}", flush=True)
    last = turns[-args.timed - 1 :]
    same = median(alike(a.requests[0][0], b.requests[0][0]) for a, b in itertools.pairwise(last))
    first, kept = seconds_of_theirs(last, path)
    print(f"    mem0, its model alone: {median(kept):.2f} ({median(kept) / usual:.1f} times), {same:.0f} tokens kept of"
          f" the prompt before; with nothing kept {first:.1f} ({first / mine[0]:.1f} times)")  # fmt: skip


if __name__ == "__main__":
    main()
