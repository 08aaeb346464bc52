"""What a pair of agents costs on this machine, and what they get right: the whole of it in about five minutes.

Messages, memories and questions are those of the hand-phrased set: short, as people chat. Everything is written into a
temporary folder. A part stops when its share of the time is spent, after a few cases at least: a big model is measured
on fewer of them, and ``count`` says on how many; profiles that there was no time for are left out.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents, BankConfig
from memr1_lite.decision_flow import Manager
from memr1_lite.errors import ContextOverflowError, MalformedOutputError, ModelError, ModelLoadError
from memr1_lite.evaluation.contradiction_run import play
from memr1_lite.evaluation.contradictions import histories
from memr1_lite.evaluation.counted import Cost, CountedAgents
from memr1_lite.evaluation.hand import EARLIER, HandCase, hand_cases
from memr1_lite.evaluation.machine import agent_files, hashes, machine, peak_memory_mib
from memr1_lite.evaluation.statistics import Interval, share_interval
from memr1_lite.file_agents import ROLES, FileAgents, files_of
from memr1_lite.llama.library import default_threads
from memr1_lite.llama.model import OUTPUT_RESERVE, LlamaModel
from memr1_lite.llama.settings import CONTEXT_STEP
from memr1_lite.llm import Embedder, Segment
from memr1_lite.records import Add, Candidate, Decision, Memory, Message, Record

Item = TypeVar("Item")

SEED = 20_828
MEMORIES = 250
"""In the bank that messages and questions meet."""
SHOWN = (10, 20, 30, 60)
"""Numbers of candidates that are tried."""
READ, WRITTEN = 512, 64
"""Tokens that the rates are measured on."""
BEFORE_WRITING = 32
"""Tokens read before those that are written."""
AT_LEAST = 3
SHARES = {"rates": 0.1, "remember": 0.2, "ask": 0.2, "profiles": 0.35, "contradictions": 0.15}
"""Of the time, for each part."""


class Rates(Record):
    """A model by itself, at its best. ``load_seconds`` is with a file that the system may have in its cache."""

    file: str
    load_seconds: float
    read_per_second: float
    written_per_second: float


class Times(Record):
    """Seconds of calls: what half and 95 % of them do not exceed, and the medians of their parts.

    ``think`` is the agents, ``embed`` the embedder, ``rest`` the bank: search and disk. ``tokens_in`` and
    ``tokens_out`` are means; ``errors`` counts the calls that the model failed, whose time counts too.
    """

    count: int
    p50: float
    p95: float
    think: float
    embed: float
    rest: float
    model_calls: float
    tokens_in: float
    tokens_out: float
    errors: int


class Profile(Record):
    """``ask`` with so many candidates and threads, in the smallest ``context`` that held every prompt and its answer.

    ``count`` is 0 where the candidates do not fit into what the model was made for; then there are no times.
    """

    candidates: int
    context: int
    threads: int
    count: int
    p50: float | None
    p95: float | None


class Contradictions(Record):
    """How many of the histories of the contradiction suite came out right; which ones are tried is fixed by a seed."""

    histories: int
    upheld: Interval


class Bench(Record):
    """Everything measured. ``memory_mib`` is the most that the process held before it loaded a model, and in all."""

    machine: str
    agents: dict[str, str]
    embedder: str
    threads: int
    rates: tuple[Rates, ...]
    remember: Times
    ask: Times
    profiles: tuple[Profile, ...]
    contradictions: Contradictions
    memory_mib: tuple[float, float] | None
    seconds: float


class TimedEmbedder:
    """An embedder that knows how long it took since :meth:`take` was last called."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._seconds = 0.0
        self.name, self.dimension = embedder.name, embedder.dimension

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row per text."""
        began = time.perf_counter()
        try:
            return self._embedder.embed(texts)
        finally:
            self._seconds += time.perf_counter() - began

    def take(self) -> float:
        """The seconds so far; counting begins anew."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class _Verbatim:
    """A Manager that writes everything down as it was said."""

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        return Decision(operations=(Add(op="ADD", text=message.text),))


