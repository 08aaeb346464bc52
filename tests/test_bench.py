"""`memr1 bench`: a few calls at least of everything, however little time there is, and no trace left anywhere."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from contextlib import closing

import pytest
from click.testing import CliRunner
from gguf_maker import make_gguf

from memr1_lite import cli
from memr1_lite.cli import bench as command
from memr1_lite.config import Agents, BankConfig
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import ContextOverflowError, MalformedOutputError, ModelLoadError
from memr1_lite.evaluation import bench as module
from memr1_lite.evaluation.bench import (
    AT_LEAST,
    SHOWN,
    Bench,
    Contradictions,
    Profile,
    Rates,
    TimedEmbedder,
    Times,
    bench,
    fitting,
    thread_counts,
    within,
)
from memr1_lite.evaluation.bench_table import bench_lines
from memr1_lite.evaluation.counted import CountedAgents
from memr1_lite.evaluation.hand import hand_cases
from memr1_lite.evaluation.statistics import share_interval
from memr1_lite.file_agents import FileAgents
from memr1_lite.records import Candidate, Message, Reply

TIMES = Times(
    count=3, p50=0.1, p95=0.2, think=0.08, embed=0.001, rest=0.01, model_calls=1.0, tokens_in=70, tokens_out=9, errors=1
)


def profile(candidates, threads, p95, context=1024):
    return Profile(
        candidates=candidates,
        context=context,
        threads=threads,
        count=0 if p95 is None else 3,
        p50=None if p95 is None else p95 / 2,
        p95=p95,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_gguf(tmp_path_factory.mktemp("bench") / "both", chatml=True)


def everything(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_everything_is_measured_a_few_times_and_nothing_is_left_behind(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEMORIES", 30)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before, shares = everything(model.parent), list[float]()
    found = bench(Agents(manager=model, answerer=model), LexicalEmbedder(), 0.0, done=shares.append)
    assert everything(tmp_path) == []
    assert everything(model.parent) == before
    assert sum(shares) == pytest.approx(1.0)
    assert [rates.file for rates in found.rates] == [model.name]  # one file in both roles is loaded once
    assert min(found.rates[0].read_per_second, found.rates[0].written_per_second) > 0
    for times in (found.remember, found.ask):
        assert times.count == AT_LEAST
        assert 0 < times.p50 <= times.p95
    assert found.ask.tokens_in > 0
    assert found.contradictions.histories == AT_LEAST
    assert [(each.candidates, each.count) for each in found.profiles] == [(SHOWN[0], 1)]  # the rest had no time
    assert found.profiles[0].context > 512
    assert found.agents["manager"] == found.agents["answerer"]
    assert f"{len(SHOWN) * len(thread_counts()) - 1} profiles left out for want of time" in bench_lines(found, 1.0)


def test_with_time_for_it_every_profile_is_measured_and_what_does_not_fit_is_said(model, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "hand_cases", lambda: hand_cases()[:16])
    monkeypatch.setattr(
        module, "SHARES", {"rates": 0.0, "remember": 0.0, "ask": 0.0, "profiles": 1.0, "contradictions": 0.0}
    )
    monkeypatch.setattr(module, "SHOWN", (5, 60))
    asked, loaded = [], []

    class Noting(FileAgents):
        def answer(self, question, candidates, *, distil=True):
            asked.append((len(candidates), question, candidates))
            return super().answer(question, candidates, distil=distil)

        def close(self):
            loaded.append(self.loaded)
            super().close()

    monkeypatch.setattr(module, "FileAgents", Noting)
    upheld = Contradictions(histories=40, upheld=share_interval(30, 40))
    monkeypatch.setattr(module, "_timed", lambda *_: TIMES)  # only profiles ask
    monkeypatch.setattr(module, "_contradictions", lambda *_: upheld)
    answerer = shutil.copy(model, tmp_path / "answerer.gguf")
    found = bench(Agents(manager=model, answerer=answerer), LexicalEmbedder(), 100.0)
    rows = [(each.candidates, each.threads) for each in found.profiles]
    assert rows == [(shown, threads) for threads in thread_counts() for shown in (5, 60)]
    for each in found.profiles:  # the model was made for 2,048 tokens
        assert (each.p95 is None) == (each.count == 0) == (each.candidates == 60) == (each.context > 2048)
    assert {count for count, *_ in asked} == {5, 60}
    assert loaded[-len(thread_counts()) :] == [1] * len(thread_counts())  # answering takes no Manager
    prompts = [(question, candidates) for count, question, candidates in asked if count == 5]
    for context, fits in ((found.profiles[0].context, True), (found.profiles[0].context - 256, False)):
        assert all_fit(Agents(answerer=model), context, prompts) == fits


def all_fit(agents, context, prompts):
    with closing(FileAgents(agents, BankConfig(context=context))) as loaded:
        for question, candidates in prompts:
            try:
                loaded.answer(question, candidates)
            except ContextOverflowError:
                return False
            except MalformedOutputError:  # so does bench: the prompt was read
                pass
    return True


def test_the_time_of_a_call_is_split_into_agents_embedder_and_the_rest(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    class Slow(LexicalEmbedder):
        def embed(self, texts):
            passes(5.0)
            return super().embed(texts)

    class Thinking:
        def answer(self, question, candidates, *, distil=True):
            passes(7.0)
            if question == "fails":
                raise MalformedOutputError("No answer.", raw="")
            return Reply(text="yes", known=True, prompt_tokens=30, output_tokens=2)

    embedder, agents = TimedEmbedder(Slow()), CountedAgents(Thinking())

    def call(question):
        embedder.embed([question])
        passes(3.0)
        agents.answer(question, [Candidate(kind="memory", id=1, text="a")])

    embedder.embed(["not of a call"])
    times = module._timed(iter(["one", "two", "fails"]), call, agents, embedder)
    assert (times.count, times.errors, times.model_calls) == (3, 1, 1.0)
    assert (times.p50, times.think, times.embed, times.rest) == (15.0, 7.0, 5.0, 3.0)
    assert (times.tokens_in, times.tokens_out) == pytest.approx((20.0, 4 / 3))


def test_more_time_means_more_cases():
    assert list(within(range(10), 0.0)) == [0, 1, 2]
    assert list(within(range(10), 60.0)) == list(range(10))
    assert list(within(range(2), 0.0)) == [0, 1]


def test_the_profile_with_most_candidates_that_is_quick_enough_is_chosen_with_fewest_threads():
    slow, wide, same, none = profile(60, 4, 3.0), profile(30, 2, 0.9), profile(30, 4, 0.5), profile(64, 1, None)
    profiles = [profile(10, 1, 0.1), slow, same, wide, none]
    assert fitting(profiles, 1.0) == wide
    assert fitting(profiles, 5.0) == slow
    assert fitting(profiles, 0.01) is None


def test_the_tables_say_what_fits_and_what_does_not():
    found = Bench(
        machine="this one",
        agents={"manager": "m.gguf abc"},
        embedder="lexical-1",
        threads=1,
        rates=(Rates(file="m.gguf", load_seconds=0.5, read_per_second=1234.5, written_per_second=67.8),),
        remember=TIMES,
        ask=TIMES,
        contradictions=Contradictions(histories=40, upheld=share_interval(30, 40)),
        profiles=(profile(10, 1, 0.2), profile(60, 1, None, context=9216)),
        memory_mib=(100.0, 250.0),
        seconds=300.0,
    )
    text = "\n".join(bench_lines(found, 0.25))
    assert "|   0.50 |         1,234 |               68 |" in text
    assert "|     3 |  100.0 |  200.0 |     80.0 |       1.0 | 10.0 |" in text
    assert "does not fit into the model" in text
    assert "For an answer within 0.25 s: BankConfig(candidates=10, context=1024, threads=1)" in text
    assert "contradictions: 75.0 [59.8, 85.8] % of 40 histories came out right" in text
    assert "100 MiB before a model was loaded, 250 MiB at most" in text
    assert "No profile answers within 0.1 s" in bench_lines(found, 0.1)[-1]


def test_the_time_of_an_embedder_is_taken_call_by_call():
    class Slow(LexicalEmbedder):
        def embed(self, texts):
            time.sleep(0.01)
            return super().embed(texts)

    timed = TimedEmbedder(Slow())
    assert timed.embed(["a", "b"]).shape == (2, timed.dimension)
    assert timed.take() >= 0.01
    assert timed.take() == 0.0


def test_the_context_that_was_advised_can_be_set(model):
    agents = FileAgents(Agents(manager=model), BankConfig(threads=1, context=512))
    try:
        with pytest.raises(ContextOverflowError) as refused:
            agents.decide(Message(id=1, speaker="Ann", text="I keep bees. " * 200), ())
        assert refused.value.available == 512
    finally:
        agents.close()


def test_a_missing_model_is_an_error_of_ours(tmp_path):
    with pytest.raises(ModelLoadError):
        bench(Agents(manager=tmp_path / "none.gguf"), LexicalEmbedder(), 0.0)


def test_the_command_prints_tables_or_json(model, monkeypatch):
    monkeypatch.setattr(module, "MEMORIES", 30)
    monkeypatch.setattr(command, "MINUTES", 0.0)
    done = CliRunner().invoke(cli.main, ["bench", str(model), "--quick", "--json", "--embedder", "lexical"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["remember"]["count"] == AT_LEAST
    both = CliRunner().invoke(cli.main, ["bench", str(model), "--manager", str(model)])
    assert both.exit_code == 2
    assert "MODEL plays both roles" in both.stderr
    missing = CliRunner().invoke(cli.main, ["bench", "none.gguf"])
    assert missing.exit_code == 2
    assert "none.gguf" in missing.stderr
