"""The exits to bigger engines: TRL learns from the same rollouts what we learn; verl's data and reward function."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from memr1_lite.answer_agent import AnswerTemplate, written_reply
from memr1_lite.llm import END
from memr1_lite.memory_manager import ManagerTemplate, written_operations
from train_ref.config import Config
from train_ref.environment import AnswererEnvironment
from train_ref.grpo import advantages
from train_ref.learner import Learner
from train_ref.policy import OwnPolicy
from train_ref.rollout import Group, score
from train_ref.tasks import answerer_task, manager_task
from train_ref.tiny import make_agent
from train_ref.verl_adapter import (
    completed,
    main,
    read_answerer_task,
    read_manager_task,
    values_of,
    written_answerer_task,
    written_manager_task,
)

needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs the extra parity")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_agent(tmp_path_factory.mktemp("agent") / "answerer", "answerer")


@needs_trl
@pytest.mark.filterwarnings("ignore")
def test_trl_learns_from_our_environment_what_our_learner_does_from_the_same_rollouts(folder, tmp_path, monkeypatch):
    from train_ref.parity import trl_parts, trl_settings
    from train_ref.trl_adapter import TrlRollouts, grpo_trainer

    # A random agent is never right; a reward that it can earn, by the length of what it says.
    monkeypatch.setattr("train_ref.environment.answer_reward", lambda reply, *_: len(reply.text) % 3 / 2)
    c = Config(lr=1e-2, adam_eps=1e-5, clip_high=0.2, max_output=12, seed=4)
    rng = random.Random(2)
    policy = OwnPolicy.load(folder)
    rollouts = TrlRollouts(
        AnswererEnvironment(c), [answerer_task(rng, "train", 3) for _ in range(2)], policy.vocabulary, c
    )
    model, tokenizer = trl_parts(folder)
    settings = trl_settings(
        c, tmp_path, per_device_train_batch_size=8, num_generations=4, max_steps=1, gradient_accumulation_steps=1
    )
    trainer = grpo_trainer(model, tokenizer, rollouts, settings)
    seen = {}
    compute = trainer._compute_loss
    judged = trainer._calculate_rewards
    monkeypatch.setattr(trainer, "_compute_loss", lambda m, i: seen.setdefault("loss", compute(m, i)))
    monkeypatch.setattr(trainer, "_calculate_rewards", lambda *a, **k: seen.setdefault("rewards", judged(*a, **k)))
    trainer.train()

    assert seen["rewards"].std() > 0
    assert any(mask is None for group in rollouts.last for mask in group.rollouts[0].allowed)
    everything = np.ones(policy.vocabulary.size, dtype=np.bool_)
    for group in rollouts.last:  # TRL scores over the whole vocabulary
        rollout = group.rollouts[0]
        rollout.allowed = [None if mask is None else everything for mask in rollout.allowed]
    groups = [Group(rollouts.last[p].prompt, tuple(g.rollouts[0] for g in rollouts.last[p : p + 4])) for p in (0, 4)]
    with torch.no_grad():
        old = score(policy, groups, 1.0)
    for row, rollout in enumerate(r for group in groups for r in group.rollouts):
        for index, place in enumerate(rollout.chosen):
            rollout.log_probs[place] = float(old.lp_BT[row, index])
    sums = Learner(policy, c).update(groups, advantages(seen["rewards"].view(2, 4)), rate=c.lr)
    assert sums["loss"] == pytest.approx(float(seen["loss"].detach()), abs=1e-6)
    theirs = {name.removeprefix("model."): p.detach() for name, p in model.named_parameters()}
    start = OwnPolicy.load(folder).model.state_dict()
    moved = max(float((theirs[name] - start[name]).abs().max()) for name in theirs)
    apart = max(float((theirs[name] - p.detach()).abs().max()) for name, p in policy.model.named_parameters())
    assert moved > 5e-3
    assert apart < 1e-4


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_what_is_right_is_read_back_from_its_text(split):
    rng = random.Random(1)
    for _ in range(60):
        task = manager_task(rng, split)
        values = written_operations(task.right, task.shown)
        text = "".join(value + ("\n" if value.startswith(" ") else "") for value in values if value != END)
        assert values_of(completed(text.strip()), ManagerTemplate(len(task.shown))) == values


def test_replies_are_read_back_from_their_text():
    template = AnswerTemplate(12)
    for values in (written_reply([0, 10], "two dogs"), written_reply([], None), written_reply([3], "a: b")):
        assert values_of("".join(values), template) == values


@pytest.mark.parametrize(
    "text", ["", "I think ADD", "UPDATE[9] x\n", "ADD \n", "NOOP and more", "UPDATE[1]", "DELETE[1]x"]
)
def test_what_is_not_an_output_is_not_read(text):
    assert values_of(completed(text), ManagerTemplate(2)) is None


def test_tasks_survive_the_way_through_a_file():
    rng = random.Random(4)
    managed, answered = manager_task(rng, "train"), answerer_task(rng, "train", 4)
    again = read_manager_task(json.loads(written_manager_task(managed)))
    assert (again.message, again.bank, again.shown, again.questions) == (
        managed.message, managed.bank, managed.shown, managed.questions,
    )  # fmt: skip
    assert read_answerer_task(json.loads(written_answerer_task(answered))) == answered


def load_as_verl_does():
    """From the file's path, as a module of a made-up name that is in sys.modules only while it loads."""
    path = Path(__file__).parents[1] / "train_ref" / "verl_adapter.py"
    spec = importlib.util.spec_from_file_location("custom_module", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_module"] = module
    spec.loader.exec_module(module)
    del sys.modules["custom_module"]
    return module.compute_score


def test_verl_reads_the_data_and_calls_the_function(folder, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    compute_score = load_as_verl_does()
    main(["answerer", "--tasks", "6", "--valid", "2", "--out", str(tmp_path / "a")])
    for row in pq.read_table(tmp_path / "a" / "train.parquet").to_pylist():
        task = read_answerer_task(json.loads(row["reward_model"]["ground_truth"]))
        right = "NONE" if task.answer is None else f"[1]: {task.answer}"
        arguments = (row["data_source"], right, row["reward_model"]["ground_truth"], row["extra_info"])
        assert compute_score(*arguments) == 1.0
        assert compute_score(arguments[0], "[1]: something else", *arguments[2:]) == 0.0
        assert compute_score(arguments[0], "the answer is " + right, *arguments[2:]) == 0.0
        assert row["prompt"][0]["role"] == "user"
        assert "Question:" in row["prompt"][0]["content"]
    main(["manager", "--tasks", "3", "--valid", "2", "--out", str(tmp_path / "m"), "--answerer", str(folder)])
    table = pq.read_table(tmp_path / "m" / "valid.parquet").to_pylist()
    assert len(table) == 2
    for row in table:
        score_of = [
            compute_score(row["data_source"], said, row["reward_model"]["ground_truth"], row["extra_info"])
            for said in ("NOOP", "ADD Somebody has a dog.", "no operation at all")
        ]
        assert all(0 <= value <= 1 for value in score_of)
        assert score_of[-1] == 0


def test_a_source_that_is_not_ours_is_refused():
    with pytest.raises(ValueError, match="openai/gsm8k"):
        load_as_verl_does()("openai/gsm8k", "4", "{}", {})