def bench(
    agents: Agents, embedder: Embedder, seconds: float, done: Callable[[float], None] = lambda share: None
) -> Bench:
    """Measure ``agents`` for about so many seconds; longer where a few cases of each part take longer.

    :param done: called with the share of the whole that was done since the last call
    :raises ModelLoadError: a file is missing or unusable
    """
    began = time.perf_counter()
    files, before, timed = agent_files(agents), peak_memory_mib(), TimedEmbedder(embedder)
    cases = hand_cases()
    random.Random(SEED).shuffle(cases)
    allowed = {part: share * seconds for part, share in SHARES.items()}
    with tempfile.TemporaryDirectory(prefix="memr1-bench-") as folder:
        paths = list(dict.fromkeys(files_of(agents, role).path for role in ROLES))
        rates = tuple(_rates(path, allowed["rates"] / len(paths)) for path in paths)
        done(SHARES["rates"])
        path = Path(folder) / "bank.db"
        with closing(FileAgents(agents)) as loaded:
            loaded.warm()
            counted = CountedAgents(loaded)
            _fill(path, cases, timed)
            with _opened(path, timed, counted, counted) as bank:
                remember = _timed(within(cases, allowed["remember"]), _remembering(bank), counted, timed)
                done(SHARES["remember"])
                ask = _timed(within(cases, allowed["ask"]), lambda case: bank.ask(case.question), counted, timed)
                done(SHARES["ask"])
            contradictions = _contradictions(loaded, embedder, allowed["contradictions"])
            done(SHARES["contradictions"])
        profiles = _profiles(path, agents, timed, cases, allowed["profiles"], done)
    after = peak_memory_mib()
    return Bench(
        machine=machine(),
        agents=hashes(files),
        embedder=embedder.name,
        threads=default_threads(),
        rates=rates,
        remember=remember,
        ask=ask,
        profiles=tuple(profiles),
        contradictions=contradictions,
        memory_mib=None if before is None or after is None else (before, after),
        seconds=time.perf_counter() - began,
    )


def thread_counts() -> list[int]:
    """What is worth trying: 1, 2, 4, ... up to the physical cores, and what llama.cpp gets where nothing is set."""
    return sorted({default_threads(), *(2**power for power in range(8) if 2**power <= default_threads() + 1)})


def fitting(profiles: Sequence[Profile], seconds: float) -> Profile | None:
    """Of the profiles that answer within ``seconds`` 19 times in 20: most candidates, then fewest threads."""
    fit = [each for each in profiles if each.p95 is not None and each.p95 <= seconds]
    return max(fit, key=lambda each: (each.candidates, -each.threads), default=None)


def within(items: Sequence[Item], seconds: float, at_least: int = AT_LEAST) -> Iterator[Item]:
    """The items until the time is spent, ``at_least`` so many of them."""
    ends = time.perf_counter() + seconds
    for number, item in enumerate(items):
        if number >= at_least and time.perf_counter() > ends:
            return
        yield item


def _rates(path: Path, seconds: float) -> Rates:
    text = " ".join(case.message for case in hand_cases())
    began = time.perf_counter()
    with LlamaModel.load(path) as model:
        loaded = time.perf_counter() - began
        ids = model.tokenize(Segment(text))[: min(READ, model.context - OUTPUT_RESERVE)]
        reading, begun, written = list[float](), list[float](), list[float]()
        for _ in within(range(20), seconds):
            for took, prompt, count in (
                (reading, ids, 1),
                (begun, ids[:BEFORE_WRITING], 1),
                (written, ids[:BEFORE_WRITING], 1 + WRITTEN),
            ):
                began = time.perf_counter()
                model.greedy(prompt, count)
                took.append(time.perf_counter() - began)
    return Rates(
        file=path.name,
        load_seconds=loaded,
        read_per_second=len(ids) / min(reading),
        written_per_second=WRITTEN / max(min(written) - min(begun), 1e-6),
    )


def _fill(path: Path, cases: Sequence[HandCase], embedder: Embedder) -> None:
    known = {text: case for case in cases for text in case.memories}
    nobody, verbatim = FileAgents(Agents()), _Verbatim()
    with closing(nobody), _opened(path, embedder, verbatim, nobody) as bank:
        for text, case in list(known.items())[:MEMORIES]:
            bank.remember(text, speaker=text.split()[0].removesuffix("'s"), at=case.at - EARLIER)


def _opened(path: Path, embedder: Embedder, manager: Manager, answerer: CountedAgents | FileAgents) -> MemoryBank:
    return MemoryBank.open(path, embedder=embedder, memory_manager=manager, answer_agent=answerer)


