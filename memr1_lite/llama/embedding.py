"""A sentence encoder in a GGUF file, run by llama.cpp: an :class:`~memr1_lite.llm.Embedder`."""

from __future__ import annotations

import itertools
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
from memr1_lite.idle import Idle
from memr1_lite.llama.gguf_file import sha256_of
from memr1_lite.llama.gguf_header import read_gguf_header
from memr1_lite.llama.library import load_library, log, refuse_forked, usable_threads
from memr1_lite.llama.native import StopFlag
from memr1_lite.llama.vocabulary import Vocabulary
from memr1_lite.llama.weights import Weights
from memr1_lite.llm import Segment

NAME_KEY = "memr1.embedder"
"""Metadata that says which vectors a file makes."""
MAX_TOKENS = 512
"""Tokens evaluated at once, of one text or of several: more than a model's positions would end the process."""
MAX_TEXTS = 64
IDLE_SECONDS = 600.0

Vectors = npt.NDArray[np.float32]


class LlamaEmbedder:
    """Unit vectors of texts. Calls from several threads take turns, batch by batch, so that none waits for long.

    The model itself is loaded at the first text, given back when nobody has used it for long, and loaded again at the
    next. A text is read up to as many tokens as the file says that the encoder was made for; the rest of it is left
    out.
    """

    name: str
    dimension: int

    def __init__(
        self,
        path: Path,
        threads: int = 1,
        expected_sha256: str | None = None,
        idle_seconds: float | None = IDLE_SECONDS,
    ) -> None:
        """Read what ``path`` says of itself; :meth:`load` is the way in."""
        said = read_gguf_header(path, expected_sha256=expected_sha256).metadata
        architecture = said.get("general.architecture")
        dimension, pooling = (said.get(f"{architecture}.{key}") for key in ("embedding_length", "pooling_type"))
        if not (isinstance(dimension, int) and dimension > 0 and isinstance(pooling, int) and pooling > 0):
            raise ModelLoadError(
                f"{str(path)!r} is no sentence encoder: it names no way to pool the vectors of a text's tokens."
            )
        name = said.get(NAME_KEY)
        self.name = name if isinstance(name, str) and name else f"{path.stem}:{sha256_of(path)[:12]}"
        self.dimension = dimension
        self._path, self._threads = path.absolute(), threads  # the process may have changed its folder by then
        self._state = _state_of(path)
        self._lock, self._queue = threading.Lock(), threading.Lock()
        self._encoder: _Encoder | None = None
        self._idle = Idle(idle_seconds, self._give_back)
        self._process = os.getpid()
        self._closed = False

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int = 1,
        expected_sha256: str | None = None,
        idle_seconds: float | None = IDLE_SECONDS,
    ) -> LlamaEmbedder:
        """Open a GGUF file of a sentence encoder. Short texts gain nothing from more than one thread.

        :param expected_sha256: refuse a file with another checksum, in hexadecimal
        :param idle_seconds: the model is given back after so long without a text; None keeps it
        :raises ModelLoadError: the file is missing, damaged, or makes no sentence vectors
        """
        return cls(Path(path), threads, expected_sha256, idle_seconds)

    def __enter__(self) -> LlamaEmbedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; twice is fine. A fork leaves it to its parent."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._closed = True
        self._idle.close()
        self._give_back()

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._encoder is not None

    def warm(self) -> None:
        """Load the model now, so that the first text need not.

        :raises ModelLoadError: llama.cpp cannot load the file, or it was changed since it was opened
        """
        refuse_forked(self._process, self.name)
        with self._idle.in_use(), self._turn():
            pass

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one L2-normalised row per text, shape ``(len(texts), dimension)``; several at a time are quicker.

        :raises ModelError: llama.cpp could not evaluate them, or the process was forked since the file was opened; a
            :class:`~memr1_lite.errors.ModelLoadError` as in :meth:`warm`
        :raises CallCancelledError: somebody cancelled the call that this is part of
        :raises DeadlineError: its deadline passed
        :raises ClosedError: after :meth:`close`
        """
        refuse_forked(self._process, self.name)  # before the lock: a thread that is not here may have held it
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        tokens: list[list[int]] = []
        with self._idle.in_use():
            done = 0
            while done < len(texts):
                with self._turn() as encoder:  # both in one turn: a single text waits once
                    tokens += [encoder.tokens(text) for text in texts[len(tokens) : done + MAX_TEXTS]]
                    batch = _next_batch(tokens[done:])
                    rows[done : done + len(batch)] = encoder.evaluated(batch)
                done += len(batch)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
        return rows

    @contextmanager
    def _turn(self) -> Iterator[_Encoder]:
        """Hold the lock for one batch. Who waits for it holds the queue: between two batches he is the next."""
        call = current_call()
        with ExitStack() as waiting:
            waiting.enter_context(call.holding(self._queue))
            with call.holding(self._lock):
                waiting.close()
                if self._closed:
                    raise ClosedError("This embedder was closed: load it again.")
                if self._encoder is None:
                    if _state_of(self._path) != self._state:  # its vectors may be others than the name says
                        raise ModelLoadError(f"{str(self._path)!r} was changed since it was opened: open it again.")
                    self._encoder = _Encoder(self._path, self._threads, self.name, self.dimension)
                    self._idle.watch()
                yield self._encoder

    def _give_back(self) -> None:
        with self._lock:
            if self._encoder is not None:
                self._encoder.free()
                self._encoder = None


class _Encoder:
    """The native model, its context and its batch. Not guarded: its owner has the lock.

    :raises ModelLoadError: llama.cpp cannot load the file
    """

    def __init__(self, path: Path, threads: int, name: str, dimension: int) -> None:
        self._library = library = load_library()
        self._name, self._dimension = name, dimension
        self._stop_flag = StopFlag()
        self._weights = Weights(path)
        model = self._weights.model
        parameters = library.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = MAX_TOKENS
        parameters.n_seq_max = MAX_TEXTS
        parameters.kv_unified = True
        parameters.n_threads = parameters.n_threads_batch = usable_threads(threads)
        parameters.embeddings = True
        parameters.no_perf = True
        log.error = ""
        self._context: Any = library.llama_init_from_model(model, parameters)
        if not self._context:
            self._weights.release()
            raise ModelLoadError(
                f"llama.cpp cannot make a context for {str(path)!r}: build the file again."
                f" llama.cpp said: {log.error or 'nothing'}"
            )
        library.llama_set_abort_callback(self._context, *self._stop_flag.callback(library))
        self._batch = library.llama_batch_init(MAX_TOKENS, 0, 1)
        vocabulary = library.llama_model_get_vocab(model)
        self._vocabulary = Vocabulary(library, vocabulary)
        self._first, self._last = self._vocabulary.bos, library.llama_vocab_sep(vocabulary)
        self._limit = min(MAX_TOKENS, library.llama_model_n_ctx_train(model))

    def free(self) -> None:
        """Free everything, once."""
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)
        self._weights.release()

    def tokens(self, text: str) -> list[int]:
        """What the encoder reads of a text, its marks included."""
        # Untrusted: "[SEP]" in a text is six characters, no end.
        ids = self._vocabulary.tokenize(Segment(text[: MAX_TOKENS * 64]))
        return [self._first, *ids[: self._limit - 2], self._last]

    def evaluated(self, texts: Sequence[Sequence[int]]) -> Vectors:
        """One row per text, of at most MAX_TEXTS and MAX_TOKENS."""
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
        rows = np.empty((len(texts), self._dimension), dtype=np.float32)
        for number in range(len(texts)):
            pointer = self._library.llama_get_embeddings_seq(self._context, number)
            if not pointer:
                raise ModelError(f"{self._name!r} makes no sentence vectors: its file names no way to pool them.")
            rows[number] = np.ctypeslib.as_array(pointer, shape=(self._dimension,))
        return rows


def _state_of(path: Path) -> tuple[int, int]:
    """What changes with the content of a file.

    :raises ModelLoadError: it is gone
    """
    try:
        found = path.stat()
    except OSError as error:
        raise ModelLoadError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    return found.st_size, found.st_mtime_ns


def _next_batch(texts: Sequence[list[int]]) -> Sequence[list[int]]:
    """As many of the first texts as are evaluated at once: at most 64, of 512 tokens in all."""
    totals = itertools.accumulate(len(ids) for ids in texts[:MAX_TEXTS])
    return texts[: max(1, sum(total <= MAX_TOKENS for total in totals))]
