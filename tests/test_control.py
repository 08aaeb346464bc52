"""Stopping: deadlines, cancellation and Ctrl-C; streaming; deciding in the background. Real llama.cpp, real banks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager, nullcontext

import gguf_maker
import pytest

from memr1_lite import Agents, BankConfig, MemoryBank, machine
from memr1_lite.answer_agent import AnswerAgent
from memr1_lite.control import Call, Calls, current_call
from memr1_lite.errors import (
    CallCancelledError,
    ClosedError,
    DeadlineError,
    InvalidInputError,
    MalformedOutputError,
    ModelLoadError,
)
from memr1_lite.later import Later
from memr1_lite.llama import LlamaModel
from memr1_lite.llama.gguf_file import check_gguf
from memr1_lite.llama.weights import Weights
from memr1_lite.llm import END, Choice, Forced, FreeText, Segment
from memr1_lite.records import Add, Decision, Noop, Reply
from memr1_lite.testing import HashEmbedder, ScriptedModel
from memr1_lite.vector_index import VectorIndex


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return gguf_maker.make_gguf(tmp_path_factory.mktemp("control"), role="manager")


@pytest.fixture
def model(path):
    with LlamaModel.load(path, threads=1) as loaded:
        yield loaded


class Steps:
    def __init__(self, *steps):
        self.steps = steps

    def next_step(self, values):
        return self.steps[len(values)] if len(values) < len(self.steps) else None


LONG = (Segment(" dog" * 1700),)
SHORT = (Segment(" dog"),)
KINDS = Steps(Choice(("ADD", "NOOP")))
MANY = Steps(*[Forced(" dog" * 20), Choice(("ADD", "NOOP"))] * 20)


@contextmanager
def stopped_after(seconds, stop):
    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@pytest.mark.parametrize("seconds", [0, 0.001, 0.01, 0.05])
@pytest.mark.parametrize(("prompt", "template"), [(LONG, KINDS), (SHORT, MANY)])
def test_a_cancelled_call_ends_and_the_model_works_on(model, seconds, prompt, template):
    expected = model.complete(SHORT, KINDS)
    calls = Calls()
    stopped = 0
    for _ in range(3):
        with stopped_after(seconds, calls.cancel), calls.limited(None):
            try:
                model.complete(prompt, template)
            except CallCancelledError:
                stopped += 1
        assert model.complete(SHORT, KINDS).values == expected.values
        assert model.complete(SHORT, KINDS).confidences == pytest.approx(expected.confidences, rel=1e-4)
    if seconds == 0.01:
        assert stopped


def test_a_deadline_ends_a_call(model):
    with Calls().limited(0.005), pytest.raises(DeadlineError, match=r"0\.005"):
        model.complete(LONG, KINDS)
    assert model.complete(SHORT, KINDS).values


class Ending(Call):
    """Its deadline passes, or somebody cancels it, as native code begins that can be stopped."""

    def __init__(self, cancelled):
        super().__init__(60)
        self.cancelled = cancelled

    @contextmanager
    def stopping(self, stop):
        with super().stopping(stop):
            if self.cancelled:
                self.cancel()
            else:
                self._end = 0.0
                self._expire()
            yield


@pytest.mark.parametrize(("cancelled", "error"), [(False, DeadlineError), (True, CallCancelledError)])
def test_a_stopped_call_ends_the_loading_of_weights(path, cancelled, error):
    for _ in range(3):
        with Calls().under(Ending(cancelled)), pytest.raises(error):
            Weights(path)  # llama.cpp itself gave up: there is nothing after it that looks
    Weights(path).release()


def test_a_deadline_ends_the_checking_of_a_pinned_file(path):
    with Calls().limited(0), pytest.raises(DeadlineError):
        check_gguf(path, "0" * 64)


def test_a_call_that_waits_for_another_one_can_be_stopped(model):
    model._lock.acquire()
    try:
        with Calls().limited(0.03), pytest.raises(DeadlineError):
            model.complete(SHORT, KINDS)
    finally:
        model._lock.release()


@pytest.mark.parametrize("deadline", [-1, float("nan")])
def test_a_deadline_is_seconds_from_now(deadline):
    with pytest.raises(InvalidInputError, match="deadline"):
        Call(deadline)


def test_only_calls_under_way_are_cancelled():
    calls = Calls()
    calls.cancel()
    with calls.limited(None) as call:
        assert current_call() is call
        call.check()
        calls.cancel()
        with pytest.raises(CallCancelledError):
            call.check()
    current_call().check()


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_ends_a_long_evaluation_and_the_model_works_on(path):
    code = """
    import os, sys, signal, threading, time
    from memr1_lite.llama import LlamaModel
    from memr1_lite.llm import Choice, Segment
    class Once:
        def next_step(self, values):
            return None if values else Choice(("ADD", "NOOP"))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
    model = LlamaModel.load(sys.argv[1], threads=1)
    expected = model.complete((Segment(" x"),), Once()).values
    interrupted = 0
    for _ in range(20):
        try:
            threading.Timer(0.004, os.kill, (os.getpid(), signal.SIGINT)).start()
            model.complete((Segment(" dog" * 1700),), Once())
            time.sleep(60)  # the signal is still to come
        except KeyboardInterrupt:
            interrupted += 1
        assert model.complete((Segment(" x"),), Once()).values == expected
    sys.exit(0 if interrupted else 3)
    """

    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()


def test_text_is_heard_as_it_comes(model):
    steps = Steps(FreeText(END, 200))
    most = 0
    for name in ("Andrew", "Buddy", "Lyon", "Zoë"):
        heard = []
        with Calls().under(Call(listen=heard.append)):
            try:
                text = model.complete((Segment(f" {name} has a dog"),), steps).values[0]
            except MalformedOutputError as error:
                text = error.raw
        assert "".join(heard) == text
        most = max(most, len(heard))
    assert most > 1


# --- the bank


class Thinking:
    """Agents that think for a while and obey the call they think for."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.decided = []
        self.begun = threading.Event()
        self.failing = {}

    def _think(self):
        self.begun.set()
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            current_call().check()
            time.sleep(0.001)

    def decide(self, message, similar):
        self._think()
        if message.text in self.failing:
            raise self.failing[message.text]
        self.decided.append(message.text)
        return Decision(operations=(Add(op="ADD", text=message.text),))

    def answer(self, question, candidates):
        self._think()
        return Reply(text="Buddy", known=True, cited=(0,))


