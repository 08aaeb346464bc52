"""Agents from GGUF files: loaded late, once, and only for the role they were trained for; real llama.cpp."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gguf_maker import make_adapter, make_checkpoint, make_gguf

from convert.to_gguf import to_gguf
from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents, BankConfig
from memr1_lite.control import Calls, current_call
from memr1_lite.errors import (
    CallCancelledError,
    ClosedError,
    ContextOverflowError,
    DeadlineError,
    InvalidInputError,
    MalformedOutputError,
    ModelLoadError,
)
from memr1_lite.file_agents import FileAgents
from memr1_lite.llama import LlamaModel
from memr1_lite.llama.model import OUTPUT_RESERVE
from memr1_lite.llm import Choice, Segment
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
    with agents._idle.in_use():
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


# --- one base, two LoRAs


@pytest.fixture(scope="module")
def base_and_loras(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "model"
    base = make_gguf(folder, chatml=True)
    return base, *(make_adapter(folder / f"lora-{seed}.gguf", seed=seed) for seed in (1, 2))


PROMPTS = [(Segment(f"{number} dogs and {number} cats"),) for number in range(6)]


class Ten:
    """Ten choices out of ten."""

    def next_step(self, values):
        return Choice(tuple("0123456789")) if len(values) < 10 else None


def loaded_pair(base_and_loras, together, **how):
    base, *loras = base_and_loras
    first = LlamaModel.load(base, adapter=loras[0], threads=1, **how)
    return first, LlamaModel.load(base, adapter=loras[1], threads=1, beside=first if together else None, **how)


def test_agents_that_take_turns_in_one_context_say_bit_for_bit_what_two_contexts_say(base_and_loras):
    said = []
    for together in (True, False):
        models = loaded_pair(base_and_loras, together)
        assert (models[0]._native is models[1]._native) is together
        said.append([model.complete(prompt, Ten()) for prompt in PROMPTS for model in models])
        said[-1].append([model.logits([5, 6, 7]).tobytes() for model in models])
        for model in models:
            model.close()
    assert said[0] == said[1]
    assert len({completion.values for completion in said[0][:-1]}) > 6


def test_what_one_agent_left_in_the_context_is_never_taken_for_the_other_ones(base_and_loras):
    first, second = loaded_pair(base_and_loras, together=True)
    long = (Segment(" and ".join(f"{number} dogs" for number in range(60))),)
    expected = first.complete(long, Ten())
    before = first.evaluated_tokens
    assert first.complete(long, Ten()) == expected
    assert first.evaluated_tokens - before < expected.prompt_tokens  # the beginning is still there
    second.complete(long, Ten())
    before = first.evaluated_tokens
    assert first.complete(long, Ten()) == expected
    assert first.evaluated_tokens - before >= expected.prompt_tokens  # and now it is not
    first.close()
    assert second.complete(long, Ten()).values
    second.close()


def test_two_threads_with_an_agent_each_say_what_one_thread_says(base_and_loras):
    models = loaded_pair(base_and_loras, together=True)
    alone = [[model.complete(prompt, Ten()) for prompt in PROMPTS] for model in models]
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda model: [model.complete(prompt, Ten()) for prompt in PROMPTS], models)) == alone
    for model in models:
        model.close()


def test_a_stopped_call_of_one_agent_does_not_touch_the_other(base_and_loras):
    first, second = loaded_pair(base_and_loras, together=True)
    expected = [model.complete(PROMPTS[0], Ten()) for model in (first, second)]
    long = (Segment("dog " * 300),)
    for seconds in (0, 0.001, 0.005):
        with Calls().limited(seconds), contextlib.suppress(DeadlineError):
            first.complete(long, Ten())
        assert second.complete(PROMPTS[0], Ten()) == expected[1]
        assert first.complete(PROMPTS[0], Ten()) == expected[0]
    first.close()
    second.close()


def test_a_base_without_a_lora_beside_one_with_is_the_base(base_and_loras):
    base, lora, _ = base_and_loras
    with LlamaModel.load(base, threads=1) as plain:
        expected = plain.logits([5, 6, 7])
    with LlamaModel.load(base, adapter=lora, threads=1) as agent:
        own = agent.logits([5, 6, 7])
        with LlamaModel.load(base, threads=1, beside=agent) as plain:
            assert plain._native is agent._native
            assert np.array_equal(plain.logits([5, 6, 7]), expected)
        assert np.array_equal(agent.logits([5, 6, 7]), own)
    assert not np.array_equal(own, expected)


def test_contexts_of_different_shapes_are_not_shared(base_and_loras):
    base, *loras = base_and_loras
    with (
        LlamaModel.load(base, adapter=loras[0], threads=1) as first,
        LlamaModel.load(base, adapter=loras[1], threads=1, context=512, beside=first) as second,
    ):
        assert first._native is not second._native
        assert first._native.weights is second._native.weights


# --- calls that end while their model is loaded


@pytest.fixture
def slow(monkeypatch, loaded):
    """Loading takes until somebody says so, and looks meanwhile whether it must end."""
    from memr1_lite import file_agents

    begun, done, load = threading.Event(), threading.Event(), file_agents.LlamaModel.load

    def waited(path, **arguments):
        begun.set()
        while not done.wait(0.001):
            current_call().check()
        return load(path, **arguments)

    monkeypatch.setattr(file_agents.LlamaModel, "load", waited)
    return begun, done


def test_a_deadline_ends_the_wait_for_a_model_which_is_there_for_later_calls(manager_file, slow, loaded):
    with contextlib.closing(FileAgents(Agents(manager=manager_file))) as agents:
        for _ in range(2):
            with Calls().limited(0.02), pytest.raises(DeadlineError, match=r"0\.02"):
                agents.decide(MESSAGE, [])
        assert loaded == []
        slow[1].set()
        with contextlib.suppress(MalformedOutputError):
            agents.decide(MESSAGE, [])
        assert loaded == [(manager_file, "manager")]


def test_ask_has_its_candidates_where_the_model_is_not_there_in_time(stranger_file, slow):
    with MemoryBank.open(":memory:", agents=Agents(answerer=stranger_file)) as bank:
        bank.record("The dog is called Buddy.")
        answer = bank.ask("What is the dog called?", deadline=1.0)
        assert answer.timed_out
        assert [candidate.text for candidate in answer.candidates] == ["The dog is called Buddy."]


def test_cancelling_ends_loading_and_the_next_call_loads(manager_file, slow, loaded):
    begun, done = slow
    calls = Calls()
    with contextlib.closing(FileAgents(Agents(manager=manager_file))) as agents:
        threading.Thread(target=lambda: (begun.wait(60), calls.cancel())).start()
        with calls.limited(None), pytest.raises(CallCancelledError):
            agents.decide(MESSAGE, [])
        assert not agents.loaded  # and nobody holds what it waits for
        assert loaded == []
        done.set()
        agents.warm(["manager"])
        assert len(loaded) == 1


def test_who_waits_for_a_model_has_it_also_where_another_call_for_it_is_cancelled(manager_file, slow):
    begun, done = slow
    calls = Calls()
    with contextlib.closing(FileAgents(Agents(manager=manager_file))) as agents:
        waiting = threading.Thread(target=agents.warm, args=(["manager"],))
        waiting.start()
        begun.wait(60)
        threading.Timer(0.05, calls.cancel).start()
        with calls.limited(None), pytest.raises(CallCancelledError):
            agents.decide(MESSAGE, [])
        done.set()
        waiting.join(60)
        assert agents.loaded == 1


def test_closing_ends_loading(manager_file, slow, loaded):
    agents = FileAgents(Agents(manager=manager_file))
    failed = []

    def warm():
        with pytest.raises(ClosedError):
            agents.warm(["manager"])
        failed.append(True)

    waiting = threading.Thread(target=warm)
    waiting.start()
    slow[0].wait(60)
    agents.close()
    waiting.join(60)
    assert failed
    assert loaded == []


def test_a_deadline_ends_the_start_of_a_child_which_is_there_for_later_calls(manager_file):
    with contextlib.closing(FileAgents(Agents(manager=manager_file), BankConfig(engine="process"))) as agents:
        with Calls().limited(0.01), pytest.raises(DeadlineError):
            agents.decide(MESSAGE, [])
        agents.warm(["manager"])
        assert agents.loaded == 1
        model = next(iter(agents._models.values()))
        model._child.end(kill=True)
        model._child = None
        with Calls().limited(0.01), pytest.raises(DeadlineError):
            agents.decide(MESSAGE, [])
        agents.warm(["manager"])
        assert model.ready
