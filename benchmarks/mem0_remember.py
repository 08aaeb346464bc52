"""What a ``remember()`` reads and writes beside mem0's ``add()``: ``python benchmarks/mem0_remember.py LOCOMO.json``.

The same turns, the same vocabulary (Qwen2's). mem0 is what pip installs, with its defaults, in an environment of its
own; its requests are recorded by a stand-in for an OpenAI-compatible server, which replies with what an annotator noted
about the turn, and embeds by hashing words. Ours says the same note, with random weights and forced logits. Counted are
calls and tokens, not seconds: these depend on the model, and on what a server keeps of the prompt before.
Run from the repository, PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine import Case, ForcedModel
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
        self.calls: list[tuple[int, int]] = []
        """Tokens of each prompt, in the frame of ChatML, and of each reply."""


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
        tokens = [len(self.server.model.tokenize(Segment(*said))) for said in ((read, True), (text, False))]
        self.server.calls.append((tokens[0], tokens[1]))
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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path, metavar="LOCOMO.json")
    parser.add_argument("--cache", type=Path, default=Path(".cache/engine"))
    parser.add_argument("--environment", type=Path, default=Path(".cache/mem0"))
    parser.add_argument("--turns", type=int, default=20)
    args = parser.parse_args()
    conversation = json.loads(args.conversations.read_text(encoding="utf-8"))[0]
    path = random_model(args.cache, "tiny", "Q8_0")
    python = python_with(PACKAGES, args.environment)
    counts: list[tuple[int, ...]] = []
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
        for turn, note in turns_with_notes(conversation, args.turns):
            manager.text = note
            bank.remember(turn["text"], speaker=turn["speaker"], at="2023-05-08")
            relay.reply = json.dumps({"memory": [{"id": "0", "text": note, "attributed_to": "user"}]})
            relay.calls.clear()
            client.stdin.write(json.dumps(turn) + "\n")
            client.stdin.flush()
            client.stdout.readline()
            counts.append(
                (1, manager.evaluated, manager.written, len(relay.calls), *map(sum, zip(*relay.calls, strict=True)))
            )
    print(f"over {len(counts)} turns, medians   calls, prompt tokens, output tokens")
    middle = [median(column) for column in zip(*counts, strict=True)]
    print(f"    ours   {middle[0]:.0f}, {middle[1]:.0f} evaluated (first turn: {counts[0][1]}), {middle[2]:.0f}")
    print(f"    mem0   {middle[3]:.0f}, {middle[4]:,.0f}, {middle[5]:.0f}")


if __name__ == "__main__":
    main()
