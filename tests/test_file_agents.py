"""Agents from GGUF files: loaded late, once, and only for the role they were trained for; real llama.cpp."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time

import pytest
from gguf_maker import make_checkpoint, make_gguf

from convert.to_gguf import to_gguf
from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents, BankConfig
from memr1_lite.errors import ClosedError, ContextOverflowError, InvalidInputError, MalformedOutputError, ModelLoadError
from memr1_lite.file_agents import FileAgents
from memr1_lite.llama.model import OUTPUT_RESERVE
from memr1_lite.memory_manager import PROMPT_VERSION
from memr1_lite.records import Candidate, Message

MESSAGE = Message(id=1, speaker="Andrew", text="I adopted a dog named Buddy.")
CANDIDATE = Candidate(kind="memory", id=1, text="Andrew has a dog named Buddy.")


@pytest.fixture(scope="module")
def manager_file(tmp_path_factory):
    return make_gguf(tmp_path_factory.mktemp("manager") / "model", role="manager")


@pytest.fixture(scope="module")
def stranger_file(tmp_path_factory):
    return make_gguf(tmp_path_factory.mktemp("stranger") / "model", chatml=True)


@pytest.fixture
def loaded(monkeypatch):
    """The loads of model files during a test."""
    from memr1_lite import file_agents

    loads, load = [], file_agents.LlamaModel.load

    def counted(path, **arguments):
        loads.append((path, arguments["role"]))
        return load(path, **arguments)

    monkeypatch.setattr(file_agents.LlamaModel, "load", counted)
    return loads


def think(agents):
    """Let both agents think; what random weights say may well never end."""
    with contextlib.suppress(MalformedOutputError):
        agents.decide(MESSAGE, [])
    with contextlib.suppress(MalformedOutputError):
        agents.answer("Which dog?", [CANDIDATE])


def test_nothing_is_loaded_before_an_agent_thinks(manager_file, loaded, tmp_path):
    with MemoryBank.open(tmp_path / "bank.db", agents=Agents(manager=manager_file)) as bank:
        bank.record("I like tea.")
        bank.search("tea")
        assert loaded == []
        with contextlib.suppress(MalformedOutputError):
            bank.remember("I like tea with milk.")
    assert loaded == [(manager_file, "manager")]


def test_one_plain_file_plays_both_roles_and_is_loaded_once(stranger_file, loaded):
    agents = FileAgents(Agents(manager=stranger_file, answerer=stranger_file), BankConfig(threads=1))
    think(agents)
    think(agents)
    agents.close()
    assert loaded == [(stranger_file, "manager")]


def test_only_a_plain_model_is_told_what_to_do(manager_file, stranger_file):
    for file, told in ((manager_file, False), (stranger_file, True)):
        agents = FileAgents(Agents(manager=file), BankConfig(threads=1))
        with contextlib.suppress(MalformedOutputError):
            agents.decide(MESSAGE, [])
        assert (agents._manager.instructions is not None) is told
        agents.close()


def test_an_agent_of_the_other_role_is_refused(manager_file):
    agents = FileAgents(Agents(manager=manager_file, answerer=manager_file), BankConfig(threads=1))
    with contextlib.suppress(MalformedOutputError):
        agents.decide(MESSAGE, [])
    with pytest.raises(ModelLoadError, match="manager"):
        agents.answer("Which dog?", [CANDIDATE])
    agents.close()


def test_a_file_trained_for_both_roles_plays_both_untold_and_is_loaded_once(tmp_path, loaded):
    file = make_gguf(tmp_path / "model", role="both")
    agents = FileAgents(Agents(manager=file, answerer=file))
    think(agents)
    assert agents._manager.instructions is None
    assert agents._answerer.instructions is None
    agents.close()
    assert len(loaded) == 1


def test_a_file_for_both_roles_on_other_prompts_is_refused_by_the_role_it_does_not_fit(tmp_path):
    checkpoint = make_checkpoint(tmp_path / "checkpoint", role="both")
    card = json.loads((checkpoint / "memr1.json").read_text())
    card["prompt_version"] = f"{PROMPT_VERSION} answerer-0"
    (checkpoint / "memr1.json").write_text(json.dumps(card))
    to_gguf(checkpoint, tmp_path / "agent.gguf")
    agents = FileAgents(Agents(manager=tmp_path / "agent.gguf", answerer=tmp_path / "agent.gguf"))
    with contextlib.suppress(MalformedOutputError):
        agents.decide(MESSAGE, [])
    with pytest.raises(ModelLoadError, match="answerer-0"):
        agents.answer("Which dog?", [CANDIDATE])
    agents.close()


def test_closed_agents_say_so(manager_file):
    agents = FileAgents(Agents(manager=manager_file), BankConfig(threads=1))
    with contextlib.suppress(MalformedOutputError):
        agents.decide(MESSAGE, [])
    agents.close()
    agents.close()
    with pytest.raises(ClosedError):
        agents.decide(MESSAGE, [])
    with pytest.raises(ClosedError):
        agents.answer("Which dog?", [CANDIDATE])


def test_models_that_nobody_uses_are_given_back_and_loaded_again(manager_file):
    agents = FileAgents(Agents(manager=manager_file), BankConfig(threads=1, idle_seconds=0.05))
    for _ in range(2):
        agents._loaded_manager()
        assert agents.loaded == 1
        for _ in range(1000):
            if not agents.loaded:
                break
            time.sleep(0.01)
        assert agents.loaded == 0
    agents.close()


def test_a_model_in_use_is_not_given_back(manager_file):
    agents = FileAgents(Agents(manager=manager_file), BankConfig(threads=1, idle_seconds=0.02))
    with agents._in_use():
        agents._loaded_manager()
        time.sleep(0.2)
        assert agents.loaded == 1
    agents.close()


def test_warming_loads_both_models_and_evaluates_fixed_instructions(stranger_file, manager_file):
    agents = FileAgents(Agents(manager=manager_file, answerer=stranger_file), BankConfig(threads=1))
    agents.warm()
    assert agents.loaded == 2
    assert agents._answerer.model.evaluated_tokens > 50
    agents.close()
    with pytest.raises(ClosedError):
        agents.warm()


def test_only_the_model_that_is_asked_for_is_warmed(stranger_file, manager_file):
    agents = FileAgents(Agents(manager=manager_file, answerer=stranger_file), BankConfig(threads=1))
    agents.warm(["answerer"])
    assert (agents.loaded, agents._manager) == (1, None)
    agents.close()


def test_tokens_are_counted_as_the_model_reads_them(stranger_file):
    many = [CANDIDATE] * 30
    with contextlib.closing(FileAgents(Agents(answerer=stranger_file), BankConfig(threads=1, context=512))) as agents:
        with pytest.raises(ContextOverflowError) as refused:
            agents.answer("Which dog?", many)
        assert agents.prompt_tokens("Which dog?", many) + OUTPUT_RESERVE == refused.value.needed
    apart = FileAgents(Agents(answerer=stranger_file), BankConfig(threads=1, engine="process"))
    with contextlib.closing(apart), pytest.raises(InvalidInputError, match="in this process only"):
        apart.prompt_tokens("Which dog?", many)


def test_a_file_with_another_checksum_than_pinned_is_refused(manager_file):
    right = hashlib.sha256(manager_file.read_bytes()).hexdigest()
    for sha256, refused in ((right, False), ("0" * 64, True)):
        agents = FileAgents(Agents(manager=manager_file, manager_sha256=sha256), BankConfig(threads=1))
        with pytest.raises(ModelLoadError, match="SHA-256") if refused else contextlib.nullcontext():
            agents._loaded_manager()
        agents.close()
