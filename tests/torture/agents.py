"""A Memory Manager without a model: it does what the message says, on the memories it is shown."""

from __future__ import annotations

import random
import re
import time

from memr1_lite.bank import MemoryBank
from memr1_lite.config import BankConfig
from memr1_lite.records import Add, Decision, Delete, Noop, Update
from memr1_lite.testing import HashEmbedder

_SAID = re.compile(r"(set|drop|add one to) (\w+)")


class Obedient:
    """Keeps one memory per subject: "set tea ..." writes it, "drop tea" deletes it, "add one to tea" counts."""

    def __init__(self, thinking: float = 0.0) -> None:
        self._thinking = thinking
        self._random = random.Random(7)

    def decide(self, message, similar):
        what, subject = _SAID.match(message.text).groups()
        known = next((memory for memory in similar if memory.text.split()[0] == subject), None)
        if self._thinking:
            time.sleep(self._random.uniform(0, self._thinking))
        if what == "drop":
            operation = Noop(op="NOOP") if known is None else delete(known)
        else:
            text = message.text.removeprefix("set ")
            if what == "add one to":
                text = f"{subject} {1 if known is None else int(known.text.split()[1]) + 1}"
            operation = Add(op="ADD", text=text) if known is None else update(known, text)
        return Decision(operations=(operation,), model="obedient")


def update(memory, text):
    return Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=text)


def delete(memory):
    return Delete(op="DELETE", memory_id=memory.id, version=memory.version)


def open_bank(path, *, exact_below=0, thinking=0.0, decide_again=3):
    """A bank whose vectors are in graphs, however few, so that their files are written too."""
    config = BankConfig(exact_below=exact_below, decide_again=decide_again)
    return MemoryBank.open(path, embedder=HashEmbedder(24), memory_manager=Obedient(thinking), config=config)
