"""What must be an error of ours and nothing worse: other LoRAs, prompts at the limit, closing, forks, no threads.

Real llama.cpp in both engines, real banks. Damaged files are in ``torture/damage.py``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import gguf_maker
import numpy as np
import pytest
from torture.children import Child

from memr1_lite import Agents, BankConfig, MemoryBank
from memr1_lite.control import Calls
from memr1_lite.errors import (
    CallCancelledError,
    ClosedError,
    ContextOverflowError,
    MemR1Error,
    ModelError,
    ModelLoadError,
)
from memr1_lite.file_agents import FileAgents
from memr1_lite.llama import LlamaModel, ProcessModel
from memr1_lite.llama.model import OUTPUT_RESERVE
from memr1_lite.llm import Choice, Forced, Segment
from memr1_lite.records import Decision, Noop
from memr1_lite.testing import HashEmbedder

both_engines = pytest.mark.parametrize("engine", [LlamaModel, ProcessModel])
either_engine = pytest.mark.parametrize("engine", ["thread", "process"])
CONTEXT = 512


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return gguf_maker.make_gguf(tmp_path_factory.mktemp("failures") / "base", chatml=True)


class Steps:
    def __init__(self, *steps):
        self.steps = steps

    def next_step(self, values):
        return self.steps[len(values)] if len(values) < len(self.steps) else None


KINDS = Steps(Choice(("ADD", "NOOP")), Choice(("[1]", "[2]")))
PROMPT = (Segment("Andrew has a dog."),)
LONG = (Segment("x"),) * 100


# --- LoRAs of other bases


def matrix(rows, columns):
    return np.zeros((rows, columns), dtype=np.float32)


@both_engines
@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        ({"arch": "llama"}, "arch mismatch"),
        ({"width": 128}, r"blk\.0\.attn_q\.weight' has incorrect shape"),
        ({"layers": 3}, r"blk\.2\.attn_q\.weight' does not exist"),
        ({"tensors": {"blk.0.attn_k.weight.lora_a": matrix(4, 64)}}, "missing one component"),
        ({"tensors": {"blk.0.attn_q.weight.lora_b": matrix(128, 8)}}, "not transposed"),
        ({"tensors": {"blk.0.attn_q.weight": matrix(128, 64)}}, "unexpected suffix"),
        ({"adapter.type": "ia3"}, "'lora'"),
        ({"memr1.base_sha256": "0" * 64}, "another base model"),
    ],
    ids=["architecture", "width", "layers", "half a pair", "ranks", "no LoRA", "kind", "base of this shape"],
)
def test_a_lora_of_another_base_is_refused_with_the_reason(engine, base, tmp_path, lora, reason):
    path = gguf_maker.make_adapter(tmp_path / "other.gguf", **lora)
    with pytest.raises(ModelLoadError, match=rf"other\.gguf.*{reason}"):
        engine.load(base, adapter=path, threads=1)


@both_engines
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((128, 4), np.float64), "F64"),
        (np.zeros((128, 4), np.int32), "I32"),
        (np.zeros((2, 128, 4), np.float32), "shape"),
    ],
    ids=["doubles", "integers", "no matrix"],
)
def test_a_lora_that_would_kill_llama_cpp_is_refused(engine, base, tmp_path, values, reason):
    path = gguf_maker.make_adapter(tmp_path / "deadly.gguf", tensors={"blk.0.attn_q.weight.lora_b": values})
    with pytest.raises(ModelLoadError, match=rf"deadly\.gguf.*attn_q.*{reason}"):
        engine.load(base, adapter=path, threads=1)


# --- prompts at the limit


@both_engines
def test_a_prompt_may_fill_the_context_up_to_the_room_for_its_output_and_not_one_token_more(engine, base):
    with LlamaModel.load(base, threads=1, context=CONTEXT) as counting:
        frame = counting.count_tokens(())
    full = (Segment("x"),) * (CONTEXT - OUTPUT_RESERVE - frame)
    with engine.load(base, threads=1, context=CONTEXT) as model:
        assert model.complete(full, KINDS).prompt_tokens == CONTEXT - OUTPUT_RESERVE
        with pytest.raises(ContextOverflowError) as caught:
            model.complete((*full, Segment("x")), KINDS)
        assert (caught.value.needed, caught.value.available) == (CONTEXT + 1, CONTEXT)
        # The output fills the rest; its last token is never evaluated.
        rest = [Forced("x")] * (OUTPUT_RESERVE - 1)
        options = Choice(("a", "b"))
        assert model.complete(full, Steps(*rest, options, options)).output_tokens == OUTPUT_RESERVE + 1
        with pytest.raises(ContextOverflowError):
            model.complete(full, Steps(*rest, options, options, options))
        assert model.complete(PROMPT, KINDS).values


# --- closing


@both_engines
def test_a_closed_model_says_so_whatever_is_asked(engine, base):
    model = engine.load(base, threads=1, context=CONTEXT)
    model.complete(PROMPT, KINDS)
    model.close()
    for use in (lambda: model.complete(PROMPT, KINDS), lambda: model.prepare(PROMPT), model.close):
        with contextlib.nullcontext() if use == model.close else pytest.raises(ClosedError):
            use()


@both_engines
def test_closing_waits_for_the_call_under_way(engine, base):
    model = engine.load(base, threads=1, context=CONTEXT)
    ended = []

    def ask():
        try:
            while True:
                model.complete(PROMPT, KINDS)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            ended.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    model.close()
    for thread in threads:
        thread.join(60)
    assert [type(error) for error in ended] == [ClosedError] * 3


@either_engine
def test_two_threads_on_one_bank_lose_nothing_and_closing_it_under_them_is_an_error_of_ours(engine, tmp_path):
    config = BankConfig(engine=engine, threads=1)
    bank = MemoryBank.open(tmp_path / "a.db", config=config, embedder=HashEmbedder(24))
    said, failed = [], []

    def talk(name):
        try:
            for number in range(1000):
                bank.remember(f"I have a dog named {name}{number}.", speaker=name)
                said.append(f"I have a dog named {name}{number}.")
                bank.ask(f"What is the name of {name}'s dog?")
        except Exception as error:  # noqa: BLE001 - the test looks at it
            failed.append(error)

    threads = [threading.Thread(target=talk, args=(name,)) for name in ("Andrew", "Audrey")]
    for thread in threads:
        thread.start()
    while len(said) < 8 and not failed:
        time.sleep(0.01)
    bank.close()
    for thread in threads:
        thread.join(60)
    assert len(failed) == 2
    assert all(isinstance(error, ClosedError) for error in failed), failed
    with MemoryBank.open(tmp_path / "a.db", config=config, embedder=HashEmbedder(24)) as again:
        assert {turn.text for turn in again._store.messages()} >= set(said)
        assert {turn.text for turn in again.pending()}.isdisjoint(said)
        assert again.check() == []


# --- forks


def in_a_fork(work):
    """What ``work`` returns in a forked child; None where it never ends."""
    child = Child(lambda say: say(work()))
    child.hear(60)
    said = child.kill()
    return said[0] if said else None


def tried(call):
    try:
        return str(call())
    except MemR1Error as error:
        return f"{type(error).__name__}: {error}"


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@forks
@either_engine
def test_a_fork_of_a_bank_is_told_so_by_every_verb_and_its_parent_works_on(engine, tmp_path):
    with MemoryBank.open(tmp_path / "a.db", config=BankConfig(engine=engine, threads=1)) as bank:
        bank.remember_later("I have a dog named Buddy.", speaker="Andrew")
        bank.flush()
        verbs = {
            "remember": lambda: bank.remember("I like tea."),
            "remember_later": lambda: bank.remember_later("I like tea."),
            "record": lambda: bank.record("I like tea."),
            "remember_pending": bank.remember_pending,
            "flush": bank.flush,
            "ask": lambda: bank.ask("What is the name of Andrew's dog?"),
            "ask_stream": lambda: list(bank.ask_stream("What is the name of Andrew's dog?")),
            "search": lambda: bank.search("dog"),
            "warm": bank.warm,
            "undo": lambda: bank.undo(1),
            "stats": bank.stats,
        }
        said = in_a_fork(lambda: {name: tried(call) for name, call in verbs.items()} | {"close": bank.close()})
        assert said.pop("close") is None
        assert set(said) == set(verbs)
        for answer in said.values():
            assert answer.startswith("StoreError")
            assert "forked" in answer
        assert bank.ask("What is the name of Andrew's dog?").text == "Buddy"
        assert bank.remember("I like tea.", speaker="Andrew").operations


@forks
@both_engines
def test_a_fork_does_not_wait_for_a_call_that_only_its_parent_has(engine, base):
    with engine.load(base, threads=1, context=CONTEXT) as model:
        with model._lock:  # as if another thread were in the middle of a call
            said = in_a_fork(lambda: [tried(lambda: model.complete(PROMPT, KINDS)), tried(model.close)])
        assert "forked" in said[0]
        assert said[1] == "None"
        assert model.complete(PROMPT, KINDS).values


@forks
def test_a_fork_that_loads_its_own_model_answers_whatever_threads_its_parent_had(base):
    with LlamaModel.load(base, threads=2, context=CONTEXT) as model:
        expected = model.complete(PROMPT, KINDS).values
        model.logits([5])  # in this thread, and so with OpenMP's threads for it

        def again():
            with LlamaModel.load(base, threads=2, context=CONTEXT) as own:
                own.logits([5])
                return list(own.complete(PROMPT, KINDS).values)

        assert in_a_fork(again) == list(expected)


# --- no more threads, no more processes


@contextlib.contextmanager
def no_threads():
    """No thread can be started, as where a limit is reached: there is no memory for so large a stack."""
    before = threading.stack_size()
    try:
        threading.stack_size(1 << 46)
        threading.Thread(target=int).start()
        pytest.skip("this system gives a thread a stack of 64 TiB")
    except ValueError:
        pytest.skip("this system asks for smaller stacks")
    except RuntimeError:
        yield
    finally:
        threading.stack_size(before)


def test_where_no_thread_can_be_started_a_long_prompt_is_evaluated_and_a_deadline_is_refused(base):
    with LlamaModel.load(base, threads=1, context=CONTEXT) as model, no_threads():
        assert model.complete(LONG, KINDS).values
        with Calls().limited(60), pytest.raises(ModelError, match="no more threads"):
            model.complete(PROMPT, KINDS)
        assert model.complete(PROMPT, KINDS).values


def test_where_no_thread_can_be_started_a_model_is_loaded_all_the_same(base):
    with contextlib.closing(FileAgents(Agents(manager=base))) as agents, no_threads():
        agents.warm(["manager"])
        assert agents.loaded == 1


class Nothing:
    """Decides that nothing is worth keeping, or fails as somebody's own agent may."""

    failing = None

    def decide(self, message, similar):
        if self.failing is not None:
            raise self.failing
        return Decision(operations=(Noop(op="NOOP"),))


