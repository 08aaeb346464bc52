"""The memory plan of a run, beside what tensors really take on tiny models."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from test_hf_policy import base  # noqa: F401 - a fixture

from train_ref.config import Config
from train_ref.memory_plan import memory_plan
from train_ref.policy import OwnPolicy
from train_ref.rollout import Group, Rollout
from train_ref.tiny import make_agent

PROMPT, OUTPUT = 200, 64
CONFIG = Config(prompts=4, group=4, micro_prompts=2, max_output=OUTPUT)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return OwnPolicy.load(make_agent(tmp_path_factory.mktemp("agents") / "manager", "manager"))


def longest_groups(policy, count):
    """Groups in which every token of every completion was chosen, and none ended early."""

    def rollout():
        made = Rollout()
        made.ids = [5] * OUTPUT
        made.allowed = [np.ones(policy.vocabulary.size, np.bool_)] * OUTPUT
        return made

    return [Group((7,) * PROMPT, tuple(rollout() for _ in range(CONFIG.group))) for _ in range(count)]


def kept_bytes(model, run):
    """The bytes that autograd keeps for the backward pass of what ``run`` returns, weights aside, and that tensor."""
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    return sum(size for size, _ in kept.values()), result


def test_the_plan_of_our_own_model_is_what_its_tensors_take(own):
    plan = memory_plan(own, CONFIG, PROMPT)
    count = sum(p.numel() for p in own.model.parameters())
    assert (plan.trained, plan.weights, plan.optimizer, plan.reference) == (count, 4 * count, 12 * count, 0)
    assert memory_plan(own, Config(beta=0.1), PROMPT).reference == 4 * count
    session = own.begin([[7] * PROMPT] * CONFIG.prompts, CONFIG.group)
    for _ in range(OUTPUT):
        session.step(torch.full((CONFIG.prompts, CONFIG.group), 5))
    assert plan.cache == sum(tensor.nbytes for tensor in session._keys + session._values)
    groups = longest_groups(own, CONFIG.micro_prompts)
    kept, logits = kept_bytes(own.model, lambda: own.logits(groups))
    assert plan.logits == logits.nbytes == 2 * 4 * OUTPUT * own.model.config.vocab_size * 4
    assert plan.activations == pytest.approx(kept, rel=0.05)


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs the extra train-hf")
@pytest.mark.filterwarnings("ignore")
def test_the_plan_of_a_hugging_face_model_is_what_its_tensors_take(base):  # noqa: F811
    from train_ref.hf_policy import HfPolicy

    policy = HfPolicy(str(base), rank=4)
    plan = memory_plan(policy, Config(prompts=4, group=4, micro_prompts=2, max_output=OUTPUT, beta=0.1), PROMPT)
    trained = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    assert (plan.trained, plan.optimizer, plan.reference) == (trained, 12 * trained, 0)  # the reference is the base
    assert plan.weights > 4 * trained
    session = policy.begin([[7] * PROMPT] * CONFIG.prompts, CONFIG.group)
    for _ in range(OUTPUT):
        session.step(torch.full((CONFIG.prompts, CONFIG.group), 5))
    assert plan.cache == sum(layer.keys.nbytes + layer.values.nbytes for layer in session._cache.layers)
    assert plan.cache == 2 * 2 * 2 * 8 * 16 * (PROMPT + OUTPUT) * 4
    with torch.no_grad():
        assert plan.logits == policy.logits(longest_groups(policy, CONFIG.micro_prompts)).nbytes
    assert plan.activations == 2 * 32 * 8 * (PROMPT + OUTPUT) * 4  # layers, hidden, rows, tokens, bytes


def test_fewer_prompts_at_once_take_less(own):
    few = Config(prompts=2, group=4, micro_prompts=1, max_output=OUTPUT)
    plan, less = memory_plan(own, CONFIG, PROMPT), memory_plan(own, few, PROMPT)
    assert (less.cache, less.logits, less.activations) == (plan.cache // 2, plan.logits // 2, plan.activations // 2)
    for part in ("keys and values 0.9 MiB", "logits ", "activations ", "gradients and Adam "):
        assert part in str(plan)
