"""The weights of a GGUF file, loaded once for any number of contexts, and the LoRA adapters that go on top of them."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any

from memr1_lite.control import current_call
from memr1_lite.errors import ModelLoadError
from memr1_lite.llama.gguf_header import read_gguf_header
from memr1_lite.llama.library import load_library, log

MAX_TEXT = 1 << 16
"""Bytes of a metadata value that are read."""
NO_FACTORS = {24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64"}
"""Types of ggml that llama.cpp loads and cannot multiply: it would end the process at the first token."""
_GOES_ON = ctypes.CFUNCTYPE(ctypes.c_bool)
"""How llama.cpp asks, before each tensor, whether to load on; what it says of its progress nobody needs."""


class Weights:
    """A native model with a count of those who use it; the last one frees it. Made for one user.

    :raises ModelLoadError: llama.cpp cannot load the file
    :raises CallCancelledError: somebody cancelled the call that this is part of
    :raises DeadlineError: its deadline passed
    """

    def __init__(self, path: Path) -> None:
        self.library = library = load_library()
        self.path = str(path)
        # Re-entrant: a garbage collection under it may free another user of the same weights.
        self._lock = threading.RLock()
        self._users = 1
        log.error = ""
        parameters = library.llama_model_default_params()
        parameters.n_gpu_layers = 0
        # Repacked weights are a second copy in memory, and on processors with AMX llama.cpp dies evaluating them.
        parameters.use_extra_bufts = False
        call = current_call()
        call.check()
        # Asked for its length, which is no function of ours: Ctrl-C would be raised in one, and lost.
        going_on = [True]
        goes_on = _GOES_ON(going_on.__len__)
        parameters.progress_callback = ctypes.cast(goes_on, library.llama_progress_callback)
        with call.stopping(going_on.clear):
            self.model: Any = library.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.model:
            call.check()  # it was stopped
            raise ModelLoadError(
                f"llama.cpp cannot load {self.path!r}: it is damaged or of an unknown kind; get it again."
                f" llama.cpp said: {log.error or 'nothing'}"
            )

    def shared(self) -> Weights | None:
        """The same weights for one more user; None where they are freed already."""
        with self._lock:
            if not self._users:
                return None
            self._users += 1
            return self

    def release(self) -> None:
        """One user less."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self.library.llama_model_free(self.model)

    def metadata(self, key: str) -> str | None:
        """A value of the file's metadata as text."""
        return _text(self.library.llama_model_meta_val_str, self.model, key)

    def adapter(self, path: Path) -> Adapter:
        """Load a LoRA for these weights. It lives as long as they do.

        :raises ModelLoadError: the file is damaged or made for other weights
        """
        _check_factors(path)
        log.error = ""
        handle = self.library.llama_adapter_lora_init(self.model, os.fsencode(path))
        if not handle:  # a null pointer is not None
            raise ModelLoadError(
                f"{str(path)!r} is no LoRA for {self.path!r}: it is damaged, or was made for another base model."
                f" llama.cpp said: {log.error or 'nothing'}"
            )
        adapter = Adapter(self.library, handle)
        wanted, found = adapter.metadata("memr1.base_sha256"), self.metadata("memr1.checkpoint_sha256")
        if wanted is not None and found is not None and wanted != found:
            raise ModelLoadError(
                f"{str(path)!r} was trained on another base model than {self.path!r}: its base has the weights"
                f" {wanted}, this file {found}."
            )
        return adapter


class Adapter:
    """A LoRA loaded on top of weights."""

    def __init__(self, library: Any, handle: Any) -> None:  # noqa: ANN401 - ctypes
        self._library = library
        self.handle = handle

    def metadata(self, key: str) -> str | None:
        """A value of the adapter's metadata as text."""
        return _text(self._library.llama_adapter_meta_val_str, self.handle, key)


def _check_factors(path: Path) -> None:
    for tensor in read_gguf_header(path).tensors:
        if tensor.kind in NO_FACTORS:
            numbers = NO_FACTORS[tensor.kind]
            raise ModelLoadError(f"{str(path)!r} holds {tensor.name!r} in {numbers}: convert the LoRA to F16 or F32.")
        if sum(length > 1 for length in tensor.shape) > 2:
            raise ModelLoadError(
                f"{str(path)!r} holds {tensor.name!r} of shape {tensor.shape}: only a LoRA of matrices can be used."
            )


def _text(read: Any, handle: Any, key: str) -> str | None:  # noqa: ANN401 - ctypes
    buffer = ctypes.create_string_buffer(MAX_TEXT)
    length: int = read(handle, key.encode(), buffer, MAX_TEXT)
    return buffer.value.decode("utf-8", "replace") if length >= 0 else None
