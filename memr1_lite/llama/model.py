"""A GGUF model run by llama.cpp: one model, one context, one lock."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from memr1_lite.control import current_call
from memr1_lite.errors import (
    CallCancelledError,
    ClosedError,
    ContextOverflowError,
    InvalidInputError,
    ModelLoadError,
)
from memr1_lite.llama.chat import render_frame
from memr1_lite.llama.decoding import Decoding, greedy, sampler
from memr1_lite.llama.gguf_file import check_gguf
from memr1_lite.llama.library import library_version, load_library, refuse_forked, usable_threads
from memr1_lite.llama.lookup import Pace
from memr1_lite.llama.native import BATCH, ContextShape, NativeModel
from memr1_lite.llama.purpose import refuse_other_purpose
from memr1_lite.llama.session import Session
from memr1_lite.llama.settings import CONTEXT_STEP, DEFAULT_CONTEXT, LoadSettings, check_settings
from memr1_lite.llama.states import PrefixStates, fingerprint
from memr1_lite.llama.vocabulary import Vocabulary, end_of_turn
from memr1_lite.llama.weights import Weights
from memr1_lite.llama.wording import Wording, words_of
from memr1_lite.llm import Completion, OutputTemplate, Sampling, Segment

if TYPE_CHECKING:
    from typing_extensions import Unpack

OUTPUT_RESERVE = 256
"""Tokens of the context kept free for the output. Several long operations may need more; then it is an error."""
KEPT_BEGINNINGS = 2
"""Fixed beginnings of prompts that stay in the context: one for each role that a model may play."""
LOGITS_BYTES = 64 << 20
"""At most this much for the logits of one call of :meth:`LlamaModel.logits`."""


class LlamaModel:
    """A :class:`~memr1_lite.llm.LanguageModel`. Calls from several threads wait for each other.

    ``trained_role`` and ``prompt_version`` say what the file was trained for; None for a model of somebody else.
    """

    name: str
    trained_role: str | None
    prompt_version: str | None
    context: int
    _native: NativeModel
    _vocabulary: Vocabulary

    def __init__(self, path: Path, settings: LoadSettings, beside: LlamaModel | None = None) -> None:
        """Open ``path``; :meth:`load` is the way in, it also checks what the file is for."""
        self._library = load_library()
        self._path = str(path)
        self._process = os.getpid()
        shared = None if beside is None else beside._native.weights.shared()
        self._own(NativeModel(Weights(path) if shared is None else shared))
        self._pace = Pace() if settings.get("drafts") and self._native.can_rewind else None
        try:
            # A vocabulary in Python is megabytes too.
            same = None if beside is None or shared is None else beside._vocabulary
            self._vocabulary = same or Vocabulary(
                self._library, self._library.llama_model_get_vocab(self._native.model)
            )
            self._set_up(settings, beside)
        except BaseException:
            self._finalizer()
            raise

    @classmethod
    def load(
        cls, path: str | Path, *, beside: LlamaModel | None = None, **settings: Unpack[LoadSettings]
    ) -> LlamaModel:
        """Load a GGUF file.

        :param beside: a model loaded from the same file: its weights are used, and not loaded again, and so is its
            context where it is of the same shape; calls of the two wait for each other then
        :param settings: :class:`~memr1_lite.llama.settings.LoadSettings` names them
        :raises InvalidInputError: a context or a number of threads that is too small
        :raises ModelLoadError: the file is missing, damaged, or not made for this
        """
        check_settings(**settings)
        path, adapter = Path(path), settings.get("adapter")
        check_gguf(path, settings.get("expected_sha256"))
        if adapter is not None:
            check_gguf(Path(adapter), settings.get("adapter_sha256"))
        model = cls(path, settings, beside)
        try:
            refuse_other_purpose(model, Path(adapter or path), settings.get("role"), settings.get("prompt_version"))
        except ModelLoadError:
            model.close()
            raise
        return model

    def complete(
        self, prompt: Sequence[Segment], template: OutputTemplate, sampling: Sampling | None = None
    ) -> Completion:
        """Complete ``prompt`` under ``template``; the same prompt gives the same completion.

        What earlier calls left in the context is used again; that, and how tokens are batched, changes logits by
        rounding only.

        :param sampling: None is greedy

        :raises ContextOverflowError: the prompt and the room for its output do not fit; nothing was run
        :raises MalformedOutputError: free text did not stop in time
        :raises CallCancelledError: somebody cancelled the call
        :raises DeadlineError: its deadline passed
        :raises ModelLoadError: the vocabulary cannot express the template
        :raises ModelError: llama.cpp failed
        :raises ClosedError: the model was closed
        """
        call = current_call()
        with self._usable():
            ids = self._prompt_ids(prompt)
            if len(ids) + OUTPUT_RESERVE > self.context:
                raise ContextOverflowError(len(ids) + OUTPUT_RESERVE, self.context)
            flag = self._native.stop_flag
            flag.clear()
            try:
                with call.stopping(flag.set):
                    held = self._session.begin(ids, self._fixed(prompt))
                    return Decoding(
                        self._vocabulary,
                        self._end,
                        ids,
                        self._session,
                        self._wording(prompt),
                        held=held,
                        pick=greedy if sampling is None else sampler(sampling.temperature, sampling.seed),
                        pace=self._pace,
                        listen=call.listen,
                    ).run(template)
            except CallCancelledError:
                call.check()  # says why
                raise
            except KeyboardInterrupt:  # anywhere, also between an evaluation and its bookkeeping
                self._session.forget()
                raise
            finally:
                flag.clear()

    def prepare(self, prompt: Sequence[Segment]) -> None:
        """Evaluate the fixed beginning of ``prompt``, and do all else that would make a first call slower.

        :raises ModelError: llama.cpp failed
        """
        with self._usable():
            self._native.stop_flag.clear()
            self._session.begin(self._prompt_ids(prompt), self._fixed(prompt))
            self._vocabulary.free_text_bias  # noqa: B018 - computed once
            if self._own_words is not None:
                self._vocabulary.token_forms  # noqa: B018

    @property
    def evaluated_tokens(self) -> int:
        """Tokens evaluated so far: what the calls cost, without what was used again."""
        return self._session.evaluated

    def tokenize(self, segment: Segment) -> list[int]:
        """The ids of ``segment`` by itself; user text yields no token that stands for more than its letters."""
        with self._usable():
            return self._vocabulary.tokenize(segment)

    def prompt_ids(self, prompt: Sequence[Segment]) -> list[int]:
        """The ids that the model reads for ``prompt``, the frame of its chat template included."""
        with self._usable():
            return self._prompt_ids(prompt)

    def count_tokens(self, prompt: Sequence[Segment]) -> int:
        """How many tokens of the context ``prompt`` takes, the frame included."""
        return len(self.prompt_ids(prompt))

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ``ids`` write; control tokens write none."""
        with self._usable():
            self._check_ids(ids)
            return self._vocabulary.decode(ids)

    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """The logits after each of ``ids``, shape ``(len(ids), n_vocab)``. For checks, not for speed.

        :raises ContextOverflowError: more ids than the context holds
        """
        with self._usable():
            self._check_ids(ids)
            self._session.forget()
            step = max(1, min(BATCH, LOGITS_BYTES // (4 * self._vocabulary.size)))
            parts = [ids[start : start + step] for start in range(0, len(ids), step)]
            rows = [self._session.evaluate(part, len(part)).copy() for part in parts]
            return np.concatenate(rows) if rows else np.empty((0, self._vocabulary.size), dtype=np.float32)

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The ``count`` most likely tokens after ``ids``, one after the other, end tokens too. For checks.

        :raises ContextOverflowError: they do not fit into the context
        """
        with self._usable():
            self._check_ids(ids)
            self._session.forget()
            chosen: list[int] = []
            for _ in range(count):
                chosen.append(int(self._session.evaluate(chosen[-1:] or ids, 1)[0].argmax()))
            return chosen

    def close(self) -> None:
        """Free the model; twice is fine. Waits for a call that is running. A fork leaves it to its parent."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._finalizer.detach() is not None:
                self._native.free()

    def __enter__(self) -> LlamaModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _lock(self) -> threading.Lock:
        return self._native.lock

    def _own(self, native: NativeModel) -> None:
        self._native = native
        # Freed also when nobody closes; a native model is megabytes that Python does not count.
        self._finalizer = weakref.finalize(self, _free_unless_busy, native)

    def _set_up(self, settings: LoadSettings, beside: LlamaModel | None) -> None:
        library, model, call = self._library, self._native.model, current_call()
        call.check()  # what loading takes besides the weights: a vocabulary, a chat template, a context
        trained = library.llama_model_n_ctx_train(model) // CONTEXT_STEP * CONTEXT_STEP
        if trained < 2 * CONTEXT_STEP:
            raise ModelLoadError(f"{self._path!r} was trained on too short a context to hold a prompt: use another.")
        if library.llama_model_has_encoder(model) or not library.llama_model_has_decoder(model):
            raise ModelLoadError(f"{self._path!r} is not a decoder-only language model: use another.")
        weights = self._native.weights
        adapter_path = None if (given := settings.get("adapter")) is None else Path(given)
        adapter = None if adapter_path is None else weights.adapter(adapter_path)
        says = weights.metadata if adapter is None else adapter.metadata
        self.name = says("general.name") or (adapter_path or Path(self._path)).stem
        self.trained_role = says("memr1.role")
        self.prompt_version = says("memr1.prompt_version")
        own_words = says("memr1.own_words")
        self._own_words = None if own_words is None else frozenset(own_words.encode().split())
        self._set_frame()
        call.check()
        context, exact_cache = settings.get("context") or DEFAULT_CONTEXT, settings.get("exact_cache", False)
        threads = usable_threads(settings.get("threads"))
        tokens = min(context // CONTEXT_STEP * CONTEXT_STEP, trained)
        # Prompts of agents trained for a role begin with what was retrieved; others with fixed instructions.
        sequences = 1 if self.trained_role is not None or not self._native.can_rewind else 1 + KEPT_BEGINNINGS
        shape = ContextShape(tokens, threads, exact_cache, sequences)
        shared = None if beside is None else beside._native.shared(shape)
        if shared is None:
            self._native.open_context(shape, self._path)
        else:  # half of what a second context would take besides a LoRA is its keys and values
            self._finalizer()
            self._own(shared)
        kept, states = None, settings.get("states")
        if states is not None:
            files = [Path(self._path)] if adapter_path is None else [Path(self._path), adapter_path]
            kept = PrefixStates(Path(states), (*map(fingerprint, files), library_version(), f"exact={exact_cache}"))
        self._session = Session(self._native, self._vocabulary.size, self._path, kept, adapter)
        self.context = self._session.context

    def _set_frame(self) -> None:
        template = self._library.llama_model_chat_template(self._native.model, None)
        if not template:
            raise ModelLoadError(f"{self._path!r} has no chat template: use an instruction-tuned model.")
        vocabulary, text = self._vocabulary, template.decode("utf-8", "replace")
        bos, eos = (vocabulary.text(token) if token >= 0 else "" for token in (vocabulary.bos, vocabulary.eos))
        before, after = render_frame(text, bos=bos, eos=eos, path=self._path)
        self._before = vocabulary.tokenize(Segment(before, trusted=True))
        self._after = vocabulary.tokenize(Segment(after, trusted=True))
        if vocabulary.adds_bos and self._before[:1] != [vocabulary.bos]:
            self._before.insert(0, vocabulary.bos)
        self._end = end_of_turn(vocabulary, text)
        if self._end < 0:
            raise ModelLoadError(f"{self._path!r} names no end-of-turn token: convert it again.")

    def _fixed(self, prompt: Sequence[Segment]) -> int:
        """How many ids of ``prompt`` come before the first word of somebody else."""
        leading = itertools.takewhile(lambda segment: segment.trusted, prompt)
        return len(self._before) + sum(len(self._vocabulary.tokenize(segment)) for segment in leading)

    def _wording(self, prompt: Sequence[Segment]) -> Wording | None:
        if self._own_words is None:
            return None
        read = " ".join(segment.text for segment in prompt if not segment.trusted)
        return Wording(self._vocabulary.token_forms, words_of(read) | self._own_words)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Hold the lock of a model that can be used."""
        refuse_forked(self._process, self._path)  # before the lock: a thread that is not in the child may have held it
        with current_call().holding(self._lock):
            if not self._finalizer.alive:
                raise ClosedError(f"The model {self._path!r} is closed: load it again.")
            yield

    def _check_ids(self, ids: Sequence[int]) -> None:
        if any(not 0 <= token < self._vocabulary.size for token in ids):
            raise InvalidInputError(f"A token id is outside the vocabulary of {self._vocabulary.size} tokens.")

    def _prompt_ids(self, prompt: Sequence[Segment]) -> list[int]:
        inner = (token for segment in prompt for token in self._vocabulary.tokenize(segment))
        ids = [*self._before, *inner, *self._after]
        if not ids:
            raise InvalidInputError("An empty prompt cannot be completed.")
        return ids


def _free_unless_busy(native: NativeModel) -> None:
    """Free what nobody closed; not under a daemon thread that still runs it while the interpreter exits."""
    if native.lock.acquire(blocking=False):
        try:
            native.free()
        finally:
            native.lock.release()
