"""A sentence encoder in a GGUF file, run by llama.cpp: an :class:`~memr1_lite.llm.Embedder`."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memr1_lite.control import current_call
from memr1_lite.errors import ClosedError, ModelError, ModelLoadError
from memr1_lite.llama.gguf_file import check_gguf
from memr1_lite.llama.library import load_library, log, refuse_forked, usable_threads
from memr1_lite.llama.native import StopFlag
from memr1_lite.llama.vocabulary import Vocabulary
from memr1_lite.llm import Segment

NAME_KEY = "memr1.embedder"
"""Metadata that says which vectors a file makes."""
MAX_TOKENS = 512
"""Tokens evaluated at once, of one text or of several: more than a model's positions would end the process."""
MAX_TEXTS = 64


class LlamaEmbedder:
    """Unit vectors of texts. Calls from several threads take turns, batch by batch, so that none waits for long.

    A text is read up to as many tokens as the file says that the encoder was made for; the rest of it is left out.
    """

    name: str
    dimension: int

    def __init__(self, path: Path, threads: int) -> None:
        """Open ``path``; :meth:`load` is the way in."""
        self._library = library = load_library()
        self._lock, self._queue = threading.Lock(), threading.Lock()
        self._stop_flag = StopFlag()
        self._process = os.getpid()
        self._closed = False
        self._context: Any = None
        log.error = ""
        parameters = library.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.use_extra_bufts = False  # as in model.py: repacked weights are a second copy
        self._model = library.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self._model:
            raise ModelLoadError(
                f"llama.cpp cannot load {str(path)!r}: it is damaged or of an unknown kind; build it again."
                f" llama.cpp said: {log.error or 'nothing'}"
            )
        self._vocabulary = Vocabulary(library, library.llama_model_get_vocab(self._model))
        self._limit = min(MAX_TOKENS, library.llama_model_n_ctx_train(self._model))
        self.dimension = library.llama_model_n_embd(self._model)
        self.name = self._text_of(NAME_KEY) or f"{path.stem}:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        self._first, self._last = (
            self._vocabulary.bos,
            library.llama_vocab_sep(library.llama_model_get_vocab(self._model)),
        )
        self._open_context(path, threads)

    @classmethod
    def load(cls, path: str | Path, *, threads: int = 1, expected_sha256: str | None = None) -> LlamaEmbedder:
        """Load a GGUF file of a sentence encoder. Short texts gain nothing from more than one thread.

        :param expected_sha256: refuse a file with another checksum, in hexadecimal
        :raises ModelLoadError: the file is missing, damaged, or makes no sentence vectors
        """
        path = Path(path)
        check_gguf(path, expected_sha256)
        return cls(path, threads)

    def __enter__(self) -> LlamaEmbedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; twice is fine. A fork leaves it to its parent."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if not self._closed:
                self._closed = True
                if self._context:
                    self._library.llama_batch_free(self._batch)
                    self._library.llama_free(self._context)
                self._library.llama_model_free(self._model)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one L2-normalised row per text, shape ``(len(texts), dimension)``; several at a time are quicker.

        :raises ModelError: llama.cpp could not evaluate them, or the process was forked since it was loaded
        :raises CallCancelledError: somebody cancelled the call that this is part of
        :raises DeadlineError: its deadline passed
        :raises ClosedError: after :meth:`close`
        """
        refuse_forked(self._process, self.name)  # before the lock: a thread that is not here may have held it
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        tokens: list[list[int]] = []
        for first in range(0, len(texts), MAX_TEXTS):
            with self._turn():
                tokens += [self._tokens(text) for text in texts[first : first + MAX_TEXTS]]
        for start, end in _batches([len(ids) for ids in tokens]):
            with self._turn():
                rows[start:end] = self._evaluated(tokens[start:end])
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
        return rows

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the lock for one batch. Who waits for it holds the queue: between two batches he is the next."""
        call = current_call()
        with ExitStack() as waiting:
            waiting.enter_context(call.holding(self._queue))
            with call.holding(self._lock):
                waiting.close()
                if self._closed:
                    raise ClosedError("This embedder was closed: load it again.")
                yield

    def _tokens(self, text: str) -> list[int]:
        # Untrusted: "[SEP]" in a text is six characters, no end.
        ids = self._vocabulary.tokenize(Segment(text[: MAX_TOKENS * 64]))
        return [self._first, *ids[: self._limit - 2], self._last]

    def _evaluated(self, texts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        count = 0
        for number, ids in enumerate(texts):
            for position, token in enumerate(ids):
                self._batch.token[count], self._batch.pos[count] = token, position
                self._batch.n_seq_id[count], self._batch.seq_id[count][0] = 1, number
                self._batch.logits[count] = 1
                count += 1
        self._batch.n_tokens = count
        call = current_call()
        self._stop_flag.clear()
        with call.stopping(self._stop_flag.set):
            status = self._library.llama_encode(self._context, self._batch)
        if status != 0:
            call.check()  # it was stopped
            raise ModelError(f"llama.cpp cannot embed {len(texts)} texts of {count} tokens (status {status}).")
        rows = np.empty((len(texts), self.dimension), dtype=np.float32)
        for number in range(len(texts)):
            pointer = self._library.llama_get_embeddings_seq(self._context, number)
            if not pointer:
                raise ModelError(f"{self.name!r} makes no sentence vectors: its file names no way to pool them.")
            rows[number] = np.ctypeslib.as_array(pointer, shape=(self.dimension,))
        return rows

    def _open_context(self, path: Path, threads: int) -> None:
        parameters = self._library.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = MAX_TOKENS
        parameters.n_seq_max = MAX_TEXTS
        parameters.kv_unified = True
        parameters.n_threads = parameters.n_threads_batch = usable_threads(threads)
        parameters.embeddings = True
        parameters.no_perf = True
        self._context = self._library.llama_init_from_model(self._model, parameters)
        pooled = self._context and self._library.llama_pooling_type(self._context) > 0
        if self._context:
            self._library.llama_set_abort_callback(self._context, *self._stop_flag.callback(self._library))
            self._batch = self._library.llama_batch_init(MAX_TOKENS, 0, 1)
        if not pooled:
            self.close()
            raise ModelLoadError(
                f"{str(path)!r} is no sentence encoder: it names no way to pool the vectors of a text's tokens."
            )

    def _text_of(self, key: str) -> str | None:
        buffer = ctypes.create_string_buffer(256)
        length = self._library.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if length >= 0 else None


def _batches(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut into stretches of at most 64 texts and 512 tokens."""
    start, tokens = 0, 0
    for position, length in enumerate(lengths):
        if position > start and (tokens + length > MAX_TOKENS or position - start == MAX_TEXTS):
            yield start, position
            start, tokens = position, 0
        tokens += length
    if start < len(lengths):
        yield start, len(lengths)