def _remembering(bank: MemoryBank) -> Callable[[HandCase], object]:
    return lambda case: bank.remember(case.message, speaker=case.speaker, at=case.at + timedelta(hours=12))


def _timed(
    cases: Iterator[HandCase], call: Callable[[HandCase], object], agents: CountedAgents, embedder: TimedEmbedder
) -> Times:
    whole, embed, errors = list[float](), list[float](), 0
    costs = list[Cost]()
    for case in cases:
        agents.take()
        embedder.take()
        began = time.perf_counter()
        try:
            call(case)
        except ModelLoadError:
            raise
        except ModelError:
            errors += 1
        whole.append(time.perf_counter() - began)
        embed.append(embedder.take())
        costs.append(agents.take())
    think = [cost.seconds for cost in costs]
    rest = np.asarray(whole) - np.asarray(embed) - np.asarray(think)
    return Times(
        count=len(whole),
        p50=_quantile(whole, 0.5),
        p95=_quantile(whole, 0.95),
        think=_quantile(think, 0.5),
        embed=_quantile(embed, 0.5),
        rest=float(np.median(rest)),
        model_calls=float(np.mean([cost.calls for cost in costs])),
        tokens_in=float(np.mean([cost.prompt_tokens for cost in costs])),
        tokens_out=float(np.mean([cost.output_tokens for cost in costs])),
        errors=errors,
    )


def _contradictions(agents: FileAgents, embedder: Embedder, seconds: float) -> Contradictions:
    suite = histories()
    random.Random(SEED).shuffle(suite)
    upheld = [play(history, agents, embedder).upheld for history in within(suite, seconds)]
    return Contradictions(histories=len(upheld), upheld=share_interval(sum(upheld), len(upheld)))


def _profiles(
    path: Path,
    agents: Agents,
    embedder: Embedder,
    cases: Sequence[HandCase],
    seconds: float,
    done: Callable[[float], None],
) -> list[Profile]:
    """Every number of threads with every number of candidates, as far as the time goes."""
    ends, found = time.perf_counter() + seconds, list[Profile]()
    rows = len(thread_counts()) * len(SHOWN)
    for threads in thread_counts():
        with (
            closing(FileAgents(agents, BankConfig(threads=threads))) as loaded,
            _opened(path, embedder, loaded, loaded) as bank,
        ):
            for shown in SHOWN:
                left = ends - time.perf_counter()
                if left > 0 or not found:
                    loaded.warm(["answerer"])
                    share = max(left, 0.0) / (rows - len(found))
                    found.append(_profile(bank, loaded, cases, shown, threads, share))
                done(SHARES["profiles"] / rows)
    return found


def _profile(
    bank: MemoryBank, agents: FileAgents, cases: Sequence[HandCase], shown: int, threads: int, seconds: float
) -> Profile:
    """Exactly ``shown`` candidates each time: what is found, and others to fill the prompt up."""
    others = [
        Candidate(kind="memory", id=memory.id, text=memory.text, at=memory.at) for memory in bank.list(limit=shown)
    ]
    took, needed = list[float](), 0
    for case in within(cases, seconds, at_least=1):
        began = time.perf_counter()
        found = bank.search(case.question, shown)
        ids = {candidate.id for candidate in found if candidate.kind == "memory"}
        found = [*found, *(other for other in others if other.id not in ids)][:shown]
        try:
            agents.answer(case.question, found)
        except ContextOverflowError as error:
            return Profile(
                candidates=shown, context=_stepped(error.needed), threads=threads, count=0, p50=None, p95=None
            )
        except MalformedOutputError:  # it took its time all the same
            pass
        took.append(time.perf_counter() - began)
        needed = max(needed, agents.prompt_tokens(case.question, found) + OUTPUT_RESERVE)
    return Profile(
        candidates=shown,
        context=_stepped(needed),
        threads=threads,
        count=len(took),
        p50=_quantile(took, 0.5),
        p95=_quantile(took, 0.95),
    )


def _stepped(tokens: int) -> int:
    """The least context that holds so many tokens."""
    return -(-max(tokens, 2 * CONTEXT_STEP) // CONTEXT_STEP) * CONTEXT_STEP


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share))
