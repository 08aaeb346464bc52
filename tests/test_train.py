"""The loop: it learns what is rewarded, goes on to the bit, stops when told, and writes down what happened."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from dataclasses import replace

import pytest
import torch

from convert.to_gguf import to_gguf
from memr1_lite.llama import LlamaModel
from train_ref import train
from train_ref.config import Config, as_published
from train_ref.environment import AnswererEnvironment, Judged, ManagerEnvironment
from train_ref.model import Transformer
from train_ref.policy import OwnPolicy
from train_ref.tasks import answerer_task, manager_task
from train_ref.tiny import make_agent

SMALL = "--prompts 4 --group 4 --max-output 12 --lr 1e-3 --warmup 1 --every 2 --valid 4".split()


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    return {
        role: make_agent(tmp_path_factory.mktemp("agents") / role, role, scale=4.0) for role in ("manager", "answerer")
    }


def command(agents, role, out, steps, *more):
    frozen = ["--answerer", str(agents["answerer"])] if role == "manager" else []
    return [role, "--init", str(agents[role]), *frozen, "--out", str(out), "--steps", str(steps), *SMALL, *more]


@pytest.fixture(scope="module")
def begun(agents, tmp_path_factory):
    """A Manager's run of one step, and a LoCoMo-shaped file beside it."""
    folder = tmp_path_factory.mktemp("begun")
    train.main(command(agents, "manager", folder / "run", 1))
    turns = [{"speaker": "AB"[n % 2], "dia_id": f"D1:{n + 1}", "text": f"I have {n} dogs."} for n in range(3)]
    qa = [{"question": "How many dogs?", "answer": 2, "evidence": ["D1:3"], "category": 1}]
    conversation = {"session_1": turns, "session_1_date_time": "1:56 pm on 8 May, 2023"}
    samples = [{"sample_id": name, "conversation": conversation, "qa": qa} for name in ("conv-26", "conv-30")]
    (folder / "locomo.json").write_text(json.dumps(samples))
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def reproducible(log):
    return [{n: v for n, v in line.items() if not n.startswith(("seconds", "tokens_per"))} for line in log]


@pytest.mark.parametrize(
    ("role", "more"),
    [
        ("manager", ["--beta", "0.05", "--growth-cost", "0.2", "--max-output", "40"]),
        ("answerer", ["--prompts", "2", "--passes", "2", "--updates", "2"]),
    ],
)
def test_a_resumed_run_ends_as_one_that_was_never_interrupted(agents, tmp_path, monkeypatch, role, more):
    # Random agents are never right; a reward that they can earn makes the steps differ.
    monkeypatch.setattr("train_ref.environment.answer_reward", lambda reply, *_: len(reply.text) % 3 / 2)
    train.main(command(agents, role, tmp_path / "whole", 4, *more))

    class Interrupted(Exception):
        pass

    one_step = train.Run.one_step

    def interrupted(run):
        if run.step == 3:
            raise Interrupted
        return one_step(run)

    monkeypatch.setattr(train.Run, "one_step", interrupted)
    with pytest.raises(Interrupted):  # a step after the checkpoint of step 2
        train.main(command(agents, role, tmp_path / "halves", 4, *more))
    monkeypatch.setattr(train.Run, "one_step", one_step)
    train.main(command(agents, role, tmp_path / "halves", 4, *more, "--resume"))
    whole, halves = (Transformer.load(tmp_path / name).state_dict() for name in ("whole", "halves"))
    start = Transformer.load(agents[role]).state_dict()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    assert any(not torch.equal(whole[name], start[name]) for name in whole)
    logs = [reproducible(lines(tmp_path / name / "log.jsonl")) for name in ("whole", "halves")]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == [0, 1, 2, 3, 4]
    assert lines(tmp_path / "whole" / "samples.jsonl") == lines(tmp_path / "halves" / "samples.jsonl")


def test_a_run_leaves_checkpoints_that_become_gguf_files_and_says_everything(agents, tmp_path, capsys):
    train.main(command(agents, "manager", tmp_path / "run", 2))
    out = capsys.readouterr().out
    assert "million trained parameters" in out
    card = json.loads((tmp_path / "run" / "best" / "memr1.json").read_text())
    assert card["training"]["kind"] == "grpo"
    assert card["training"]["settings"]["prompts"] == 4
    assert {"always NOOP", "always ADD", "right operations", "valid_reward"} <= set(card["figures"])
    to_gguf(tmp_path / "run" / "best", tmp_path / "agent.gguf")
    with LlamaModel.load(tmp_path / "agent.gguf", role="manager", prompt_version="manager-1") as model:
        assert model.trained_role == "manager"
    line = lines(tmp_path / "run" / "log.jsonl")[-1]
    for name in (
        "reward reward_spread no_signal truncated length distinct entropy kl clipped_low clipped_high kl_old gap"
        " grad_norm lr grown malformed tokens_per_second_sampling tokens_per_second_learning valid_reward"
    ).split():
        assert line[name] == line[name], name
    assert any(name.startswith("op_") for name in line)
    sample = lines(tmp_path / "run" / "samples.jsonl")[0]
    assert "<|assistant|>" in sample["prompt"]
    assert {"completion", "reward", "advantage", "ended"} <= set(sample)
    assert (tmp_path / "run" / "curve.png").stat().st_size > 1000


