"""The child process of :class:`~memr1_lite.llama.process.ProcessModel`: one model, asked in JSON lines.

Standard input brings requests, and during a completion the steps of its template; what was standard output takes the
replies. JSON, not pickle: what reads a hostile file is not believed.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Sequence
from typing import Any, BinaryIO

from memr1_lite.control import Call, Calls
from memr1_lite.errors import MemR1Error
from memr1_lite.llama.model import LlamaModel
from memr1_lite.llm import Choice, Forced, FreeText, Sampling, Segment, Step

Line = dict[str, Any]


class Wire:
    """JSON lines in and out. A cancellation is obeyed as soon as it is read; the rest waits its turn."""

    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self._source, self._target = source, target
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self.calls = Calls()
        threading.Thread(target=self._read, daemon=True).start()

    def receive(self) -> Line:
        """The next line."""
        return self._lines.get()

    def send(self, line: Line) -> None:
        """Write one line."""
        self._target.write(json.dumps(line).encode() + b"\n")
        self._target.flush()

    def _read(self) -> None:
        for data in self._source:
            line = json.loads(data)
            if "cancel" in line:
                self.calls.cancel()
            else:
                self._lines.put(line)
        os._exit(0)  # whoever asked is gone, and the main thread may be deep in an evaluation


class RemoteTemplate:
    """An output template that lives in the process that asks."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def next_step(self, values: Sequence[str]) -> Step | None:
        """Ask for the step after ``values``."""
        self._wire.send({"values": list(values)})
        return read_step(self._wire.receive()["step"])


def written_step(step: Step | None) -> list[Any] | None:
    """``step`` as JSON."""
    if isinstance(step, Choice):
        return ["choice", *step.options]
    if isinstance(step, FreeText):
        return ["free", step.stop, step.max_tokens]
    return None if step is None else ["forced", step.text]


def read_step(written: list[Any] | None) -> Step | None:
    """The inverse of :func:`written_step`."""
    if written is None:
        return None
    kind, *rest = written
    if kind == "choice":
        return Choice(tuple(rest))
    return FreeText(rest[0], rest[1]) if kind == "free" else Forced(rest[0])


def main() -> None:
    """Load the model that the first line names, then answer until standard input ends."""
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints is no reply
    wire = Wire(sys.stdin.buffer, target)
    try:
        model = LlamaModel.load(**wire.receive())
    except MemR1Error as error:
        wire.send(_written_error(error))
        return
    wire.send(
        {
            "name": model.name,
            "trained_role": model.trained_role,
            "prompt_version": model.prompt_version,
            "context": model.context,
        }
    )
    while True:
        _answer(wire, model, wire.receive())


def _answer(wire: Wire, model: LlamaModel, request: Line) -> None:
    prompt = [Segment(text, trusted) for text, trusted in request["prompt"]]
    listen = (lambda text: wire.send({"text": text})) if request["listen"] else None
    sampling = None if request["sampling"] is None else Sampling(*request["sampling"])
    try:
        with wire.calls.under(Call(listen=listen)):
            wire.send({"begun": True})
            if request["template"]:
                said = model.complete(prompt, RemoteTemplate(wire), sampling)
                counts = (said.prompt_tokens, said.output_tokens)
                wire.send({"completion": [said.values, said.confidences, *counts]})
            else:
                model.prepare(prompt)
                wire.send({"completion": [(), (), 0, 0]})
    except MemR1Error as error:
        wire.send(_written_error(error))


def _written_error(error: MemR1Error) -> Line:
    return {"error": type(error).__name__, "message": str(error), "details": vars(error)}
