"""The Answer Agent: its prompt, its output template and its parser (Memory-R1, section 3.2).

The prompt lists the candidates under small ordinals, each with the day it was said, then the question::

    [1] 16 June 2023 | Andrew has two dogs, Buddy and Scout.
    [2] 2 May 2023 | Audrey: I love your dogs!
    Question: How many dogs does Andrew have?

The output distils first, naming the candidates that matter, then answers in a few words; NONE says that no candidate
does::

    [1]: two

``train_ref`` imports these very functions. A change to any of them is a new :data:`PROMPT_VERSION`.
"""

from __future__ import annotations

from collections.abc import Sequence

from memr1_lite.dates import resolved, written_date
from memr1_lite.errors import InvalidInputError
from memr1_lite.llm import END, MAX_SHOWN, Choice, FreeText, LanguageModel, Segment, Step, ordinal, sentence
from memr1_lite.records import Candidate, Reply

PROMPT_VERSION = "answerer-1"
MAX_CITED = 8
MAX_TEXT_TOKENS = 64
UNKNOWN = "I don't know."

INSTRUCTIONS = """\
You answer questions from memories. Below are dated memories and messages, and a question.
First write the numbers of those that answer it, such as [2][5], then a colon and the answer in at most six words.
Where two disagree, the later one holds. Write dates out. If none of them answers the question, write NONE."""
"""Shown only to models that were not trained for this role, and first: what stays the same is evaluated only once."""


def candidate_line(candidate: Candidate) -> str:
    """A candidate as the agent reads it: the day, then the text; for a raw turn its speaker, and its dates resolved."""
    said = candidate.text
    if candidate.kind == "turn":
        said = f"{candidate.speaker}: {resolved(candidate.text, candidate.at)}"
    return f"{written_date(candidate.at)} | {said}"


def answer_prompt(
    question: str, candidates: Sequence[Candidate], instructions: str | None = None
) -> tuple[Segment, ...]:
    """The prompt for ``question`` with its candidates, best first."""
    if len(candidates) > MAX_SHOWN:
        raise InvalidInputError(f"{len(candidates)} candidates cannot be shown at once: at most {MAX_SHOWN}.")
    prompt = [] if instructions is None else [Segment(instructions + "\n\n", trusted=True)]
    for position, candidate in enumerate(candidates):
        line = sentence(candidate_line(candidate))
        prompt += [Segment(ordinal(position), trusted=True), line, Segment("\n", trusted=True)]
    prompt += [Segment("Question:", trusted=True), sentence(question), Segment("\n", trusted=True)]
    return tuple(prompt)


class AnswerTemplate:
    """The shapes that an answer can have when ``shown`` candidates are in the prompt."""

    def __init__(self, shown: int, distil: bool = True) -> None:
        self._ordinals = tuple(ordinal(position) for position in range(shown))
        self._distil = distil

    def next_step(self, values: Sequence[str]) -> Step | None:
        """Ordinals, a colon, the answer; or NONE. Not distilling, no ordinals."""
        if not values:
            return Choice((*(self._ordinals if self._distil else (":",)), "NONE"))
        if values[-1] == "NONE":
            return None
        if ":" not in values:
            unnamed = tuple(mark for mark in self._ordinals if mark not in values)
            return Choice((":", *unnamed) if len(values) < MAX_CITED else (":",))
        if values[-1] == ":" and values.index(":") == len(values) - 1:
            return FreeText(stop=END, max_tokens=MAX_TEXT_TOKENS)
        return None


def written_reply(cited: Sequence[int], text: str | None) -> tuple[str, ...]:
    """The values that cite the candidates at positions ``cited`` and answer ``text``, None meaning not known."""
    if text is None:
        return ("NONE",)
    return (*(ordinal(position) for position in cited), ":", " " + text)


def parse_reply(values: Sequence[str]) -> Reply:
    """The reply that ``values`` say."""
    if values[0] == "NONE":
        return Reply(text=UNKNOWN, known=False)
    colon = values.index(":")
    cited = tuple(int(value[1:-1]) - 1 for value in values[:colon])
    return Reply(text=values[colon + 1].strip(), known=True, cited=cited)


class AnswerAgent:
    """Answers a question from what was retrieved. Data in, data out: it never sees the store."""

    def __init__(self, model: LanguageModel, instructions: str | None = None) -> None:
        self.model = model
        self.instructions = instructions

    def answer(self, question: str, candidates: Sequence[Candidate], *, distil: bool = True) -> Reply:
        """Answer ``question`` from ``candidates``, best first. Without candidates nothing is known and no model runs.

        :param distil: name the candidates that matter first; False is for measuring what that is worth
        :raises ModelError: the model could not answer
        """
        if not candidates:
            return Reply(text=UNKNOWN, known=False)
        prompt = answer_prompt(question, candidates, self.instructions)
        completion = self.model.complete(prompt, AnswerTemplate(len(candidates), distil))
        return parse_reply(completion.values).model_copy(
            update={
                "confidence": completion.confidences[0],
                "model": self.model.name,
                "prompt_tokens": completion.prompt_tokens,
                "output_tokens": completion.output_tokens,
            }
        )
