"""The native objects of one model, and the one place that frees them."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from memr1_lite.errors import ModelError, ModelLoadError
from memr1_lite.llama.library import log
from memr1_lite.llama.weights import Adapter, Weights

BATCH = 512
"""Tokens evaluated at a time; more in one call would end the process."""


class StopFlag:
    """Ends an evaluation from any thread, without Python: llama.cpp looks at it between two steps of its graph.

    A Python function as callback would need the interpreter's lock at every step, and wait for whoever has it. What is
    wanted is "does this memory begin with a zero byte?", and the C library has a function that answers it: strlen.
    """

    def __init__(self) -> None:
        self._bytes = ctypes.create_string_buffer(2)

    def callback(self, library: Any) -> tuple[Any, Any]:  # noqa: ANN401 - ctypes
        """The function and its argument for ``llama_set_abort_callback``."""
        c_library = ctypes.cdll.msvcrt if os.name == "nt" else ctypes.CDLL(None)
        return ctypes.cast(c_library.strlen, library.ggml_abort_callback), ctypes.cast(self._bytes, ctypes.c_void_p)

    def set(self) -> None:
        """End the evaluation under way, and those that follow."""
        self._bytes[0] = b"x"

    def clear(self) -> None:
        """Let evaluations run again."""
        self._bytes[0] = b"\0"

    @property
    def is_set(self) -> bool:
        """Whether evaluations are to end."""
        return self._bytes[0] != b"\0"


class ContextShape(NamedTuple):
    """What a context is made for: tokens, threads, keys and values in 32 bits, and sequences that share its cells."""

    tokens: int
    threads: int
    exact_cache: bool
    sequences: int


class NativeModel:
    """A llama.cpp model with a context and a batch. Guarded by ``lock``, which whoever uses it holds.

    Agents with LoRAs on the same weights may share one: the context then works for one of them at a time, and what it
    holds of another one is dropped.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.library = library = weights.library
        self.model = model = weights.model
        self.context: Any = None
        self.batch: Any = None
        self.sequences = 1
        self.lock = threading.Lock()
        self.stop_flag = StopFlag()
        self.tenant: object = None
        """The session whose tokens the context holds and whose LoRA is on it; None where nobody can be sure."""
        self.can_rewind = not (library.llama_model_is_recurrent(model) or library.llama_model_is_hybrid(model))
        """Whether tokens can be taken back one by one; recurrent models cannot."""
        self._process = os.getpid()
        # Re-entrant, and beside the other: who loads one does not wait for a call, nor does a garbage collection.
        self._counting = threading.RLock()
        self._users = 1
        self._shape: ContextShape | None = None

    def shared(self, shape: ContextShape) -> NativeModel | None:
        """This one for one more user; None where its context is freed or of another shape, or the parent process's."""
        with self._counting:
            if not self._users or self._shape != shape or self._is_forked:
                return None
            self._users += 1
            return self

    def open_context(self, shape: ContextShape, path: str) -> None:
        """Make the context, and a batch of BATCH tokens of sequence 0."""
        parameters = self.library.llama_context_default_params()
        parameters.n_ctx = shape.tokens
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_seq_max = self.sequences = shape.sequences
        parameters.kv_unified = True
        parameters.n_threads = parameters.n_threads_batch = shape.threads
        parameters.no_perf = True
        if shape.exact_cache:
            parameters.type_k = parameters.type_v = self.library.GGML_TYPE_F32
            parameters.flash_attn_type = self.library.LLAMA_FLASH_ATTN_TYPE_DISABLED
        log.error = ""
        self.context = self.library.llama_init_from_model(self.model, parameters)
        if not self.context:
            raise ModelLoadError(
                f"llama.cpp cannot make a context of {shape.tokens} tokens for {path!r}: ask for a smaller one."
                f" llama.cpp said: {log.error or 'nothing'}"
            )
        self._shape = shape
        self.library.llama_set_abort_callback(self.context, *self.stop_flag.callback(self.library))
        self.batch = self.library.llama_batch_init(BATCH, 0, 1)
        self._tokens, self._positions, self._wanted, counts = (
            np.ctypeslib.as_array(field, shape=(BATCH,))
            for field in (self.batch.token, self.batch.pos, self.batch.logits, self.batch.n_seq_id)
        )
        counts[:] = 1
        for index in range(BATCH):
            self.batch.seq_id[index][0] = 0

    def fill(self, ids: Sequence[int], position: int, rows: int) -> None:
        """Put ``ids`` into the batch, the first of them at ``position``; logits are wanted after the last ``rows``."""
        count = len(ids)
        self.batch.n_tokens = count
        if count == 1:  # the usual case, and slices of numpy take longer
            self._tokens[0], self._positions[0], self._wanted[0] = ids[0], position, rows
            return
        self._tokens[:count] = ids
        self._positions[:count] = np.arange(position, position + count)
        self._wanted[:count] = False
        self._wanted[count - rows : count] = True

    def state(self, sequence: int) -> bytes:
        """What the context holds of ``sequence``."""
        size: int = self.library.llama_state_seq_get_size(self.context, sequence)
        buffer = (ctypes.c_uint8 * size)()
        written: int = self.library.llama_state_seq_get_data(self.context, buffer, size, sequence)
        return bytes(buffer[:written])

    def restore(self, sequence: int, state: bytes) -> bool:
        """Fill the empty ``sequence`` with a state of this library, model and these settings; False leaves it empty."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        read: int = self.library.llama_state_seq_set_data(self.context, buffer, len(state), sequence)
        return read == len(state)

    def put_on(self, adapter: Adapter | None) -> None:
        """Let the context evaluate with ``adapter``, or with the weights alone.

        :raises ModelError: llama.cpp refuses
        """
        log.error = ""
        count = 0 if adapter is None else 1
        handles = (self.library.llama_adapter_lora_p_ctypes * 1)(*([] if adapter is None else [adapter.handle]))
        if self.library.llama_set_adapters_lora(self.context, handles, count, (ctypes.c_float * 1)(1.0)) != 0:
            raise ModelError(f"llama.cpp cannot put a LoRA on {self.weights.path!r}: {log.error or 'no reason given'}")

    def free(self) -> None:
        """One user less; with the last one everything is freed.

        In a forked child nothing is touched: the threads behind it do not exist there.
        """
        if self._is_forked:
            return
        with self._counting:
            self._users -= 1
            if self._users:
                return
        if self.batch is not None:
            self.library.llama_batch_free(self.batch)
        if self.context:
            self.library.llama_free(self.context)
        self.weights.release()

    @property
    def _is_forked(self) -> bool:
        return os.getpid() != self._process
