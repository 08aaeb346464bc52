"""A benchmark run: build the banks, put every question to every system, keep each result at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from memr1_lite.answer_agent import UNKNOWN
from memr1_lite.bank import MemoryBank
from memr1_lite.config import BankConfig
from memr1_lite.dates import written_date
from memr1_lite.errors import InvalidInputError, ModelError, ModelLoadError
from memr1_lite.evaluation.benchmark import Benchmark, Question, Talk
from memr1_lite.evaluation.counted import BothAgents, CountedAgents
from memr1_lite.evaluation.machine import peak_memory_mib
from memr1_lite.evaluation.metrics import bleu1, evidence_recall, exact_match, set_f1, token_f1
from memr1_lite.evaluation.run_files import BuildCost, QuestionResult, RunFolder
from memr1_lite.evaluation.systems import BASELINES, OURS, PROMPTED, AddOnly, BankName, Find, System, finder
from memr1_lite.llm import Embedder
from memr1_lite.records import Candidate, Reply
from memr1_lite.store import Store

RECALL_AT = (5, 10, 30, 60)
MAX_TURN_CHARS = 1_000_000
"""Turns of a benchmark are never refused for their length: what does not fit into a model is an error of that turn."""


class Runner:
    """One run in one folder.

    :param prompted: the agents of a file that was not trained for this, for one more baseline
    """

    def __init__(
        self,
        folder: RunFolder,
        agents: BothAgents,
        embedder: Embedder,
        config: BankConfig,
        prompted: BothAgents | None = None,
    ) -> None:
        self._folder = folder
        self._agents = CountedAgents(agents)
        self._prompted = None if prompted is None else CountedAgents(prompted)
        self._embedder = embedder
        self._config = config.model_copy(update={"max_message_chars": MAX_TURN_CHARS})
        self.systems = (*BASELINES, *(() if prompted is None else (PROMPTED,)), *OURS)

    def steps(self, benchmark: Benchmark) -> int:
        """How many steps :meth:`run` reports: turns of every bank, and questions of every system."""
        banks = {system.bank for system in self.systems}
        turns = sum(len(talk.turns) for talk in benchmark.talks) * len(banks)
        return turns + sum(len(talk.questions) for talk in benchmark.talks) * len(self.systems)

    def run(self, benchmark: Benchmark, done: Callable[[int], None] = lambda steps: None) -> None:
        """Do all that is not done yet.

        :param done: called with the number of steps done since the last call
        :raises ModelLoadError: an agent cannot be loaded
        :raises InvalidInputError: there is no question to ask
        """
        if not any(talk.questions for talk in benchmark.talks):
            raise InvalidInputError("There is no question in what was chosen: choose other conversations.")
        self._folder.banks.mkdir(exist_ok=True)
        answered = {(result.system, result.question) for result in self._folder.results()}
        built = {(cost.talk, cost.bank, cost.turn) for cost in self._folder.costs()}
        for talk in benchmark.talks:
            for bank in dict.fromkeys(system.bank for system in self.systems):
                self._build(talk, bank, built, done)
            for system in self.systems:
                waiting = [question for question in talk.questions if (system.name, question.id) not in answered]
                done(len(talk.questions) - len(waiting))
                if waiting:
                    self._ask(talk, system, waiting, done)

    def _build(self, talk: Talk, name: BankName, built: set[tuple[str, str, str]], done: Callable[[int], None]) -> None:
        waiting = [turn for turn in talk.turns if (talk.id, name, turn.source_id) not in built]
        done(len(talk.turns) - len(waiting))
        if not waiting:
            return
        agents = self._agents_of(name)
        manager = AddOnly(agents) if name == "add-only" else agents
        path = self._bank_path(talk, name)
        with MemoryBank.open(
            path, embedder=self._embedder, config=self._config, memory_manager=manager, answer_agent=agents
        ) as bank:
            for turn in waiting:
                agents.take()
                began, failure, change = time.perf_counter(), None, None
                try:
                    if name == "turns":
                        bank.record(turn.text, speaker=turn.speaker, at=turn.at, source_id=turn.source_id)
                    else:
                        change = bank.remember(turn.text, speaker=turn.speaker, at=turn.at, source_id=turn.source_id)
                except ModelLoadError:
                    raise
                except ModelError as error:
                    failure = str(error)
                cost = agents.take()
                self._folder.keep(
                    BuildCost(
                        talk=talk.id,
                        bank=name,
                        turn=turn.source_id,
                        seconds=time.perf_counter() - began,
                        calls=cost.calls,
                        prompt_tokens=cost.prompt_tokens,
                        output_tokens=cost.output_tokens,
                        error=failure,
                        operations=() if change is None else tuple(each.op for each in change.operations),
                        unsaid=cost.unsaid,
                        peak_mib=peak_memory_mib(),
                    )
                )
                done(1)

    def _ask(self, talk: Talk, system: System, questions: Sequence[Question], done: Callable[[int], None]) -> None:
        agents = self._agents_of(system.bank)
        path = self._bank_path(talk, system.bank)
        with (
            MemoryBank.open(
                path, embedder=self._embedder, config=self._config, memory_manager=agents, answer_agent=agents
            ) as bank,
            Store.open(path, embedder=self._embedder.name, dimension=self._embedder.dimension) as store,
        ):
            find = finder(system, bank, store, talk, self._embedder)
            for question in questions:
                self._folder.keep(_measured(talk, system, question, find, agents, self._config.candidates))
                done(1)

    def _agents_of(self, bank: BankName) -> CountedAgents:
        return self._prompted if bank == "prompted" and self._prompted is not None else self._agents

    def _bank_path(self, talk: Talk, bank: BankName) -> Path:
        safe = "".join(char if char.isalnum() or char in "-_" else "_" for char in talk.id)
        return self._folder.banks / f"{safe}.{bank}.db"


def _measured(
    talk: Talk, system: System, question: Question, find: Find, agents: CountedAgents, k: int
) -> QuestionResult:
    asked = question.text
    if question.asked_at is not None:
        asked = f"{asked} (asked on {written_date(question.asked_at)})"
    shown: Sequence[Candidate]
    failure: str | None
    began = time.perf_counter()
    found = find(question.text, k)
    retrieved = time.perf_counter()
    agents.take()
    if question.statement:
        shown, reply, failure = (), Reply(text=found[0].text if found else "", known=bool(found)), None
    else:
        shown, reply, failure = _answered(agents, asked, found, system.distil)
    cost = agents.take()
    sources = _sources(found)
    return QuestionResult(
        system=system.name,
        talk=talk.id,
        question=question.id,
        category=question.category,
        paper_label=question.paper_label,
        text=question.text,
        answers=question.answers,
        found=tuple(sources),
        shown=len(shown),
        cited=tuple(shown[position].text for position in reply.cited),
        answer=reply.text,
        known=reply.known,
        **_scores(reply, question),
        recall=None if system.finds == "everything" else _recall(sources, question),
        retrieve_seconds=retrieved - began,
        answer_seconds=time.perf_counter() - retrieved,
        calls=cost.calls,
        prompt_tokens=cost.prompt_tokens,
        output_tokens=cost.output_tokens,
        error=failure,
        peak_mib=peak_memory_mib(),
    )


def _answered(
    agents: CountedAgents, asked: str, found: Sequence[Candidate], distil: bool
) -> tuple[Sequence[Candidate], Reply, str | None]:
    try:
        shown, reply = agents.answer_fitting(asked, found, distil)
    except ModelLoadError:
        raise
    except ModelError as error:
        return (), Reply(text="", known=False), str(error)
    return shown, reply, None


def _scores(reply: Reply, question: Question) -> dict[str, float]:
    if not question.answers:  # right is to say that it is not known
        right = float(not reply.known and reply.text == UNKNOWN)
        return {"set_f1": right, "bleu1": right, "exact": right, "squad_f1": right}
    said = reply.text
    return {
        "set_f1": max(set_f1(said, right) for right in question.answers),
        "bleu1": max(bleu1(said, right) for right in question.answers),
        "exact": float(any(exact_match(said, right) for right in question.answers)),
        "squad_f1": max(token_f1(said, right) for right in question.answers),
    }


def _sources(found: Sequence[Candidate]) -> list[str]:
    """The turns that ``found`` was written from, those of the best first: a memory brings all of its own."""
    sources = (turn.source_id for candidate in found for turn in candidate.turns)
    return list(dict.fromkeys(source for source in sources if source is not None))


def _recall(sources: Sequence[str], question: Question) -> dict[str, float] | None:
    if not question.evidence:
        return None
    return {str(k): evidence_recall(sources, question.evidence, k) for k in RECALL_AT}