def test_other_settings_do_not_go_on_with_a_run(agents, tmp_path):
    train.main(command(agents, "answerer", tmp_path / "run", 1))
    with pytest.raises(ValueError, match="other settings"):
        train.main(command(agents, "answerer", tmp_path / "run", 2, "--clip-low", "0.1", "--resume"))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (["--valid", "2"], "valid 4, not 2"),
        (["--init", "answerer"], "init .*manager, not .*answerer"),
        (["--answerer", "manager"], "answerer .*answerer, not .*manager"),
        (["--data", "locomo"], "data None, not .*locomo.json"),
        (["--window", "3"], "window 50, not 3"),
    ],
)
def test_a_run_does_not_go_on_with_other_agents_or_other_tasks(agents, begun, tmp_path, other, said):
    option, value = other
    known = {name: str(folder) for name, folder in agents.items()} | {"locomo": str(begun / "locomo.json")}
    with pytest.raises(ValueError, match="begun with " + said):
        train.main(command(agents, "manager", begun / "run", 2, option, known.get(value, value), "--resume"))


def test_a_run_goes_on_from_another_folder(agents, begun, tmp_path, monkeypatch):
    shutil.copytree(begun / "run", tmp_path / "run")
    monkeypatch.chdir(agents["manager"].parent)
    near = ["--init", "manager", "--answerer", os.path.relpath(agents["answerer"])]
    train.main(command(agents, "manager", tmp_path / "run", 1, *near, "--resume"))


@pytest.mark.parametrize("wrong", [["manager"], ["answerer", "twice"]])
def test_a_manager_without_an_answerer_and_a_run_over_another_are_refused(agents, tmp_path, capsys, wrong):
    (tmp_path / "state.pt").touch()
    with pytest.raises(SystemExit):
        train.main([wrong[0], "--init", str(agents[wrong[0]]), "--out", str(tmp_path)])
    assert ("--answerer" if wrong == ["manager"] else "--resume") in capsys.readouterr().err


class Wants:
    """Rewards completions by what they say, to see the loop learn."""

    def __init__(self, inner, wanted):
        self.inner, self.wanted = inner, wanted

    def prompt(self, task):
        return self.inner.prompt(task)

    def judge(self, tasks, groups):
        rewards = [[float(r.values[:1] == (self.wanted,)) for r in group.rollouts] for group in groups]
        return Judged(torch.tensor(rewards), Counter())

    def constant_policies(self, tasks):
        return {}


def make_run(agents, role, config, out, wanted):
    make, environment = (
        (manager_task, ManagerEnvironment(None, config))
        if role == "manager"
        else (answerer_task, AnswererEnvironment(config))
    )
    held = random.Random(5)
    source = train.Source(lambda rng: make(rng, "train", 4), [make(held, "train", 4) for _ in range(8)])
    return train.Run(OwnPolicy.load(agents[role]), Wants(environment, wanted), source, config, out, {})


@pytest.mark.parametrize(("role", "wanted"), [("manager", "NOOP"), ("answerer", "NONE")])
def test_a_tiny_policy_learns_what_is_rewarded(agents, tmp_path, role, wanted):
    config = Config(prompts=8, group=8, max_output=6, lr=3e-3, warmup=1, steps=12, every=12)
    run = make_run(agents, role, config, tmp_path, wanted)
    before = run.one_step()["reward"]
    run.train()
    assert before < 0.6
    assert run.log[-1]["reward"] > 0.9
    assert run.log[-1]["valid_reward"] > 0.9


def test_a_run_stops_when_validation_does_not_become_better(agents, tmp_path):
    config = Config(prompts=2, group=2, max_output=4, steps=50, every=1, patience=3)
    run = make_run(agents, "manager", config, tmp_path, "nothing that can be said")
    run.train()
    assert run.step == 3  # the start is the best, three validations are no better


@pytest.mark.parametrize(("rewards", "kept"), [((0.5, 0.4, 0.5, 0.1), 0), ((0.5, 0.4, 0.6, 0.6), 2)])
def test_the_best_is_what_the_run_began_with_unless_something_is_better(agents, tmp_path, monkeypatch, rewards, kept):
    config = Config(prompts=2, group=2, max_output=4, steps=3, every=1, lr=1e-2, warmup=1)
    run = make_run(agents, "manager", config, tmp_path, "NOOP")
    validations = iter(rewards)
    monkeypatch.setattr(run, "validate", lambda: next(validations))
    run.train()
    card = json.loads((tmp_path / "best" / "memr1.json").read_text())
    assert card["training"]["steps"] == kept
    assert card["figures"]["valid_reward"] == rewards[kept]
    if kept == 0:
        best, start = (Transformer.load(folder).state_dict() for folder in (tmp_path / "best", agents["manager"]))
        assert all(torch.equal(best[name], start[name]) for name in start)
    assert run.best == torch.load(tmp_path / "state.pt", weights_only=False)["best"] == max(rewards)


def test_the_command_line_knows_every_setting_and_the_papers():
    parser = train.argparse.ArgumentParser()
    train.add_settings(parser)
    parser.add_argument("--paper", action="store_true")
    assert train.settings_of(parser.parse_args([])) == Config()
    assert train.settings_of(parser.parse_args(["--paper"])) == as_published(Config())
    given = "--paper --lr 0.5 --length constant --ratio-cap 2 --mask-truncated --group 6".split()
    expected = replace(as_published(Config()), lr=0.5, length="constant", ratio_cap=2.0, mask_truncated=True, group=6)
    assert train.settings_of(parser.parse_args(given)) == expected


def test_the_papers_settings_are_those_that_it_publishes():
    c = as_published(Config())
    assert (c.prompts, c.lr, c.temperature, c.max_output) == (128, 1e-6, 1.0, 2048)
    assert (c.advantage, c.reward, c.growth_cost) == ("std", "exact", 0.0)
