"""What a context holds: the tokens evaluated last, so that the same beginning is not evaluated twice."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from memr1_lite.errors import ContextOverflowError, ModelError
from memr1_lite.llama.decoding import Logits
from memr1_lite.llama.library import log
from memr1_lite.llama.native import NativeModel

WORKING = 0
"""The sequence that prompts and outputs are evaluated in."""
CHUNK = 128
"""Prompts are evaluated in pieces of this many tokens, and used again in whole pieces: what comes out then does not
depend, not even by rounding, on what came before."""


class Session:
    """The tokens in a model's context. Not guarded: the model that owns it has the lock.

    :param n_vocab: logits of one token
    :param path: named in errors
    """

    def __init__(self, native: NativeModel, n_vocab: int, path: str) -> None:
        self._native = native
        self._library = native.library
        self._n_vocab = n_vocab
        self._path = path
        self.context = int(self._library.llama_n_ctx(native.context))
        self._held: list[int] = []
        self._whole = 0
        """Tokens held that were evaluated in whole pieces."""
        self.evaluated = 0
        """Tokens evaluated since the session began, drafts included."""

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.context - len(self._held)

    def begin(self, ids: Sequence[int]) -> int:
        """Keep what the context holds of ``ids`` and drop the rest; how many are left in place, never all of them.

        :raises ModelError: llama.cpp failed
        """
        limit = min(self._whole, len(ids) - 1)
        same = next((place for place in range(limit) if self._held[place] != ids[place]), max(0, limit))
        self.rewind(len(self._held) - same // CHUNK * CHUNK)
        return len(self._held)

    def rewind(self, count: int) -> None:
        """Take the last ``count`` tokens back."""
        if count == 0:
            return
        left = len(self._held) - count
        # Recurrent models cannot go back to the middle; then all is forgotten.
        if left and self._library.llama_memory_seq_rm(self._memory, WORKING, left, -1):
            del self._held[left:]
            self._whole = min(self._whole, left // CHUNK * CHUNK)
        else:
            self.forget()

    def forget(self) -> None:
        """Drop everything that is held."""
        # Only the bookkeeping: overwriting the whole cache with zeros would cost more than a short prompt.
        self._library.llama_memory_clear(self._memory, False)
        self._held, self._whole = [], 0

    def evaluate(self, ids: Sequence[int], rows: int) -> Logits:
        """Run ``ids``: the logits after each of the last ``rows`` of them, (rows, n_vocab), until the next call.

        :raises ContextOverflowError: they do not fit beside what is held
        :raises ModelError: llama.cpp failed; the session is empty then
        """
        if len(ids) > self.room:
            raise ContextOverflowError(len(self._held) + len(ids), self.context)
        # The logits of one batch are there at a time, so those wanted come out of the last.
        start, last = 0, len(ids) - max(1, rows)
        while (end := start + CHUNK - len(self._held) % CHUNK) <= last:
            self._decode(ids[start:end], 0)
            start = end
        self._decode(ids[start:], rows)
        if not rows:
            return np.empty((0, self._n_vocab), dtype=np.float32)
        return _rows(self._library.llama_get_logits(self._native.context), rows, self._n_vocab)

    def _decode(self, ids: Sequence[int], rows: int) -> None:
        native = self._native
        native.fill(ids, len(self._held), rows)
        status: int = self._library.llama_decode(native.context, native.batch)
        if status != 0:
            self.forget()
            raise ModelError(f"llama.cpp failed on {self._path!r} (llama_decode returned {status}): {log.last_error}")
        if self._whole == len(self._held) and len(ids) == CHUNK:
            self._whole += CHUNK
        self._held += ids
        self.evaluated += len(ids)

    @property
    def _memory(self) -> ctypes.c_void_p:
        memory: ctypes.c_void_p = self._library.llama_get_memory(self._native.context)
        return memory


def _rows(pointer: Any, count: int, size: int) -> Logits:  # noqa: ANN401 - ctypes
    rows: Logits = np.ctypeslib.as_array(pointer, shape=(count, size))
    return rows