def own_bank():
    return MemoryBank.open(":memory:", memory_manager=Nothing(), embedder=HashEmbedder(24))


def test_where_no_thread_can_be_started_a_turn_waits_and_a_stream_is_refused():
    with own_bank() as bank:
        with no_threads():
            bank.remember_later("I have a dog named Buddy.")
            with pytest.raises(ModelError, match="no more threads"):
                bank.flush()
            with pytest.raises(ModelError, match="no more threads"):
                bank.ask_stream("Who is Buddy?")
        assert len(bank.pending()) == 1
        assert bank.flush() == 1


def test_an_own_agent_that_fails_in_the_background_is_heard_of_and_the_turn_stays(monkeypatch):
    shown = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    with own_bank() as bank:
        bank._flow._manager.failing = LookupError("a bug of the caller's")
        bank.remember_later("I have a dog named Buddy.")
        for _ in range(2):
            with pytest.raises(LookupError, match="of the caller's"):
                bank.flush()
        bank._flow._manager.failing = None
        assert bank.flush() == 1
    while len(shown) < 2:  # Python shows them a moment after flush() has raised them
        time.sleep(0.01)
    assert {hook.exc_type for hook in shown} == {LookupError}


@pytest.mark.parametrize("program", ["/nowhere/python", None])
def test_a_child_process_that_cannot_be_started_is_an_error(base, monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(ModelLoadError, match="cannot be started"):
        ProcessModel.load(base)


def test_a_child_that_takes_long_to_load_can_be_cancelled(base, monkeypatch):
    monkeypatch.setattr("memr1_lite.llama.process.START", "import time; time.sleep(600)")
    calls = Calls()
    timer = threading.Timer(0.2, calls.cancel)
    timer.start()
    with calls.limited(None), pytest.raises(CallCancelledError):
        ProcessModel.load(base)
    timer.join()
