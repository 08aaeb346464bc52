"""J: a language model says whether an answer is right. Lenient judges flatter, so this one is tested on wrong answers.

A judge is a GGUF run by our own engine, or a model behind an OpenAI-compatible address that the user gives: the only
place of this package that opens a connection, and only to that address.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from memr1_lite.errors import ContextOverflowError, MalformedOutputError, ModelError
from memr1_lite.evaluation.metrics import exact_match
from memr1_lite.evaluation.run_files import Judged, QuestionResult
from memr1_lite.llama.model import LlamaModel
from memr1_lite.llm import Choice, LanguageModel, Segment, Step, sentence

CORRECT, WRONG = "CORRECT", "WRONG"
INSTRUCTIONS = """\
A question about a conversation, its right answer and the answer of a machine are given below.
The machine's answer is CORRECT if it says the same as the right answer, be it in other words, longer, or with a date
written another way. It is WRONG if it says something else, leaves out what was asked for, or does not answer."""
_SAID = re.compile(rf"(?:\bNOT|N['\u2019]T) CORRECT\b|\b(?:INCORRECT|{CORRECT}|{WRONG})\b")
CONTROLS = 100
"""Wrong answers put to a judge, at most."""
TIMEOUT_SECONDS = 120


class Judge(Protocol):
    """Says whether an answer is right."""

    @property
    def name(self) -> str:
        """Which judge this is."""

    def is_right(self, question: str, right: str, said: str) -> bool:
        """Whether ``said`` answers ``question`` as ``right`` does.

        :raises MalformedOutputError: it said something else than a verdict
        :raises ContextOverflowError: the answer is too long for it
        :raises ModelError: it cannot be asked at all
        """


class ModelJudge:
    """A judge that is a language model of ours: it can say CORRECT or WRONG and nothing else."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    @classmethod
    def load(cls, path: Path, threads: int | None = None) -> ModelJudge:
        """Load a GGUF file as a judge.

        :raises ModelLoadError: the file is missing or unusable
        """
        return cls(LlamaModel.load(path, threads=threads))

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    def is_right(self, question: str, right: str, said: str) -> bool:
        """Whether ``said`` answers ``question`` as ``right`` does."""
        prompt = [Segment(f"{INSTRUCTIONS}\nQuestion:", trusted=True), sentence(question)]
        prompt += [Segment("\nRight answer:", trusted=True), sentence(right)]
        prompt += [Segment("\nMachine's answer:", trusted=True), sentence(said or "(nothing)")]
        prompt.append(Segment("\nAnswer CORRECT or WRONG.\n", trusted=True))
        return self._model.complete(prompt, _Verdict()).values[0] == CORRECT


class HttpJudge:
    """A judge behind an OpenAI-compatible address, such as ``http://localhost:8080/v1``.

    :param key: sent as a bearer token, where the address asks for one
    """

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        self._url = url.rstrip("/") + "/chat/completions"
        self._model = model
        self._key = key

    @property
    def name(self) -> str:
        """The model's name and where it is."""
        return f"{self._model} at {self._url}"

    def is_right(self, question: str, right: str, said: str) -> bool:
        """Whether ``said`` answers ``question`` as ``right`` does."""
        asked = f"{INSTRUCTIONS}\nQuestion: {question}\nRight answer: {right}\nMachine's answer: {said}\n"
        asked += "Answer with the one word CORRECT or WRONG."
        body = {"model": self._model, "temperature": 0, "messages": [{"role": "user", "content": asked}]}
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                content = str(json.load(response)["choices"][0]["message"]["content"])
        except (urllib.error.URLError, TimeoutError, ValueError, LookupError, TypeError) as error:
            raise ModelError(f"The judge at {self._url!r} gave no answer: {error}. Check the address.") from error
        verdict = said_verdict(content)
        if verdict is None:
            raise MalformedOutputError(
                f"The judge at {self._url!r} gave no verdict, {CORRECT} or {WRONG}.", raw=content[:200]
            )
        return verdict


def said_verdict(content: str) -> bool | None:
    """The one verdict of a free answer, in its first sentence or else in all of it; None where there is none or two.

    What a model thinks aloud before it answers (``<think>``) is no verdict, and INCORRECT is not CORRECT.
    """
    said = content.rpartition("</think>")[2].upper()
    for part in (said.strip().split(".")[0], said):
        verdicts = {match[0] == CORRECT for match in _SAID.finditer(part)}
        if len(verdicts) == 1:
            return verdicts.pop()
    return None


class _Verdict:
    """One word."""

    def next_step(self, values: Sequence[str]) -> Step | None:
        """CORRECT or WRONG, then nothing."""
        return None if values else Choice((CORRECT, WRONG))


def judge_all(
    results: Sequence[QuestionResult], judge: Judge, before: Sequence[Judged], done: Callable[[int], None]
) -> Iterator[Judged]:
    """Judge every answer that was not yet judged, and first the wrong answers that show how lenient the judge is.

    Questions without an answer are not judged: whether it was known is in their scores.
    """
    known = {(each.system, each.question, each.control) for each in before if each.judge == judge.name}
    for control, result, said in [*_controls(results), *((False, each, each.answer) for each in results)]:
        if result.answers and (result.system, result.question, control) not in known:
            failure = None
            try:
                verdict = any(judge.is_right(result.text, right, said) for right in result.answers)
            except (MalformedOutputError, ContextOverflowError) as error:  # it would say the same again
                verdict, failure = False, str(error)
            yield Judged(
                judge=judge.name,
                system=result.system,
                question=result.question,
                correct=verdict,
                control=control,
                error=failure,
            )
        done(1)


def judge_steps(results: Sequence[QuestionResult]) -> int:
    """How many steps :func:`judge_all` reports."""
    return len(results) + len(_controls(results))


def _controls(results: Sequence[QuestionResult]) -> list[tuple[bool, QuestionResult, str]]:
    """Right answers to other questions, of the same category where there is one: of the right kind, and wrong."""
    if not results:
        return []
    first = [result for result in results if result.system == results[0].system and result.answers]
    controls = []
    for index, result in enumerate(first):
        others = [*first[index + 1 :], *first[:index]]
        others.sort(key=lambda each: each.category != result.category)
        wrong = next((each.answers[0] for each in others if not exact_match(each.answers[0], result.answers[0])), None)
        if wrong is not None:
            controls.append((True, result, wrong))
    return controls[:CONTROLS]
