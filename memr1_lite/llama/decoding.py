"""Decoding under an output template. Pure: it sees token ids and logits, not llama.cpp."""

from __future__ import annotations

import codecs
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from memr1_lite.errors import InvalidInputError, MalformedOutputError, ModelError, ModelLoadError
from memr1_lite.llama.lookup import Pace, PromptLookup
from memr1_lite.llama.wording import Wording
from memr1_lite.llm import END, Choice, Completion, Forced, FreeText, OutputTemplate, Segment

Logits = npt.NDArray[np.float32]
NOT_ALLOWED = np.float32(-np.inf)


class Codec(Protocol):
    """What decoding needs to know of a vocabulary."""

    @property
    def free_text_bias(self) -> Logits:
        """0 where a token may stand in free text, minus infinity elsewhere. (n_vocab,)."""

    def tokenize(self, segment: Segment) -> list[int]:
        """The ids of ``segment``."""

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` writes."""


class Evaluator(Protocol):
    """What runs the model on tokens; it keeps them until they are taken back."""

    @property
    def room(self) -> int:
        """Tokens that still fit."""

    def evaluate(self, ids: Sequence[int], rows: int) -> Logits:
        """The logits after each of the last ``rows`` of ``ids``, (rows, n_vocab); they hold until the next call."""

    def rewind(self, count: int) -> None:
        """Take the last ``count`` tokens back."""


Pick = Callable[[Logits], int]
"""Chooses an index of logits (n,), of which at least one is finite."""


def greedy(logits: Logits) -> int:
    """The most probable one."""
    return int(np.argmax(logits))


def sampler(temperature: float, seed: int) -> Pick:
    """Draws with the probabilities that the logits stand for at ``temperature``; the same seed draws the same."""
    random = np.random.default_rng(seed)

    def pick(logits: Logits) -> int:
        scaled = (logits.astype(np.float64) - float(logits.max())) / temperature
        shares = np.cumsum(np.exp(scaled))
        index = int(np.searchsorted(shares, random.random() * shares[-1], side="right"))
        return index if index < len(shares) else int(np.argmax(logits))  # where rounding reached the very end

    return pick


class Decoding:
    """One completion in the making.

    Tokens are only noted when they are said, and evaluated together when the next logits are asked for: forced text
    and what remains of an option cost no call of their own, and the last token none at all. In free text the tokens
    that prompt lookup expects are evaluated along with what was said, and taken back where something else is said.

    :param ids: the whole prompt, of which ``held`` tokens were evaluated before
    :param wording: what free text may be made of, beyond what the vocabulary allows
    :param pick: chooses among logits; greedy unless told otherwise
    :param pace: what batches cost; None drafts nothing
    :param listen: is told free text as it comes, in whole characters
    """

    def __init__(
        self,
        codec: Codec,
        end: int,
        ids: Sequence[int],
        evaluator: Evaluator,
        wording: Wording | None = None,
        *,
        held: int = 0,
        pick: Pick = greedy,
        pace: Pace | None = None,
        listen: Callable[[str], None] | None = None,
    ) -> None:
        self._codec = codec
        self._end = end
        self._evaluator = evaluator
        self._wording = wording
        self._pick = pick
        self._pace = pace
        self._listen = listen
        self._ids = list(ids)
        self._evaluated = held
        self._prompt_tokens = len(self._ids)
        self._rows: list[Logits] = []
        self._drafted: list[int] = []
        """Evaluated beyond what was said, and not yet decided about."""
        self._lookup: PromptLookup | None = None

    def run(self, template: OutputTemplate) -> Completion:
        """Say what ``template`` asks for, step by step.

        :raises MalformedOutputError: free text did not stop in time
        :raises InvalidInputError: the options of a choice cannot be told apart
        """
        values: list[str] = []
        confidences: list[float] = []
        while (step := template.next_step(tuple(values))) is not None:
            if isinstance(step, Forced):
                self._say(self._ids_of(step.text))
                value, log_probability = step.text, 0.0
            elif isinstance(step, Choice):
                value, log_probability = self._choose(step.options)
            else:
                value, log_probability = self._write(step)
            values.append(value)
            # A long text's probability can be smaller than a float; it is not impossible for that.
            confidences.append(max(math.exp(min(log_probability, 0.0)), sys.float_info.min))
        output_tokens = len(self._ids) - self._prompt_tokens
        return Completion(tuple(values), tuple(confidences), self._prompt_tokens, output_tokens)

    def _choose(self, options: Sequence[str]) -> tuple[str, float]:
        """Walk down the options' tokens; only a fork costs an evaluation."""
        if not options:
            raise InvalidInputError("A choice needs at least one option.")
        left = [(option, self._ids_of(option)) for option in options]
        depth, log_probability = 0, 0.0
        while len(left) > 1:
            if any(len(ids) <= depth for _, ids in left):
                raise InvalidInputError(f"One of these options is the beginning of another: {[o for o, _ in left]}.")
            branches = sorted({ids[depth] for _, ids in left})
            token = branches[0]
            if len(branches) > 1:
                token, factor = self._decide(self._logits()[branches], branches)
                log_probability += factor
            self._say([token])
            left = [(option, ids) for option, ids in left if ids[depth] == token]
            depth += 1
        option, ids = left[0]
        self._say(ids[depth:])
        return option, log_probability

    def _write(self, step: FreeText) -> tuple[str, float]:
        """Free text; the stop may come once something can be seen."""
        stop_ids = self._ids_of(step.stop)
        if len(stop_ids) != 1:
            raise ModelLoadError(f"This model's vocabulary has no single token for {step.stop!r}; use another model.")
        stop = stop_ids[0]
        bias = self._codec.free_text_bias
        everything = range(bias.shape[0])
        allowed = np.empty_like(bias)
        lookup = None if self._pace is None else PromptLookup(self._ids, self._pace, stop)
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        text, visible, log_probability = b"", False, 0.0
        for written in range(step.max_tokens):
            logits = self._logits(lookup, step.max_tokens - written - 1)
            may_stop = visible
            if self._wording is None:
                np.add(logits, bias, out=allowed)
            else:
                mask, whole = self._wording.allowed(text)
                allowed = np.where(mask, logits, NOT_ALLOWED)
                may_stop = visible and whole
            allowed[stop] = logits[stop] if may_stop else -np.inf
            token, factor = self._decide(allowed, everything)
            log_probability += factor
            self._say([token])
            if lookup is not None:
                lookup.add(token)
            if token == stop:
                self._tell(utf8.decode(b"", final=True))
                return text.decode("utf-8", "replace"), log_probability
            piece = self._codec.piece(token)
            text += piece
            self._tell(utf8.decode(piece))
            visible = visible or _has_visible(text)
        raise MalformedOutputError(
            f"A text did not end within {step.max_tokens} tokens.", raw=text.decode("utf-8", "replace")
        )

    def _tell(self, text: str) -> None:
        if text and self._listen is not None:
            self._listen(text)

    def _ids_of(self, text: str) -> list[int]:
        return [self._end] if text == END else self._codec.tokenize(Segment(text, trusted=True))

    def _say(self, ids: Sequence[int]) -> None:
        for token in ids:
            self._ids.append(token)
            if not self._drafted:
                continue
            if self._drafted[0] == token:  # evaluated already: its row of logits comes next
                del self._drafted[0]
                self._evaluated += 1
                if not self._drafted:
                    self._judge()
            else:
                self._judge()
                self._evaluator.rewind(len(self._drafted))
                self._drafted = []

    def _logits(self, lookup: PromptLookup | None = None, room: int = 0) -> Logits:
        """The logits that decide the next token, (n_vocab,)."""
        if self._evaluated == len(self._ids):
            return self._rows[len(self._rows) - 1 - len(self._drafted)]
        pending = self._ids[self._evaluated :]
        draft = []
        if lookup is not None:
            draft = lookup.draft()[: max(0, min(room, self._evaluator.room - len(pending)))]
        began = time.perf_counter()
        rows = self._evaluator.evaluate([*pending, *draft], 1 + len(draft))
        if self._pace is not None and (draft or len(pending) == 1):  # with the logits of each, as drafts need them
            self._pace.note(len(pending) + len(draft), time.perf_counter() - began)
        self._evaluated = len(self._ids)
        self._rows, self._drafted, self._lookup = list(rows), draft, lookup
        return self._rows[0]

    def _judge(self) -> None:
        drafted = len(self._rows) - 1
        if self._lookup is not None:
            self._lookup.judge(drafted, drafted - len(self._drafted))

    def _decide(self, logits: Logits, tokens: Sequence[int]) -> tuple[int, float]:
        """The token chosen, and the logarithm of its share among all. ``logits`` (n,) belong to ``tokens``."""
        index = greedy(logits)
        top = float(logits[index])
        if not math.isfinite(top):
            raise ModelError(
                "The model's logits are not finite numbers: its file is damaged, or its numeric type too small."
            )
        if self._pick is not greedy:
            index = self._pick(logits)
        shares = float(np.exp(logits - top).sum(dtype=np.float64))
        return tokens[index], float(logits[index]) - top - math.log(shares)


def _has_visible(text: bytes) -> bool:
    return any(letter.isprintable() and not letter.isspace() for letter in text.decode("utf-8", "replace"))
