"""The native objects of one model, and the one place that frees them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from memr1_lite.errors import ModelLoadError
from memr1_lite.llama.library import log
from memr1_lite.llama.weights import Weights

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


class NativeModel:
    """A llama.cpp model with a context and a batch of its own. Not guarded: its owner has the lock."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.library = library = weights.library
        self.model = model = weights.model
        self.context: Any = None
        self.batch: Any = None
        self.sequences = 1
        self.stop_flag = StopFlag()
        self.can_rewind = not (library.llama_model_is_recurrent(model) or library.llama_model_is_hybrid(model))
        """Whether tokens can be taken back one by one; recurrent models cannot."""
        self._process = os.getpid()

    def open_context(self, context: int, threads: int, *, exact_cache: bool, sequences: int, path: str) -> None:
        """Make the context, whose cells ``sequences`` sequences share, and a batch of BATCH tokens of sequence 0."""
        parameters = self.library.llama_context_default_params()
        parameters.n_ctx = context
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_seq_max = self.sequences = sequences
        parameters.kv_unified = True
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        if exact_cache:
            parameters.type_k = parameters.type_v = self.library.GGML_TYPE_F32
            parameters.flash_attn_type = self.library.LLAMA_FLASH_ATTN_TYPE_DISABLED
        log.error = ""
        self.context = self.library.llama_init_from_model(self.model, parameters)
        if not self.context:
            raise ModelLoadError(
                f"llama.cpp cannot make a context of {context} tokens for {path!r}: ask for a smaller one."
                f" llama.cpp said: {log.error or 'nothing'}"
            )
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

    def free(self) -> None:
        """Free everything, once. In a forked child nothing is touched: the threads behind it do not exist there."""
        if os.getpid() != self._process:
            return
        if self.batch is not None:
            self.library.llama_batch_free(self.batch)
        if self.context:
            self.library.llama_free(self.context)
        self.weights.release()
