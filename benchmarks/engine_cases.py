"""What the engine's benchmarks replay: turns and memories of LoCoMo as prompts, plausible outputs forced on a model."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from memr1_lite.answer_agent import AnswerTemplate, answer_prompt
from memr1_lite.file_agents import bundled_agent
from memr1_lite.llama import LlamaModel
from memr1_lite.llama.lookup import Pace
from memr1_lite.llm import END, OutputTemplate, Segment
from memr1_lite.memory_manager import ManagerTemplate, manager_prompt
from memr1_lite.records import Candidate, Memory, Message

Row = tuple[str, str]
"""What a line of the table says: what was measured, and the measure."""
AT = datetime(2023, 5, 8)
FORCE = 1e4
"""Added to the logit of the token that is to be said."""


def clock(threads: int) -> Callable[[], float]:
    """The processor's time where one thread works: what else the machine does counts less then. Else the clock's."""
    return time.process_time if threads == 1 else time.perf_counter


@dataclass(frozen=True)
class Case:
    """A prompt and what is to be said to it, value by value."""

    prompt: tuple[Segment, ...]
    template: OutputTemplate
    values: tuple[str, ...]


class ForcedModel:
    """A model whose logits say what a case wants; knows when its prompt was evaluated."""

    def __init__(self, model: LlamaModel, threads: int = 1) -> None:
        self.model, self.session = model, model._session
        self.clock = clock(threads)
        self._evaluate = self.session.evaluate
        self.session.evaluate = self.evaluate  # type: ignore[method-assign]
        self.ids: list[int] = []
        self.begun = 0.0
        self.pace = Pace()
        """What drafts have learned, for the calls that make some."""

    def prepare(self, case: Case) -> list[int]:
        """The ids of the output, which are forced from now on."""
        ids = self.model.prompt_ids(case.prompt)
        said: list[int] = []
        for value in case.values:
            said += [self.model._end] if value == END else self.model.tokenize(Segment(value, trusted=True))
            if value.startswith(" "):
                manages = isinstance(case.template, ManagerTemplate)
                said += self.model.tokenize(Segment("\n", trusted=True)) if manages else [self.model._end]
        self.ids, self.begun = ids + said, 0.0
        return said

    def evaluate(self, ids: Sequence[int], rows: int) -> np.ndarray:
        """Evaluate, and bend the logits."""
        logits = self._evaluate(ids, rows)
        self.begun = self.begun or self.clock()
        after = len(self.session._held) - rows + 1
        for row in range(rows):
            if after + row < len(self.ids):
                logits[row][self.ids[after + row]] += FORCE
        return logits


def ours(forced: ForcedModel, case: Case) -> float:
    """Seconds of a completion from the moment its prompt was evaluated."""
    forced.prepare(case)
    said = forced.model.complete(case.prompt, case.template)
    seconds = forced.clock() - forced.begun
    assert said.values == case.values, (said.values, case.values)
    return seconds


def bare(forced: ForcedModel, case: Case) -> float:
    """Seconds of a loop of ``llama_decode`` and argmax, once the prompt was evaluated."""
    said = forced.prepare(case)
    session, ids = forced.session, forced.ids[: -len(said)]
    held = session.begin(ids, forced.model._fixed(case.prompt))
    logits = forced.evaluate(ids[held:], 1)
    began = forced.clock()
    for token in said[:-1]:
        assert int(np.argmax(logits[0])) == token
        logits = forced.evaluate([token], 1)
    return forced.clock() - began


def cases(conversations: list[dict[str, Any]], count: int, instructions: str | None) -> dict[str, list[Case]]:
    """Manager outputs by kind over real turns, with what annotators noted as the texts; free text is of other talks."""
    draw = random.Random(0)
    found: dict[str, list[Case]] = {"ADD": [], "UPDATE": [], "DELETE": [], "NOOP": [], "free text": []}
    noted = [
        [(text, source) for part in talk["observation"].values() for notes in part.values() for text, source in notes]
        for talk in conversations
    ]
    for number in range(count):
        talk = conversations[number % len(conversations)]
        turns = {
            turn["dia_id"]: turn for part in talk["conversation"].values() if isinstance(part, list) for turn in part
        }
        notes = [note for note in noted[number % len(conversations)] if isinstance(note[1], str) and note[1] in turns]
        place = draw.randrange(20, len(notes))
        text, source = notes[place]
        turn = turns[source]
        message = Message(id=1, speaker=turn["speaker"], text=turn["text"], at=AT)
        chosen = draw.sample(range(place), 8)
        similar = [Memory(id=n, text=notes[n][0]) for n in chosen]
        prompt = manager_prompt(message, similar, instructions)
        target = draw.randrange(8)
        mark, old = f"[{target + 1}]", similar[target].text.rstrip(".")
        other = draw.choice(noted[(number + 1) % len(conversations)])[0]
        for kind, values in {
            "ADD": ("ADD", f" {text}", END),
            "UPDATE": ("UPDATE", mark, f" {old}, and {text[0].lower()}{text[1:]}", END),
            "DELETE": ("DELETE", mark, END),
            "NOOP": ("NOOP",),
            "free text": ("ADD", f" {other}", END),
        }.items():
            found[kind].append(Case(prompt, ManagerTemplate(8), values))
    return found


def questions(conversations: list[dict[str, Any]], count: int, instructions: str | None, shown: int) -> list[Case]:
    """Real questions over ``shown`` notes of the same talk, answered NONE."""
    draw = random.Random(0)
    found = []
    for number in range(count):
        talk = conversations[number % len(conversations)]
        notes = [note[0] for part in talk["observation"].values() for notes in part.values() for note in notes]
        candidates = [
            Candidate(kind="memory", id=n, text=text, at=AT)
            for n, text in enumerate(draw.sample(notes, min(shown, len(notes))))
        ]
        asked = draw.choice(talk["qa"])["question"]
        found.append(Case(answer_prompt(asked, candidates, instructions), AnswerTemplate(len(candidates)), ("NONE",)))
    return found


def model_file(name: str, cache: Path) -> Path:
    """What ``--models`` names: ``bundled`` the Manager that ships, ``SHAPE:QUANT`` random weights, made once."""
    if name == "bundled":
        return bundled_agent("manager")
    from benchmarks.engine_models import random_model  # needs the extras of convert/

    return random_model(cache, *name.split(":"))


def ms(seconds: float) -> str:
    """As the tables have it."""
    return f"{1000 * seconds:.1f} ms"