def bank_with(agents, path=":memory:", **config):
    return MemoryBank.open(path, memory_manager=agents, answer_agent=agents, config=BankConfig(**config))


def test_ask_returns_the_candidates_where_its_deadline_passes():
    with bank_with(Thinking()) as bank:
        bank.remember("The dog is called Buddy.")
        bank._answerer.seconds = 30
        answer = bank.ask("What is the dog called?", deadline=1.0)
    assert answer.timed_out
    assert not answer.known
    assert [candidate.text for candidate in answer.candidates] == ["The dog is called Buddy."]
    assert answer.cited == ()


def test_a_turn_whose_deadline_passes_is_kept_and_decided_about_later():
    agents = Thinking(seconds=30)
    with bank_with(agents) as bank:
        with pytest.raises(DeadlineError):
            bank.remember("The dog is called Buddy.", deadline=0.02)
        assert [message.text for message in bank.pending()] == ["The dog is called Buddy."]
        agents.seconds = 0
        assert bank.flush() == 1
        assert [memory.text for memory in bank.list()] == ["The dog is called Buddy."]


def test_cancel_from_another_thread_ends_remember_and_ask():
    agents = Thinking()
    with bank_with(agents) as bank:
        bank.remember("The dog is called Buddy.")
        agents.seconds = 30
        for call in (lambda: bank.remember("He likes the sea."), lambda: bank.ask("Who is Buddy?")):
            agents.begun.clear()
            with stopped_after(0.02, lambda: (agents.begun.wait(), bank.cancel())), pytest.raises(CallCancelledError):
                call()
        agents.seconds = 0
        assert bank.ask("Who is Buddy?").text == "Buddy"


