"""The two agents as GGUF files: which ones, loaded once and only when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

from memr1_lite import answer_agent, memory_manager
from memr1_lite.answer_agent import AnswerAgent
from memr1_lite.config import Agents
from memr1_lite.errors import ClosedError, ModelLoadError
from memr1_lite.llama.model import LlamaModel
from memr1_lite.memory_manager import MemoryManager
from memr1_lite.records import Candidate, Decision, Memory, Message, Reply

Role = Literal["manager", "answerer"]


class FileAgents:
    """Both agents from GGUF files, each loaded when it is first needed; one file for both roles is loaded once.

    :param states: a folder for what a model computes from its fixed instructions; None keeps nothing
    :raises ModelLoadError: at the first :meth:`decide` or :meth:`answer`, where its file is missing or unusable
    """

    def __init__(self, agents: Agents, threads: int | None = None, states: Path | None = None) -> None:
        self._agents = agents
        self._threads = threads
        self._states = states
        self._lock = threading.Lock()
        self._models: dict[Path, LlamaModel] = {}
        self._manager: MemoryManager | None = None
        self._answerer: AnswerAgent | None = None
        self._closed = False

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """Choose the operations for ``message`` with the Manager's model."""
        with self._lock:
            if self._manager is None:
                model = self._model("manager", self._agents.manager, memory_manager.PROMPT_VERSION)
                self._manager = MemoryManager(model, None if model.trained_role else memory_manager.INSTRUCTIONS)
        return self._manager.decide(message, similar)

    def answer(self, question: str, candidates: Sequence[Candidate]) -> Reply:
        """Answer ``question`` with the Answer Agent's model."""
        with self._lock:
            if self._answerer is None:
                model = self._model("answerer", self._agents.answerer, answer_agent.PROMPT_VERSION)
                self._answerer = AnswerAgent(model, None if model.trained_role else answer_agent.INSTRUCTIONS)
        return self._answerer.answer(question, candidates)

    def close(self) -> None:
        """Free the models; twice is fine."""
        with self._lock:
            self._closed = True
            for model in self._models.values():
                model.close()

    def _model(self, role: Role, path: Path | None, prompt_version: str) -> LlamaModel:
        if self._closed:
            raise ClosedError("These agents were closed: open the bank again.")
        path = bundled_agent(role) if path is None else Path(path)
        model = self._models.get(path)
        if model is None or model.trained_role is not None:  # only a plain model can play both roles
            model = LlamaModel.load(
                path, threads=self._threads, role=role, prompt_version=prompt_version, states=self._states
            )
            self._models[path] = model
        return model


def bundled_agent(role: Role) -> Path:
    """The GGUF file of the agent that comes with the package.

    :raises ModelLoadError: this installation has none
    """
    path = Path(str(resources.files("memr1_lite"))) / "agents" / f"{role}.gguf"
    if not path.is_file():
        raise ModelLoadError(
            f"This installation has no bundled {role} ({str(path)!r}): give a GGUF file, as in Agents({role}='x.gguf')."
        )
    return path
