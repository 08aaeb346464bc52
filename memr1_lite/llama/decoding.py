"""Greedy decoding under an output template. Pure: it sees token ids and logits, not llama.cpp."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from memr1_lite.errors import InvalidInputError, MalformedOutputError, ModelError, ModelLoadError
from memr1_lite.llama.wording import Wording
from memr1_lite.llm import END, Choice, Completion, Forced, FreeText, OutputTemplate, Segment

Logits = npt.NDArray[np.float32]


class Codec(Protocol):
    """What decoding needs to know of a vocabulary."""

    @property
    def free_text_bias(self) -> Logits:
        """0 where a token may stand in free text, minus infinity elsewhere. (n_vocab,)."""

    def tokenize(self, segment: Segment) -> list[int]:
        """The ids of ``segment``."""

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` writes."""


class Decoding:
    """One completion in the making.

    Tokens are only noted when they are said, and evaluated together when the next logits are asked for: forced text
    and what remains of an option cost no call of their own, and the last token none at all.

    :param evaluate: takes the tokens not yet evaluated, returns the logits after the last of them, (n_vocab,)
    :param wording: what free text may be made of, beyond what the vocabulary allows
    """

    def __init__(
        self,
        codec: Codec,
        end: int,
        prompt: Sequence[int],
        evaluate: Callable[[list[int]], Logits],
        wording: Wording | None = None,
    ) -> None:
        self._codec = codec
        self._end = end
        self._evaluate = evaluate
        self._wording = wording
        self._pending = list(prompt)
        self._prompt_tokens = len(self._pending)
        self._output_tokens = 0

    def run(self, template: OutputTemplate) -> Completion:
        """Say what ``template`` asks for, step by step.

        :raises MalformedOutputError: free text did not stop in time
        :raises InvalidInputError: the options of a choice cannot be told apart
        """
        values: list[str] = []
        confidences: list[float] = []
        while (step := template.next_step(tuple(values))) is not None:
            if isinstance(step, Forced):
                self._say(self._ids(step.text))
                value, log_probability = step.text, 0.0
            elif isinstance(step, Choice):
                value, log_probability = self._choose(step.options)
            else:
                value, log_probability = self._write(step)
            values.append(value)
            # A long text's probability can be smaller than a float; it is not impossible for that.
            confidences.append(max(math.exp(min(log_probability, 0.0)), sys.float_info.min))
        return Completion(tuple(values), tuple(confidences), self._prompt_tokens, self._output_tokens)

    def _choose(self, options: Sequence[str]) -> tuple[str, float]:
        """Walk down the options' tokens; only a fork costs an evaluation."""
        if not options:
            raise InvalidInputError("A choice needs at least one option.")
        left = [(option, self._ids(option)) for option in options]
        depth, log_probability = 0, 0.0
        while len(left) > 1:
            if any(len(ids) <= depth for _, ids in left):
                raise InvalidInputError(f"One of these options is the beginning of another: {[o for o, _ in left]}.")
            branches = sorted({ids[depth] for _, ids in left})
            token = branches[0]
            if len(branches) > 1:
                token, factor = _best(self._logits()[branches], branches)
                log_probability += factor
            self._say([token])
            left = [(option, ids) for option, ids in left if ids[depth] == token]
            depth += 1
        option, ids = left[0]
        self._say(ids[depth:])
        return option, log_probability

    def _write(self, step: FreeText) -> tuple[str, float]:
        """Greedy free text; the stop may come once something can be seen."""
        stop_ids = self._ids(step.stop)
        if len(stop_ids) != 1:
            raise ModelLoadError(f"This model's vocabulary has no single token for {step.stop!r}; use another model.")
        stop = stop_ids[0]
        bias = self._codec.free_text_bias
        everything = range(bias.shape[0])
        text, visible, log_probability = b"", False, 0.0
        for _ in range(step.max_tokens):
            logits = self._logits()
            allowed = logits + bias
            may_stop = visible
            if self._wording is not None:
                mask, whole = self._wording.allowed(text)
                allowed[~mask] = -np.inf
                may_stop = visible and whole
            allowed[stop] = logits[stop] if may_stop else -np.inf
            token, factor = _best(allowed, everything)
            log_probability += factor
            self._say([token])
            if token == stop:
                return text.decode("utf-8", "replace"), log_probability
            text += self._codec.piece(token)
            visible = visible or _has_visible(text)
        raise MalformedOutputError(
            f"A text did not end within {step.max_tokens} tokens.", raw=text.decode("utf-8", "replace")
        )

    def _ids(self, text: str) -> list[int]:
        return [self._end] if text == END else self._codec.tokenize(Segment(text, trusted=True))

    def _say(self, ids: Sequence[int]) -> None:
        self._pending += ids
        self._output_tokens += len(ids)

    def _logits(self) -> Logits:
        pending, self._pending = self._pending, []
        return self._evaluate(pending)


def _best(logits: Logits, tokens: Sequence[int]) -> tuple[int, float]:
    """The token with the greatest logit, and the logarithm of its share. ``logits`` (n,) belong to ``tokens``."""
    index = int(np.argmax(logits))
    top = float(logits[index])
    if not math.isfinite(top):
        raise ModelError(
            "The model's logits are not finite numbers: its file is damaged, or its numeric type too small."
        )
    return tokens[index], -math.log(float(np.exp(logits - top).sum(dtype=np.float64)))


def _has_visible(text: bytes) -> bool:
    return any(letter.isprintable() and not letter.isspace() for letter in text.decode("utf-8", "replace"))
