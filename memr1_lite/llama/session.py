"""What a context holds: the tokens evaluated last, so that the same beginning is not evaluated twice."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Sequence

import numpy as np

from memr1_lite.control import begin
from memr1_lite.errors import CallCancelledError, ContextOverflowError, ModelError
from memr1_lite.llama.decoding import Logits
from memr1_lite.llama.library import log
from memr1_lite.llama.native import NativeModel
from memr1_lite.llama.states import PrefixStates
from memr1_lite.llama.weights import Adapter

WORKING = 0
"""The sequence that prompts and outputs are evaluated in."""
CHUNK = 128
"""Prompts are evaluated in pieces of this many tokens, and used again in whole pieces: what comes out then does not
depend, not even by rounding, on what came before."""
KEPT_FROM = 16
"""A fixed beginning of fewer tokens is not worth keeping."""
NO_ROOM, ABORTED = 1, 2
"""What ``llama_decode`` returns where the cells are all taken, and where it was told to stop."""
LONG = 32
"""An evaluation of so many tokens may take long enough for somebody to lose patience."""


class Session:
    """The tokens of one agent in a model's context. Not guarded: the model that owns it has the lock.

    Where agents share a context, the session that comes takes it over: it puts its LoRA on, and the other's tokens go.

    The fixed beginnings of prompts are kept as sequences of their own, whose cells a prompt that begins so shares.

    :param n_vocab: logits of one token
    :param path: named in errors
    :param states: where fixed beginnings are saved to; None saves none
    :param adapter: the agent's LoRA, if it has one
    """

    def __init__(
        self,
        native: NativeModel,
        n_vocab: int,
        path: str,
        states: PrefixStates | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        self._native = native
        self._adapter = adapter
        self._library = native.library
        self._n_vocab = n_vocab
        self._path = path
        self._states = states
        self.context = int(self._library.llama_n_ctx(native.context))
        self._held: list[int] = []
        self._whole = 0
        """Tokens held that are a fixed beginning and whole pieces."""
        self._fixed: tuple[int, ...] = ()
        self._kept: dict[tuple[int, ...], int] = {}
        """Fixed beginnings and the sequences that keep them, the one used last at the end."""
        self._settled = True
        """Whether what is noted here is what the context holds: a signal may come between doing and noting."""
        self._logits: Logits = np.empty((0, n_vocab), dtype=np.float32)
        self._logits_at = 0
        self.evaluated = 0
        """Tokens evaluated since the session began, drafts included."""

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.context - len(self._held)

    def begin(self, ids: Sequence[int], fixed: int = 0) -> int:
        """Keep what the context holds of ``ids`` and drop the rest; how many are left in place, never all of them.

        :param fixed: the first so many ids stand at the beginning of other prompts too
        :raises ModelError: llama.cpp failed
        """
        if not self._settled or self._native.tenant is not self:
            self.forget()
        self._settled = False
        beginning = tuple(ids[:fixed]) if self._native.sequences > 1 and KEPT_FROM <= fixed < len(ids) else ()
        if beginning != self._fixed:
            self._drop(WORKING)
            self._fixed, self._held, self._whole = (), [], 0
            if beginning:
                self._recall(beginning)
        base = len(beginning)
        limit = min(self._whole, len(ids) - 1)
        same = next((place for place in range(base, limit) if self._held[place] != ids[place]), max(base, limit))
        self.rewind(len(self._held) - self._pieces(same))
        self._settled = True
        return len(self._held) if len(self._held) >= base else self.begin(ids, fixed)

    def _pieces(self, tokens: int) -> int:
        """The tokens of whole pieces among the first ``tokens``."""
        base = len(self._fixed)
        return base + (tokens - base) // CHUNK * CHUNK

    def _recall(self, beginning: tuple[int, ...]) -> None:
        """Fill the empty working sequence with a fixed beginning, and keep it."""
        sequence = self._kept.pop(beginning, None)
        if sequence is not None:
            self._library.llama_memory_seq_cp(self._memory, sequence, WORKING, -1, -1)
        else:
            state = None if self._states is None else self._states.load(beginning)
            if state is None or not self._native.restore(WORKING, state):
                self._drop(WORKING)
                self.evaluate(beginning, 0)
                if self._states is not None:
                    self._states.save(beginning, self._native.state(WORKING))
            free = set(range(1, self._native.sequences)) - set(self._kept.values())
            if not free:
                self._release(next(iter(self._kept)))
                free = set(range(1, self._native.sequences)) - set(self._kept.values())
            sequence = free.pop()
            self._library.llama_memory_seq_cp(self._memory, WORKING, sequence, -1, -1)
        self._kept[beginning] = sequence
        self._fixed, self._held, self._whole = beginning, list(beginning), len(beginning)

    def _release(self, beginning: tuple[int, ...]) -> None:
        self._drop(self._kept.pop(beginning))

    def _drop(self, sequence: int) -> None:
        self._library.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def rewind(self, count: int) -> None:
        """Take the last ``count`` tokens back."""
        if count == 0:
            return
        self._settled = False
        left = len(self._held) - count
        # Recurrent models cannot go back to the middle; then all is forgotten.
        if left and self._library.llama_memory_seq_rm(self._memory, WORKING, left, -1):
            del self._held[left:]
            self._whole = min(self._whole, self._pieces(left))
            self._settled = True
        else:
            self.forget()

    def forget(self) -> None:
        """Drop everything that is held, also of another agent, and take the context over.

        :raises ModelError: llama.cpp refuses the agent's LoRA
        """
        if (before := self._native.tenant) is not self:
            self._native.tenant = None  # a signal may come before all is done
            if isinstance(before, Session):
                before._held, before._whole, before._fixed, before._kept = [], 0, (), {}
            self._native.put_on(self._adapter)
        # Only the bookkeeping: overwriting the whole cache with zeros would cost more than a short prompt.
        self._library.llama_memory_clear(self._memory, False)
        self._held, self._whole = [], 0
        self._fixed, self._kept = (), {}
        self._settled = True
        self._native.tenant = self

    def evaluate(self, ids: Sequence[int], rows: int) -> Logits:
        """Run ``ids``: the logits after each of the last ``rows`` of them, (rows, n_vocab), until the next call.

        :raises ContextOverflowError: they do not fit beside what is held
        :raises ModelError: llama.cpp failed; the session is empty then
        """
        if len(ids) > self.room:
            raise ContextOverflowError(len(self._held) + len(ids), self.context)
        # The logits of one batch are there at a time, so those wanted come out of the last.
        start, last = 0, len(ids) - max(1, rows)
        while (end := start + self._pieces(len(self._held)) + CHUNK - len(self._held)) <= last:
            self._decode(ids[start:end], 0)
            start = end
        self._decode(ids[start:], rows)
        if not rows:
            return np.empty((0, self._n_vocab), dtype=np.float32)
        return self._rows(rows)

    def _rows(self, count: int) -> Logits:
        """The logits of the last batch, where llama.cpp keeps them."""
        pointer = self._library.llama_get_logits(self._native.context)
        address = ctypes.addressof(pointer.contents)
        if address != self._logits_at or count > len(self._logits):
            # Making an array of a pointer takes longer than all that is done with it.
            self._logits = np.ctypeslib.as_array(pointer, shape=(count, self._n_vocab))
            self._logits_at = address
        return self._logits[:count]

    def _decode(self, ids: Sequence[int], rows: int) -> None:
        native = self._native
        self._settled = False
        native.fill(ids, len(self._held), rows)
        log.error = ""
        status = self._run(len(ids))
        if status == NO_ROOM and (others := [kept for kept in self._kept if kept != self._fixed]):
            for kept in others:
                self._release(kept)
            status = self._run(len(ids))
        if status == ABORTED:
            self._library.llama_memory_seq_rm(self._memory, WORKING, len(self._held), -1)
            self._settled = True
            raise CallCancelledError(f"The evaluation on {self._path!r} was stopped.")
        if status != 0:
            self.forget()
            raise ModelError(f"llama.cpp failed on {self._path!r} (llama_decode returned {status}): {log.error}")
        if self._whole == len(self._held) and len(ids) == CHUNK:
            self._whole += CHUNK
        self._held += ids
        self.evaluated += len(ids)
        self._settled = True

    def _run(self, tokens: int) -> int:
        """Evaluate the batch; a long one not in the main thread, where signals wait for native code to return."""
        if tokens < LONG or threading.current_thread() is not threading.main_thread():
            status: int = self._library.llama_decode(self._native.context, self._native.batch)
            return status
        result: list[int] = []
        # Not join() and is_alive(): an interrupted join() takes a running thread for ended (Python 3.11, 3.12).
        gate, done = threading.Event(), threading.Event()
        may = False

        def work() -> None:
            gate.wait()
            if may:
                result.append(self._library.llama_decode(self._native.context, self._native.batch))
            done.set()

        worker = threading.Thread(target=work, daemon=True)
        try:
            if not begin(worker):  # then a signal waits a little longer
                gate.set()
                return int(self._library.llama_decode(self._native.context, self._native.batch))
            may = True  # after it: a signal may be heard in there, so that nobody can say whether it has begun
            gate.set()
            done.wait()
        except BaseException:  # whatever a signal handler raised
            self._native.stop_flag.set()
            gate.set()
            while may and not done.is_set():
                with contextlib.suppress(KeyboardInterrupt):
                    done.wait()
            raise
        return result[0]

    @property
    def _memory(self) -> ctypes.c_void_p:
        memory: ctypes.c_void_p = self._library.llama_get_memory(self._native.context)
        return memory
