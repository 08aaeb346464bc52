"""Models for the decoding alone: functions from the tokens so far to logits, with the bookkeeping of a context."""

from __future__ import annotations

import numpy as np


class FunctionModel:
    """Evaluates ``logits_after``, a function of all tokens so far; notes every call."""

    def __init__(self, logits_after, room=10_000):
        self.logits_after = logits_after
        self.held = []
        self.calls = []
        self.rewound = 0
        self.room = room

    def evaluate(self, ids, rows):
        assert len(ids) <= self.room
        self.calls.append(list(ids))
        self.held += ids
        self.room -= len(ids)
        ends = range(len(self.held) - rows + 1, len(self.held) + 1)
        return np.stack([self.logits_after(self.held[:end]) for end in ends])

    def rewind(self, count):
        assert count > 0
        del self.held[-count:]
        self.room += count
        self.rewound += count
