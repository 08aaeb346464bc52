"""The two agents as GGUF files: which ones, loaded when they are first needed, given back when they are not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from memr1_lite import answer_agent, memory_manager
from memr1_lite.answer_agent import AnswerAgent, answer_prompt
from memr1_lite.apart import Apart
from memr1_lite.config import Agents, BankConfig
from memr1_lite.control import current_call
from memr1_lite.errors import ClosedError, InvalidInputError, ModelLoadError
from memr1_lite.idle import Idle
from memr1_lite.llama.model import LlamaModel
from memr1_lite.llama.process import ProcessModel
from memr1_lite.llama.purpose import BOTH_ROLES, refuse_other_purpose
from memr1_lite.llama.settings import LoadSettings
from memr1_lite.memory_manager import MemoryManager, manager_prompt
from memr1_lite.records import Candidate, Decision, Memory, Message, Reply

Role = Literal["manager", "answerer"]
ROLES: tuple[Role, ...] = get_args(Role)
Model = LlamaModel | ProcessModel
Agent = MemoryManager | AnswerAgent


@dataclass(frozen=True)
class ModelFiles:
    """A GGUF file and, on top of it, a LoRA; with the checksums that they must have, if any."""

    path: Path
    sha256: str | None = None
    adapter: Path | None = None
    adapter_sha256: str | None = None


class FileAgents:
    """Both agents from GGUF files, each loaded when it is first needed; one file for both roles is loaded once.

    Models that nobody used for ``config.idle_seconds`` are freed, and loaded again at the next call. A call whose
    deadline passes meanwhile ends, and its model is loaded all the same; one that is cancelled ends loading too.

    :param states: a folder for what a model computes from its fixed instructions; None keeps nothing
    :raises ModelLoadError: at the first :meth:`decide` or :meth:`answer`, where its file is missing or unusable
    """

    def __init__(self, agents: Agents, config: BankConfig | None = None, states: Path | None = None) -> None:
        self._agents = agents
        self._config = config or BankConfig()
        self._states = states
        self._state = threading.Lock()
        self._models: dict[ModelFiles, Model] = {}
        self._manager: MemoryManager | None = None
        self._answerer: AnswerAgent | None = None
        self._closed = False
        self._idle = Idle(self._config.idle_seconds, self._free)
        self._apart = Apart("memr1-load")

    def decide(self, message: Message, similar: Sequence[Memory]) -> Decision:
        """Choose the operations for ``message`` with the Manager's model."""
        with self._idle.in_use():
            self._make_ready("manager")
            return self._loaded_manager().decide(message, similar)

    def answer(self, question: str, candidates: Sequence[Candidate], *, distil: bool = True) -> Reply:
        """Answer ``question`` with the Answer Agent's model; ``distil`` as in :meth:`AnswerAgent.answer`."""
        with self._idle.in_use():
            self._make_ready("answerer")
            return self._loaded_answerer().answer(question, candidates, distil=distil)

    def warm(self, roles: Sequence[Role] = ROLES) -> None:
        """Load the models of ``roles`` and evaluate what stands at the beginning of each of their prompts.

        :raises ModelLoadError: a file is missing or unusable
        """
        nothing = Message(id=0, speaker="user", text="")
        with self._idle.in_use():
            for role in roles:
                self._make_ready(role)
                agent = self._loaded(role)
                if isinstance(agent, MemoryManager):
                    prompt = manager_prompt(nothing, (), agent.instructions)
                else:
                    prompt = answer_prompt("", (), agent.instructions)
                assert isinstance(agent.model, Model)
                agent.model.prepare(prompt)

    def prompt_tokens(self, question: str, candidates: Sequence[Candidate]) -> int:
        """How many tokens :meth:`answer` has its model read.

        :raises InvalidInputError: the model is in a process of its own, which counts nothing for others
        """
        with self._idle.in_use():
            self._make_ready("answerer")
            agent = self._loaded_answerer()
            if not isinstance(agent.model, LlamaModel):
                raise InvalidInputError('Tokens are counted in this process only: BankConfig(engine="thread").')
            return agent.model.count_tokens(answer_prompt(question, candidates, agent.instructions))

    def close(self) -> None:
        """Free the models; twice is fine."""
        self._closed = True
        self._apart.cancel()
        self._idle.close()
        self._free()

    @property
    def loaded(self) -> int:
        """How many models are in memory."""
        with self._state:
            return len(self._models)

    def _make_ready(self, role: Role) -> None:
        # llama.cpp can be stopped only between two tensors, and a big vocabulary takes long too.
        while not (self._is_ready(role) or self._apart.run(role, partial(self._load_agent, role))):
            pass

    def _is_ready(self, role: Role) -> bool:
        agent = self._manager if role == "manager" else self._answerer
        return agent is not None and (not isinstance(agent.model, ProcessModel) or agent.model.ready)

    def _load_agent(self, role: Role) -> None:
        with self._idle.in_use():
            model = self._loaded(role).model
            if isinstance(model, ProcessModel):
                model.start()

    def _loaded(self, role: Role) -> Agent:
        return self._loaded_manager() if role == "manager" else self._loaded_answerer()

    def _loaded_manager(self) -> MemoryManager:
        with current_call().holding(self._state):
            if self._manager is None:
                model = self._model("manager", memory_manager.PROMPT_VERSION)
                self._manager = MemoryManager(model, None if model.trained_role else memory_manager.INSTRUCTIONS)
            return self._manager

    def _loaded_answerer(self) -> AnswerAgent:
        with current_call().holding(self._state):
            if self._answerer is None:
                model = self._model("answerer", answer_agent.PROMPT_VERSION)
                self._answerer = AnswerAgent(model, None if model.trained_role else answer_agent.INSTRUCTIONS)
            return self._answerer

    def _model(self, role: Role, prompt_version: str) -> Model:
        if self._closed:
            raise ClosedError("These agents were closed: open the bank again.")
        files = files_of(self._agents, role)
        model = self._models.get(files)
        if model is not None and model.trained_role in (None, BOTH_ROLES):  # it can play the other role too
            refuse_other_purpose(model, files.adapter or files.path, role, prompt_version)
        else:
            model = self._load(files, role, prompt_version)
            self._models[files] = model
            self._idle.watch()
        return model

    def _load(self, files: ModelFiles, role: Role, prompt_version: str) -> Model:
        settings: LoadSettings = {
            "context": self._config.context,
            "threads": self._config.threads,
            "role": role,
            "prompt_version": prompt_version,
            "expected_sha256": files.sha256,
            "states": self._states,
            "adapter": files.adapter,
            "adapter_sha256": files.adapter_sha256,
        }
        if self._config.engine == "process":  # weights that two processes map are in memory once anyway
            return ProcessModel.load(files.path, **settings)
        beside = next((model for other, model in self._models.items() if other.path == files.path), None)
        assert not isinstance(beside, ProcessModel)
        return LlamaModel.load(files.path, beside=beside, **settings)

    def _free(self) -> None:
        with self._state:
            for model in self._models.values():
                model.close()
            self._models, self._manager, self._answerer = {}, None, None


def files_of(agents: Agents, role: Role) -> ModelFiles:
    """The files of the agent that plays ``role``."""
    own, own_sha256 = getattr(agents, role), getattr(agents, f"{role}_sha256")
    if agents.base is None:
        return ModelFiles(bundled_agent(role) if own is None else own, own_sha256)
    adapter = getattr(agents, f"{role}_lora")
    return ModelFiles(agents.base, agents.base_sha256, adapter, own_sha256 if adapter is not None else None)


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
