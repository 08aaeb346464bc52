"""The memory bank: what happens to a message and to a question. The only file that knows every room."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Protocol, get_args

from memr1_lite.answer_agent import UNKNOWN
from memr1_lite.config import Agents, BankConfig
from memr1_lite.control import Call
from memr1_lite.dates import as_datetime
from memr1_lite.decision_flow import Manager
from memr1_lite.errors import (
    ContextOverflowError,
    DeadlineError,
    InvalidInputError,
    MalformedOutputError,
)
from memr1_lite.file_agents import ROLES, FileAgents
from memr1_lite.gate import check_line, check_text, whole
from memr1_lite.intake import MAX_SPEAKER_CHARS, Intake
from memr1_lite.ledger import Moment
from memr1_lite.llama.embedding import LlamaEmbedder
from memr1_lite.llm import Embedder
from memr1_lite.opening import IN_MEMORY, embedder_for, retriever_over
from memr1_lite.records import Answer, Candidate, Reply, Span, Timings
from memr1_lite.retriever import Legs, Retriever
from memr1_lite.store import Store
from memr1_lite.streaming import AnswerStream


class Answerer(Protocol):
    """What the bank asks of an Answer Agent; :class:`~memr1_lite.answer_agent.AnswerAgent` is one."""

    def answer(self, question: str, candidates: builtins.list[Candidate]) -> Reply:
        """Answer ``question`` from ``candidates``."""


class MemoryBank(Intake):
    """Long-term memory in one SQLite file, kept by a Memory Manager and read by an Answer Agent.

    :meth:`open` is the way in; the constructor takes the collaborators themselves. Any number of threads may use one
    bank: decisions are made one after another, and neither readers nor the database wait while a model thinks.
    """

    def __init__(
        self,
        store: Store,
        retriever: Retriever,
        embedder: Embedder,
        memory_manager: Manager,
        answer_agent: Answerer,
        config: BankConfig | None = None,
        on_close: Callable[[], None] | None = None,
        on_warm: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(store, retriever, embedder, memory_manager, config or BankConfig())
        self._answerer = answer_agent
        self._on_close, self._on_warm = on_close, on_warm

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        agents: Agents | None = None,
        embedder: Embedder | None = None,
        config: BankConfig | None = None,
        memory_manager: Manager | None = None,
        answer_agent: Answerer | None = None,
    ) -> MemoryBank:
        """Open the bank at ``path``, or make a new one; ``":memory:"`` keeps nothing.

        Models are loaded when they are first needed: :meth:`search` never needs one.

        :param agents: the GGUF files that think; the bundled ones where none is named
        :param embedder: makes the vectors; a bank stays with the one it was made with. None is that one, and for a new
            bank the sentence encoder that `make embedder` built, or else words alone
        :param memory_manager: used instead of a GGUF file; stays the caller's to close
        :param answer_agent: likewise
        :raises NotABankError: the file is something else, and was not touched
        :raises SchemaTooNewError: the file was written by a newer version
        :raises EmbedderMismatchError: the bank's vectors were made by another embedder
        """
        config = config or BankConfig()
        with ExitStack() as on_failure:
            owned = ExitStack()
            if embedder is None:
                embedder = embedder_for(path, config)
                if isinstance(embedder, LlamaEmbedder):
                    owned.callback(embedder.close)
            on_failure.callback(owned.close)
            store = Store.open(path, embedder=embedder.name, dimension=embedder.dimension)
            on_failure.pop_all()
        retriever = retriever_over(store, embedder, path, config)
        states = None if str(path) == IN_MEMORY else Path(f"{Path(path).absolute()}.states")
        files = FileAgents(agents or Agents(), config, states)
        owned.callback(files.close)
        own = {"manager": memory_manager, "answerer": answer_agent}
        return cls(
            store,
            retriever,
            embedder,
            memory_manager or files,
            answer_agent or files,
            config,
            on_close=owned.close,
            on_warm=partial(files.warm, [role for role in ROLES if own[role] is None]),
        )

    def __enter__(self) -> MemoryBank:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Save the vector index and close the file and the models; twice is fine. A fork leaves them to its parent."""
        if self._closed or self._store.forked:
            return
        self._stop_deciding()
        self._closed = True
        with ExitStack() as steps:  # last in, first out, and none left out where another fails
            steps.callback(self._store.close)
            steps.callback(self._retriever.close)
            if self._on_close is not None:
                steps.callback(self._on_close)

    def warm(self) -> None:
        """Load the models and evaluate their fixed instructions now, so that the first call need not; a sentence
        encoder too.

        :raises ModelLoadError: a model file is missing or unusable
        """
        self._open_store()
        if isinstance(self._embedder, LlamaEmbedder):
            self._embedder.warm()
        if self._on_warm is not None:
            self._on_warm()

    # What is asked

    def ask(self, question: str, *, k: int | None = None, deadline: float | None = None) -> Answer:
        """Answer ``question`` from the memories and turns most likely to matter, naming those it rests on.

        Where nothing is found, the answer is an honest "I don't know", and no model runs.

        Where ``k`` is left to the bank, the last candidates are left out until the rest fit into the model's context;
        ``Answer.candidates`` are those that were shown.

        :param k: candidates shown to the agent, instead of ``config.candidates``
        :param deadline: seconds that it may take; after that the answer is ``timed_out``, with the candidates alone,
            or without any where the search itself was not done
        :raises ContextOverflowError: the ``k`` asked for do not fit into the model's context
        :raises ModelError: the model could not answer
        """
        return self._ask(question, k, Call(deadline))

    def ask_stream(self, question: str, *, k: int | None = None, deadline: float | None = None) -> AnswerStream:
        """Answer like :meth:`ask`, from another thread: iterate for the text as it comes.

        ``AnswerStream.answer`` is the whole answer. Errors of :meth:`ask` come out of the iteration or of ``answer``.
        """
        self._open_store()
        return AnswerStream(lambda call: self._ask(question, k, call), deadline)

    def _ask(self, question: str, k: int | None, call: Call) -> Answer:
        with self._calls.under(call), self._later.giving_way():
            return self._answered(question, k)

    def _answered(self, question: str, k: int | None) -> Answer:
        started, found = time.perf_counter(), None
        candidates: builtins.list[Candidate] = []
        all_found, timed_out = 0, False
        try:
            candidates = self.search(question, self._config.candidates if k is None else k)
            found, all_found = time.perf_counter(), len(candidates)
            candidates, reply = self._reply(question, candidates, fewer=k is None)
        except DeadlineError:
            timed_out, reply = True, Reply(text=UNKNOWN, known=False)
        ended = time.perf_counter()
        found = ended if found is None else found
        if any(not 0 <= position < len(candidates) for position in reply.cited):
            raise MalformedOutputError(f"An answer cites other than the {len(candidates)} shown.", raw=str(reply))
        return Answer(
            text=reply.text,
            known=reply.known,
            cited=tuple(candidates[position] for position in reply.cited),
            candidates=tuple(candidates),
            timings=Timings(retrieve=found - started, think=ended - found),
            confidence=reply.confidence,
            model=reply.model,
            timed_out=timed_out,
            left_out=all_found - len(candidates),
        )

    def _reply(
        self, question: str, candidates: builtins.list[Candidate], fewer: bool
    ) -> tuple[builtins.list[Candidate], Reply]:
        while candidates:
            try:
                return candidates, self._answerer.answer(question, candidates)
            except ContextOverflowError as error:  # raised before the model runs
                fitting = len(candidates) * error.available // error.needed
                if not fewer or not 0 < fitting < len(candidates):
                    raise
                candidates = candidates[:fitting]
        return [], Reply(text=UNKNOWN, known=False)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        speaker: str | None = None,
        since: str | date | datetime | None = None,
        until: str | date | datetime | None = None,
        as_of: Moment | None = None,
        legs: Legs = "both",
        deadline: float | None = None,
    ) -> builtins.list[Candidate]:
        """The memories, and turns that no memory covers, most like ``query``, best first; needs no model.

        Each one says why it was found. A turn that a memory was written from counts for that memory.

        :param speaker: only what this speaker said, and memories last written from it; where nobody's name is written
            exactly so, upper and lower case are the same
        :param since: only what was said at or after this moment, on the speaker's own clock
        :param until: only what was said before this moment
        :param legs: ``words`` or ``vectors`` search by one of the two alone, without the turns around, for comparison
        :param as_of: search the bank as it stood then: a moment of this machine's clock, or right after a change.
            What was purged since is not found. It costs a copy of the bank in memory.
        :param deadline: seconds that it may take; a search is whole or an error, as its best hit may be the last found
        :raises InvalidInputError: a blank query, a ``k`` below 1, no moment, ``until`` not after ``since``, no such
            ``legs``, or a ``speaker`` that is several people but for upper and lower case
        :raises DeadlineError: the deadline passed before everything was found
        :raises ChangeNotFoundError: no such change
        """
        store = self._open_store()
        check_text(query, "query", self._config.max_message_chars)
        k = whole(k, "k", 1)
        if legs not in get_args(Legs):
            raise InvalidInputError(f"legs={legs!r} is none of {', '.join(get_args(Legs))}.")
        if deadline is not None:
            with self._calls.limited(deadline):  # its steps look; what is found is returned
                return self.search(query, k, speaker=speaker, since=since, until=until, as_of=as_of, legs=legs)
        limits = self._limits(speaker, since, until)
        if as_of is None:
            return self._retriever.candidates(query, k, limits, legs)
        with (
            store.as_of(*self._instant(as_of, "as_of")) as past,
            closing(retriever_over(past, self._embedder, IN_MEMORY, self._config)) as retriever,
        ):
            return retriever.candidates(query, k, limits, legs)

    def _limits(
        self, speaker: str | None, since: str | date | datetime | None, until: str | date | datetime | None
    ) -> Span | None:
        if speaker is not None:
            check_line(speaker, "speaker", limit=MAX_SPEAKER_CHARS)
            speaker = self._open_store().speaker_called(speaker)
        span = Span(speaker=speaker, since=as_datetime(since, "since"), until=as_datetime(until, "until"))
        if span.since is not None and span.until is not None and span.until <= span.since:
            raise InvalidInputError(
                f"until={until!r} is not after since={since!r}: until is the first moment that is left out."
            )
        return None if span == Span() else span