def test_a_search_has_a_deadline_too():
    with bank_with(Thinking()) as bank:
        bank.record("The dog is called Buddy.")
        assert bank.search("dog", deadline=60)
        with pytest.raises(DeadlineError):
            bank.search("dog", deadline=0)


def test_a_search_that_is_whole_is_returned_also_at_its_deadline(monkeypatch):
    with bank_with(Thinking()) as bank:
        bank.record("The dog is called Buddy.")
        expected, candidates = bank.search("dog"), bank._retriever.candidates

        def late(*asked):
            found = candidates(*asked)
            current_call()._end = 0.0
            return found

        monkeypatch.setattr(bank._retriever, "candidates", late)
        assert bank.search("dog", deadline=60) == expected


class Stopping(Call):
    """Ends at its ``looks``-th look whether it has ended."""

    def __init__(self, looks):
        super().__init__()
        self.looks, self.looked = looks, 0

    def check(self):
        self.looked += 1
        if self.looked >= self.looks:
            raise DeadlineError("The time is over.")


@pytest.mark.parametrize("past", [False, True])
def test_a_search_can_end_at_many_places_and_leaves_the_bank_as_it_was(monkeypatch, past):
    monkeypatch.setattr("memr1_lite.store.past.PAGES", 1)
    monkeypatch.setattr("memr1_lite.store.past.STEPS", 200)
    with bank_with(Thinking()) as bank:
        for n in range(20):
            bank.record(f"Fact number {n} is about dog {n}.")
        change = bank.remember("The dog is called Buddy.")
        expected = bank.search("dog", as_of=change if past else None)
        whole = Stopping(10**9)
        with Calls().under(whole):
            assert bank.search("dog", as_of=change if past else None) == expected
        assert whole.looked >= (20 if past else 3)
        for looks in range(1, whole.looked, 1 + whole.looked // 12):
            with Calls().under(Stopping(looks)), pytest.raises(DeadlineError):
                bank.search("dog", as_of=change if past else None)
        assert bank.search("dog", as_of=change if past else None) == expected
        assert bank.remember("Misty is a cat.").operations


def test_nobody_waits_for_a_look_at_the_past(tmp_path, monkeypatch):
    monkeypatch.setattr("memr1_lite.store.past.PAGES", 1)

    class Meanwhile(Call):
        """Has another thread write to the bank while it is being copied."""

        written = False

        def check(self):
            if not self.written:
                self.written = True
                thread = threading.Thread(target=bank.record, args=("The cat is called Misty.",))
                thread.start()
                thread.join(60)
                assert not thread.is_alive()

    with bank_with(Thinking(), tmp_path / "a.db") as bank:
        change = bank.remember("The dog is called Buddy.")
        with Calls().under(Meanwhile()):
            found = bank.search("dog or cat", as_of=change)
        assert [each.text for each in found] == ["The dog is called Buddy."]
        assert len(bank.search("dog or cat")) == 2


@pytest.fixture
def building(monkeypatch):
    """A bank whose index takes until somebody says so to be built, and how often it was."""
    monkeypatch.setattr("memr1_lite.retriever.FEW", 3)
    begun, done, built, rebuild = threading.Event(), threading.Event(), [], VectorIndex.rebuild

    def waited(self, *vectors):
        begun.set()
        while not done.wait(0.001):
            current_call().check()
        built.append(self)
        rebuild(self, *vectors)

    monkeypatch.setattr(VectorIndex, "rebuild", waited)
    with bank_with(Thinking()) as bank:
        for n in range(10):
            bank.record(f"Fact number {n} is about dog {n}.")
        yield bank, begun, done, built


def test_a_deadline_ends_the_wait_for_an_index_which_is_there_for_later_calls(building):
    bank, _, done, built = building
    for _ in range(2):
        with pytest.raises(DeadlineError, match=r"0\.05"):
            bank.search("dog", deadline=0.05)
    assert bank.ask("Which dog?", deadline=0.05).timed_out
    assert not built
    done.set()
    assert len(bank.search("dog")) == 10
    assert len(built) == 1


def test_cancelling_ends_the_building_of_an_index_and_the_next_call_builds(building):
    bank, begun, done, built = building
    with stopped_after(0, lambda: (begun.wait(60), bank.cancel())), pytest.raises(CallCancelledError):
        bank.ask("Which dog?")
    done.set()
    assert len(bank.search("dog")) == 10
    assert len(built) == 1


def test_closing_a_bank_ends_the_building_of_its_index(building):
    bank, _, _, built = building
    with pytest.raises(DeadlineError):
        bank.search("dog", deadline=0.05)
    bank.close()
    assert not built


class Slow(HashEmbedder):
    def embed(self, texts):
        time.sleep(0.05)
        return super().embed(texts)


def test_a_deadline_that_passes_within_a_search_ends_it_there(monkeypatch):
    with MemoryBank.open(":memory:", embedder=Slow(), memory_manager=Thinking()) as bank:
        bank.remember("The dog is called Buddy.")
        monkeypatch.setattr(bank._store, "fetch_memories", lambda *_: pytest.fail("it went on"))
        with pytest.raises(DeadlineError, match=r"0\.02"):
            bank.search("dog", deadline=0.02)


def test_ask_returns_without_candidates_where_the_deadline_passes_in_the_search():
    agents = Thinking()
    with MemoryBank.open(":memory:", embedder=Slow(), memory_manager=agents, answer_agent=agents) as bank:
        bank.remember("The dog is called Buddy.")
        agents.begun.clear()
        answer = bank.ask("What is the dog called?", deadline=0.02)
        assert answer.timed_out
        assert not answer.known
        assert answer.candidates == answer.cited == ()
        assert answer.timings.retrieve > 0
        assert not agents.begun.is_set()
        assert bank.ask("What is the dog called?", deadline=60).text == "Buddy"


def test_an_answer_streams_as_its_text(tmp_path):
    model = ScriptedModel([["[1]", ":", " Buddy "], ["NONE"]])
    with MemoryBank.open(":memory:", memory_manager=Thinking(), answer_agent=AnswerAgent(model)) as bank:
        bank.remember("The dog is called Buddy.")
        stream = bank.ask_stream("What is the dog called?")
        assert "".join(stream) == stream.answer.text == "Buddy"
        assert stream.answer.known
        unknown = bank.ask_stream("What is the cat called?")
        assert "".join(unknown) == unknown.answer.text == "I don't know."


def test_the_blanks_round_a_streamed_answer_are_not_heard():
    class Says(Thinking):
        def answer(self, question, candidates):
            for piece in (" ", " two", " ", "dogs", " "):
                current_call().listen(piece)
            return Reply(text="two dogs", known=True, cited=(0,))

    with bank_with(Says()) as bank:
        bank.remember("Andrew has two dogs.")
        stream = bank.ask_stream("How many dogs?")
        assert list(stream) == ["two", " dogs"]


def test_leaving_a_stream_early_cancels_the_call():
    class Talks(Thinking):
        def answer(self, question, candidates):
            while True:
                current_call().check()
                current_call().listen("dog")
                time.sleep(0.001)

    with bank_with(Talks()) as bank:
        bank.remember("Andrew has two dogs.")
        stream = bank.ask_stream("How many dogs?")
        for _ in stream:
            break
        stream.close()
        with pytest.raises(CallCancelledError):
            _ = stream.answer


def test_a_stream_that_is_read_twice_is_an_error_and_its_answer_stays():
    with bank_with(Thinking()) as bank:
        bank.record("The dog is called Buddy.")
        stream = bank.ask_stream("What is the dog called?")
        assert list(stream) == ["Buddy"]
        with pytest.raises(InvalidInputError, match="read once"):
            list(stream)
        assert stream.answer.text == "Buddy"


def test_an_error_comes_out_of_the_stream():
    with bank_with(Thinking()) as bank:
        stream = bank.ask_stream("")
        with pytest.raises(InvalidInputError):
            list(stream)


# --- deciding in the background


def test_what_is_remembered_later_is_decided_about_in_order():
    agents = Thinking(seconds=0.002)
    said = [f"Fact number {n} is about thing {n}." for n in range(8)]
    with bank_with(agents) as bank:
        for text in said:
            bank.remember_later(text)
        seen = []
        bank.flush(progress=lambda done, left: seen.append((done, left)))
        assert agents.decided == said
        assert not bank.pending()
        assert all(left >= 0 for _, left in seen)
        assert len(seen) == len(set(seen))  # no state is told twice, the last one neither
        assert bank.flush() == 0


def test_what_was_pending_when_a_bank_was_closed_or_died_is_decided_about_next_time(tmp_path):
    agents = Thinking(seconds=30)
    with bank_with(agents, tmp_path / "a.db") as bank:
        bank.remember_later("The dog is called Buddy.")
        bank.remember_later("The cat is called Misty.")
        agents.begun.wait()
    assert agents.decided == []
    agents.seconds = 0
    with bank_with(agents, tmp_path / "a.db") as bank:
        bank.remember_later("The bird is called Ella.")
        bank.flush()
    assert agents.decided == ["The dog is called Buddy.", "The cat is called Misty.", "The bird is called Ella."]


def test_a_turn_that_cannot_be_decided_about_stays_pending_and_does_not_stop_the_others():
    agents = Thinking()
    agents.failing = {"Bad.": MalformedOutputError("Nonsense.", raw="")}
    with bank_with(agents) as bank:
        for text in ("One dog barks.", "Bad.", "Two cats sleep."):
            bank.remember_later(text)
        with pytest.raises(MalformedOutputError):
            bank.flush()
        assert agents.decided == ["One dog barks.", "Two cats sleep."]
        assert [message.text for message in bank.pending()] == ["Bad."]
        agents.failing = {}
        assert bank.flush() == 1


def test_a_missing_model_file_stops_the_worker_until_it_is_woken_again():
    agents = Thinking()
    agents.failing = {text: ModelLoadError("No file.") for text in ("One dog barks.", "Two cats sleep.")}
    with bank_with(agents) as bank:
        bank.remember_later("One dog barks.")
        bank.remember_later("Two cats sleep.")
        with pytest.raises(ModelLoadError):
            bank.flush()
        agents.failing = {}
        bank.flush()
        assert agents.decided == ["One dog barks.", "Two cats sleep."]


def test_a_question_waits_for_no_more_than_the_decision_under_way():
    agents = Thinking(seconds=0.01)
    with bank_with(agents) as bank:
        bank.record("The dog is called Buddy.")
        decided = []

        def answer(question, candidates):
            decided.append(len(agents.decided))
            time.sleep(0.1)
            decided.append(len(agents.decided))
            return Reply(text="Buddy", known=True, cited=(0,))

        agents.answer = answer
        for n in range(100):
            bank.remember_later(f"Fact number {n} is about thing {n}.")
        bank.ask("What is the dog called?")
        assert decided[1] <= decided[0] + 1 < 100


def test_a_flush_ends_where_the_bank_is_closed_meanwhile():
    bank, raised = bank_with(Thinking()), []
    bank.record("The dog is called Buddy.")

    def flush():
        try:
            bank.flush()
        except ClosedError as error:
            raised.append(error)

    flushing = threading.Thread(target=flush, daemon=True)
    with bank._later.giving_way():  # as while a question is answered: the worker waits
        flushing.start()
        while bank._later._thread is None:
            time.sleep(0.001)
        bank.close()
    flushing.join(10)
    assert not flushing.is_alive()
    assert len(raised) == 1


def test_a_flush_that_comes_just_after_the_end_ends_too():
    later = Later(list, lambda message: None)
    later.stop()
    with pytest.raises(ClosedError, match="closed meanwhile"):
        later.flush()


def test_warming_loads_the_models_that_will_be_needed_and_no_others(path):
    own, none = Thinking(), "none.gguf"
    given = {"memory_manager": own, "answer_agent": own}
    for callers, files, works in (
        (given, Agents(manager=none, answerer=none), True),
        ({"answer_agent": own}, Agents(manager=path, answerer=none), True),
        ({"answer_agent": own}, Agents(manager=none, answerer=path), False),
        ({"memory_manager": own}, Agents(manager=path, answerer=none), False),
    ):
        outcome = nullcontext() if works else pytest.raises(ModelLoadError, match=r"none\.gguf")
        with MemoryBank.open(":memory:", agents=files, **callers) as bank, outcome:
            bank.warm()


def test_a_noop_is_a_decision_in_the_background_too():
    class Nothing(Thinking):
        def decide(self, message, similar):
            return Decision(operations=(Noop(op="NOOP"),))

    with bank_with(Nothing()) as bank:
        bank.remember_later("It rained again in the north.")
        bank.flush()  # which may find it decided about already
        assert not bank.pending()
        assert not bank.list()


# --- on a busy machine


def test_decisions_in_the_background_wait_for_a_machine_with_time_and_flush_does_not():
    asked, agents, busy = threading.Event(), Thinking(), [True]

    def rests():
        asked.set()
        return busy[0]

    with bank_with(agents) as bank:
        bank._later._rests, bank._later._recheck = rests, 0.005
        bank.remember_later("The dog is called Buddy.")
        asked.wait()
        asked.clear()
        asked.wait()  # it has looked twice, and would have decided in between
        assert agents.decided == []
        assert bank.flush() == 1
        bank.remember_later("The cat is called Misty.")
        asked.clear()
        asked.wait()
        assert len(agents.decided) == 1
        agents.begun.clear()
        busy[0] = False
        assert agents.begun.wait(60)
        bank.flush()
        assert agents.decided == ["The dog is called Buddy.", "The cat is called Misty."]


def test_a_bank_that_waits_for_time_can_be_closed_at_once(tmp_path):
    agents = Thinking()
    bank = bank_with(agents, tmp_path / "a.db", background="idle")
    assert bank._later._rests is machine.wants_rest
    bank._later._rests = lambda: True
    bank.remember_later("The dog is called Buddy.")
    bank.close()
    assert agents.decided == []
    with bank_with(agents, tmp_path / "a.db") as bank:
        assert not bank._later._rests()
        assert bank.flush() == 1


def supply(folder, name, **said):
    (folder / name).mkdir(parents=True)
    for what, value in said.items():
        (folder / name / what).write_text(value + "\n")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"type": "Battery", "status": "Discharging"}, True),
        ({"type": "Battery", "status": "Discharging", "scope": "System"}, True),
        ({"type": "Battery", "status": "Charging"}, False),
        ({"type": "Battery", "status": "Not charging"}, False),
        ({"type": "Battery", "status": "Discharging", "scope": "Device"}, False),
        ({"type": "Battery"}, False),
        ({}, False),
    ],
)
def test_a_machine_is_on_battery_where_its_own_is_being_emptied(tmp_path, said, expected):
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "BAT0", **said)
    assert machine.on_battery(tmp_path) == expected


def test_nothing_known_of_power_is_not_on_battery(tmp_path):
    assert not machine.on_battery(tmp_path)
    assert not machine.on_battery(tmp_path / "nothing")


@pytest.mark.parametrize(("load", "expected"), [(1.9, False), (2.0, False), (2.1, True)])
def test_a_machine_is_overloaded_where_more_wants_to_run_than_it_has_cores(monkeypatch, load, expected):
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (load, 9.0, 9.0), raising=False)
    monkeypatch.setattr(machine, "on_battery", lambda: False)
    assert machine.overloaded() == machine.wants_rest() == expected


def test_a_system_without_a_load_average_is_not_overloaded(monkeypatch):
    monkeypatch.delattr(machine.os, "getloadavg", raising=False)
    assert not machine.overloaded()
    monkeypatch.setattr(machine, "on_battery", lambda: True)
    assert machine.wants_rest()
