"""Doubles for the two seams, so that code which uses this package can be tested without a model file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from memr1_lite.errors import ClosedError, MalformedOutputError, ModelError
from memr1_lite.llm import Choice, Completion, Forced, FreeText, OutputTemplate, Segment, Step


class ScriptedModel:
    """A language model that says what it is told, if the output template allows it.

    :param replies: one per call: the values to say, one per choice and free text (forced text says itself)
    """

    def __init__(self, replies: Iterable[Sequence[str]] = (), *, name: str = "scripted") -> None:
        self.prompts: list[str] = []
        """The prompt of every call so far, rendered."""
        self._replies = iter([tuple(reply) for reply in replies])
        self._name = name
        self._closed = False
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """A name to keep beside what the model decided."""
        return self._name

    def complete(self, prompt: Sequence[Segment], template: OutputTemplate) -> Completion:
        """Say the next reply.

        :raises MalformedOutputError: the template does not allow the reply
        :raises ModelError: no reply is left
        :raises ClosedError: the model was closed
        """
        with self._lock:
            if self._closed:
                raise ClosedError(f"The scripted model {self._name!r} is closed: make a new one.")
            self.prompts.append("".join(segment.text for segment in prompt))
            reply = next(self._replies, None)
            if reply is None:
                raise ModelError(
                    f"The scripted model {self._name!r} was asked {len(self.prompts)} times and has one reply less: "
                    f"script one more. The prompt was: {self.prompts[-1]!r}"
                )
        values = _said(reply, template)
        return Completion(values=values, confidences=(1.0,) * len(values))

    def close(self) -> None:
        """Refuse every later call; twice is fine."""
        self._closed = True


def _said(reply: tuple[str, ...], template: OutputTemplate) -> tuple[str, ...]:
    values: list[str] = []
    remaining = iter(reply)
    while (step := template.next_step(tuple(values))) is not None:
        if isinstance(step, Forced):
            values.append(step.text)
            continue
        value = next(remaining, None)
        if value is None:
            raise MalformedOutputError(f"The reply ends where {step} should follow.", raw="".join(values))
        _check(value, step, reply)
        values.append(value)
    if (rest := next(remaining, None)) is not None:
        raise MalformedOutputError(f"The template is complete before {rest!r}.", raw="".join(reply))
    return tuple(values)


def _check(value: str, step: Step, reply: tuple[str, ...]) -> None:
    raw = "".join(reply)
    if isinstance(step, Choice) and value not in step.options:
        raise MalformedOutputError(f"{value!r} is not one of {step.options}.", raw=raw)
    if isinstance(step, FreeText) and (not value.strip() or len(value.splitlines()) > 1 or step.stop in value):
        raise MalformedOutputError(f"{value!r} is not one line of visible text without {step.stop!r}.", raw=raw)


class HashEmbedder:
    """An embedder that sums one pseudo-random unit vector per word: equal words meet, nothing else does."""

    def __init__(self, dimension: int = 32) -> None:
        self._dimension = dimension

    @property
    def name(self) -> str:
        """Identifies the vectors."""
        return f"hash-{self._dimension}"

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return self._dimension

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one L2-normalised row per text, shape ``(len(texts), dimension)``; an empty text is a word too."""
        rows = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            total = np.sum([self._word(word) for word in text.lower().split() or [""]], axis=0)
            rows[row] = total / np.linalg.norm(total)
        return rows

    def _word(self, word: str) -> npt.NDArray[np.float64]:
        drawn = hashlib.shake_256(word.encode("utf-8", "surrogatepass")).digest(2 * self._dimension)
        vector = np.frombuffer(drawn, dtype="<u2").astype(np.float64) - 32_767.5
        return vector / np.linalg.norm(vector)
