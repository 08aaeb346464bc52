"""llama.cpp in a child process: the same answers, and a child that dies is an error here and nothing worse."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import gguf_maker
import pytest
from torture.damage import damaged_files

from memr1_lite import BankConfig, MemoryBank
from memr1_lite.control import Call, Calls
from memr1_lite.errors import (
    CallCancelledError,
    ClosedError,
    ContextOverflowError,
    DeadlineError,
    EngineCrashedError,
    InvalidInputError,
    MalformedOutputError,
    ModelLoadError,
)
from memr1_lite.llama import LlamaModel, ProcessModel
from memr1_lite.llm import END, Choice, Forced, FreeText, Sampling, Segment


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return gguf_maker.make_gguf(tmp_path_factory.mktemp("process"), role="manager")


@pytest.fixture(scope="module")
def model(path):
    with ProcessModel.load(path, threads=1, role="manager") as loaded:
        yield loaded


class Steps:
    def __init__(self, *steps):
        self.steps = steps

    def next_step(self, values):
        return self.steps[len(values)] if len(values) < len(self.steps) else None


KINDS = Steps(Choice(("ADD", "NOOP", END)), Forced(" é"), Choice(("[1]", "[2]")))
PROMPT = (Segment("Message:", trusted=True), Segment(" Zoë has a dog \ud83d named 🐶."), Segment("\n", trusted=True))
LONG = (Segment(" dog" * 1700),)


def test_a_child_says_what_the_model_says_here(model, path):
    with LlamaModel.load(path, threads=1) as here:
        assert (model.name, model.context) == (here.name, here.context)
        assert (model.trained_role, model.prompt_version) == (here.trained_role, here.prompt_version)
        for sampling in (None, Sampling(seed=4)):
            assert model.complete(PROMPT, KINDS, sampling) == here.complete(PROMPT, KINDS, sampling)


def test_text_is_heard_from_a_child(model):
    heard = []
    with Calls().under(Call(listen=heard.append)):
        try:
            text = model.complete(PROMPT, Steps(FreeText(END, 60))).values[0]
        except MalformedOutputError as error:
            text = error.raw
    assert "".join(heard) == text


def test_errors_of_a_child_are_the_errors_there_would_be_here(model):
    with pytest.raises(ContextOverflowError) as caught:
        model.complete((Segment(" dog" * 3000),), KINDS)
    assert caught.value.needed > caught.value.available == model.context
    with pytest.raises(MalformedOutputError) as malformed:
        model.complete(PROMPT, Steps(FreeText(END, 1)))
    assert malformed.value.raw
    with pytest.raises(InvalidInputError):
        model.complete(PROMPT, Steps(Choice(("a", "ab"))))


def test_a_template_that_fails_raises_its_own_error_and_the_model_works_on(model):
    class Broken:
        def next_step(self, values):
            raise LookupError("broken template")

    with pytest.raises(LookupError, match="broken template"):
        model.complete(PROMPT, Broken())
    assert model.complete(PROMPT, KINDS).values


@pytest.mark.parametrize("seconds", [0, 0.002, 0.01])
def test_a_child_can_be_cancelled_at_any_moment(model, seconds):
    calls = Calls()
    for _ in range(4):
        timer = threading.Timer(seconds, calls.cancel)
        with calls.limited(None):
            timer.start()
            with contextlib.suppress(CallCancelledError):
                model.complete(LONG, KINDS)
        timer.join()
        assert model.complete(PROMPT, KINDS).values
    with Calls().limited(0.005), pytest.raises(DeadlineError):
        model.complete(LONG, KINDS)


def test_a_child_that_dies_is_an_error_and_the_next_call_starts_another(path):
    with ProcessModel.load(path, threads=1) as model:
        expected = model.complete(PROMPT, KINDS)
        threading.Timer(0.02, model._child._process.send_signal, (signal.SIGABRT,)).start()
        with pytest.raises(EngineCrashedError, match="SIGABRT"):
            _ = [model.complete(LONG, KINDS) for _ in range(1000)]
        assert model.complete(PROMPT, KINDS) == expected


def test_closing_ends_the_child_and_twice_is_fine(path):
    model = ProcessModel.load(path, threads=1)
    child = model._child._process
    model.close()
    model.close()
    assert child.returncode is not None
    with pytest.raises(ClosedError):
        model.complete(PROMPT, KINDS)


@pytest.mark.skipif(sys.platform == "win32", reason="looks for the child by POSIX means")
def test_a_child_dies_with_its_parent(path):
    code = """
import os, sys
from memr1_lite.llama import ProcessModel
print(ProcessModel.load(sys.argv[1], threads=1)._child._process.pid, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    child = int(done.stdout)
    for _ in range(500):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail("The child outlived its parent by five seconds.")


def test_a_file_that_is_no_model_is_refused_in_a_child_too(tmp_path, path):
    with pytest.raises(ModelLoadError, match="no model file"):
        ProcessModel.load(tmp_path / "nowhere.gguf")
    with pytest.raises(ModelLoadError, match="SHA-256"):
        ProcessModel.load(path, expected_sha256="0" * 64)
    with pytest.raises(ModelLoadError, match="role"):
        ProcessModel.load(path, role="answerer")


@pytest.mark.parametrize("engine", [LlamaModel, ProcessModel])
def test_both_engines_refuse_what_cannot_be_meant_before_they_begin(engine, path):
    with pytest.raises(TypeError, match="'thread'"):
        engine.load(path, thread=1)
    with pytest.raises(InvalidInputError, match="100 tokens"):
        engine.load(path, context=100)
    with pytest.raises(InvalidInputError, match="0 threads"):
        engine.load(path, threads=0)


def test_a_bank_thinks_in_a_child_process(tmp_path):
    config = BankConfig(engine="process")
    with MemoryBank.open(tmp_path / "a.db", config=config) as bank:
        bank.warm()
        bank.remember("I have a dog named Buddy.", speaker="Andrew", at="2023-05-07")
        assert [memory.text for memory in bank.list()] == ["Andrew has a dog named Buddy."]
        assert "".join(stream := bank.ask_stream("What is the name of Andrew's dog?")) == stream.answer.text


# --- damaged files


def test_a_damaged_file_is_our_error_or_works_and_never_ends_this_process(tmp_path):
    counts, lost = damaged_files(tmp_path, 25, seed=0)  # all 500: make torture
    assert not lost
    assert counts["models refused"] >= 5
    assert counts["LoRAs refused"] >= 1
    assert sum(counts.values()) == 25
