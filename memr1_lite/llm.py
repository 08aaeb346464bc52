"""The two seams: what a language model and an embedder must offer, and the little language they are spoken to in.

A prompt is a tuple of :class:`Segment`; an output is described by an output template: forced text, choices and free
text, step by step. Training samples under the same template that inference decodes under, so an invalid output cannot
be said in either. Every segment and every value is tokenised *by itself*; that is the one tokenisation there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from memr1_lite.errors import InvalidInputError

END = "<|end|>"
"""Stands for the model's own end-of-turn token, in a :class:`Choice` or as the stop of a :class:`FreeText`."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a prompt. Only in trusted text may a control token be recognised; user text is never trusted."""

    text: str
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Exactly one of ``options`` comes next; each is trusted text or :data:`END`."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FreeText:
    """Any text without line breaks or control tokens comes next, at least one visible character, then ``stop``.

    The value of the step is the text without ``stop``. Text that has not stopped after ``max_tokens`` tokens is a
    :class:`~memr1_lite.errors.MalformedOutputError`: a cut text would be a damaged memory.
    """

    stop: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Forced:
    """This trusted text comes next, whatever the model thinks."""

    text: str


Step = Choice | FreeText | Forced


class OutputTemplate(Protocol):
    """The shape of an output: which step follows the values so far. A pure function, so any sampler can drive it."""

    def next_step(self, values: Sequence[str]) -> Step | None:
        """Return the step after ``values`` (one per earlier step, forced ones too), or None at the end."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The values said, one per step, and for each the probability the model gave it among what was allowed.

    For free text that is the probability of the whole text. Token counts are counts of model tokens.
    """

    values: tuple[str, ...]
    confidences: tuple[float, ...]
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """Draw each token from the model's probabilities instead of taking the most probable one; the same seed draws the
    same. ``temperature`` is above 0: 1 leaves the probabilities as they are, less sharpens them."""

    seed: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InvalidInputError(f"A temperature of {self.temperature} cannot be drawn at: it is above 0.")


class LanguageModel(Protocol):
    """A model that completes a prompt under an output template. Implementations serialise calls themselves."""

    @property
    def name(self) -> str:
        """A name to keep beside what the model decided."""

    def complete(self, prompt: Sequence[Segment], template: OutputTemplate) -> Completion:
        """Complete ``prompt`` greedily under ``template``.

        :raises ContextOverflowError: the prompt does not fit
        :raises MalformedOutputError: free text did not stop in time
        :raises ClosedError: the model was closed
        """

    def close(self) -> None:
        """Free the model; twice is fine."""


class Embedder(Protocol):
    """A function from texts to unit vectors."""

    @property
    def name(self) -> str:
        """Identifies the vectors: those of two names must never be compared."""

    @property
    def dimension(self) -> int:
        """Length of every vector."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one L2-normalised row per text, shape ``(len(texts), dimension)``."""


MAX_SHOWN = 64
"""Ordinals run from 1 to 64: an agent's vocabulary may hold each as one token."""


def ordinal(position: int) -> str:
    """The mark under which the entry at ``position``, counted from 0, is shown."""
    return f"[{position + 1}]"


def sentence(text: str) -> Segment:
    """User text as it stands in a prompt: on one line, after one space.

    The leading space makes a word at the start of a text the same token as within it, so that it can be copied.
    """
    return Segment(" " + " ".join(text.split()))
