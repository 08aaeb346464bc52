"""One optimizer step: the same however it is cut, exact about groups without signal, and watchful."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from rl_parts import answerer_prompts, manager_prompts

from memr1_lite.answer_agent import AnswerTemplate, answer_prompt
from train_ref.config import Config
from train_ref.grpo import advantages
from train_ref.learner import Learner, MismatchError, _checked_gap, learning_rate, means
from train_ref.policy import OwnPolicy
from train_ref.rollout import Prompt, Scored, sample, score
from train_ref.tiny import make_agent

CONFIG = Config(prompts=8, group=4, lr=1e-3, warmup=1, max_output=40)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return OwnPolicy.load(make_agent(tmp_path_factory.mktemp("agent"), "manager"))


@pytest.fixture(scope="module")
def groups(policy):
    generator = torch.Generator().manual_seed(5)
    short, long = answerer_prompts(4, shown=2), manager_prompts(4, seed=1, shown=8)
    return sample(policy, [*short, *long], 4, temperature=1.0, max_output=40, generator=generator)


def rewards():
    torch.manual_seed(8)
    values = (torch.rand(8, 4) > 0.5).float()
    values[2], values[5] = 0.0, 1.0  # two groups that teach nothing
    return values


def gradients(policy, groups, advantages_PG, config, reference=None):
    """The gradient of a step, caught before the optimizer takes it."""
    fresh = OwnPolicy(copy.deepcopy(policy.model), policy.vocabulary)
    learner = Learner(fresh, replace(config, max_grad_norm=1e9), reference)
    caught = {}
    learner.optimizer.step = lambda: caught.update({n: p.grad.clone() for n, p in fresh.model.named_parameters()})
    sums = learner.update(groups, advantages_PG, rate=1e-3)
    return caught, sums


def largest_difference(one, other):
    scale = max(float(g.abs().max()) for g in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / scale


@pytest.mark.parametrize("length", ["token", "sequence", "constant"])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_one_batch_of_eight_is_two_of_four_is_eight_of_one(policy, groups, length, beta):
    lengths = [len(r.chosen) for g in groups for r in g.rollouts]
    assert max(lengths) > 3 * min(lengths)
    reference = OwnPolicy(copy.deepcopy(policy.model), policy.vocabulary)
    with torch.no_grad():
        reference.model.layers[0].mlp.up_proj.weight *= 1.1
    a = advantages(rewards())
    steps = [
        gradients(
            policy, groups, a, replace(CONFIG, length=length, beta=beta, micro_prompts=n), reference if beta else None
        )
        for n in (8, 4, 3, 1)  # 3 leaves a last, smaller one
    ]
    for caught, sums in steps[1:]:
        assert largest_difference(steps[0][0], caught) < 1e-5
        assert sums["loss"] == pytest.approx(steps[0][1]["loss"], abs=1e-6)
        assert sums["tokens"] == steps[0][1]["tokens"]


def test_groups_without_signal_are_left_out_without_a_trace(policy, groups, monkeypatch):
    a = advantages(rewards())
    skipped, sums = gradients(policy, groups, a, CONFIG)
    everything = [list(range(8))]
    monkeypatch.setattr(Learner, "_micro_batches", lambda *_: everything)
    whole, all_sums = gradients(policy, groups, a, CONFIG)
    assert largest_difference(whole, skipped) < 1e-6
    assert sums["tokens"] < all_sums["tokens"]
    assert sums["divisor"] == all_sums["divisor"] == all_sums["tokens"]


def test_a_step_without_any_signal_moves_the_weights_no_more_than_its_momentum(policy, groups):
    fresh = OwnPolicy(copy.deepcopy(policy.model), policy.vocabulary)
    learner = Learner(fresh, CONFIG)
    sums = learner.update(groups, torch.zeros(8, 4), rate=1e-3)
    assert sums["grad_norm"] == 0
    before, after = policy.model.state_dict(), fresh.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_group_in_which_nothing_was_chosen_changes_nothing_under_a_penalty_either(policy, groups):
    reference = OwnPolicy(copy.deepcopy(policy.model), policy.vocabulary)
    with torch.no_grad():
        reference.model.layers[0].mlp.up_proj.weight *= 1.1
    (forced,) = sample(
        policy, [Prompt(answer_prompt("Who?", ()), AnswerTemplate(0))], 4, temperature=1.0, max_output=40
    )
    assert not any(rollout.chosen for rollout in forced.rollouts)
    c = replace(CONFIG, beta=0.1, micro_prompts=1, length="token")
    a = advantages(rewards())
    without, _ = gradients(policy, groups, a, c, reference)
    beside, _ = gradients(policy, [*groups, forced], torch.cat((a, torch.zeros(1, 4))), c, reference)
    assert largest_difference(without, beside) < 1e-6
    alone, _ = gradients(policy, [forced], torch.zeros(1, 4), c, reference)
    assert all(not gradient.any() for gradient in alone.values())


def test_what_was_cut_leaves_the_loss_where_asked_for(policy, groups):
    a = advantages(rewards())
    cut = [not r.ended for g in groups for r in g.rollouts]
    assert 3 < sum(cut) < len(cut)
    whole, _ = gradients(policy, groups, a, CONFIG)
    masked, sums = gradients(policy, groups, a, replace(CONFIG, mask_truncated=True))
    assert sums["divisor"] == sum(len(r.chosen) for g in groups for r in g.rollouts if r.ended)
    assert largest_difference(whole, masked) > 0.01


def test_nothing_is_clipped_on_the_first_pass_and_something_on_later_ones(policy, groups):
    fresh = OwnPolicy(copy.deepcopy(policy.model), policy.vocabulary)
    learner = Learner(fresh, replace(CONFIG, passes=3))
    a = advantages(rewards())
    first = learner.update(groups, a, rate=5e-3, fresh=True)
    assert first["clipped_low"] == first["clipped_high"] == 0
    assert first["kl_old"] < 1e-6
    later = learner.update(groups, a, rate=5e-3)
    assert later["clipped_low"] + later["clipped_high"] > 0
    assert means(later)["kl_old"] > 1e-3


def test_learning_makes_what_was_rewarded_likelier(policy, groups):
    fresh = OwnPolicy(copy.deepcopy(policy.model), policy.vocabulary)
    learner = Learner(fresh, CONFIG)
    a = advantages(rewards())
    learner.update(groups, a, rate=1e-4, fresh=True)
    after = score(fresh, groups, 1.0)
    gain = ((after.lp_BT - after.old_BT) * after.mask_BT).sum(1).detach()
    assert float((gain * a.flatten()).sum()) > 0


def test_a_sampler_of_another_opinion_is_noticed(policy, groups):
    fresh = OwnPolicy(copy.deepcopy(policy.model), policy.vocabulary)
    with torch.no_grad():
        fresh.model.embed_tokens.weight *= 1.01
    with pytest.raises(MismatchError, match="differ"):
        Learner(fresh, CONFIG).update(groups, advantages(rewards()), rate=0.1, fresh=True)


def test_one_token_may_be_rounded_and_no_more():
    mask_BT = torch.ones(1, 100, dtype=torch.bool)
    zeros_BT = torch.zeros(1, 100)
    rounded_BT, wrong_BT = zeros_BT.clone(), zeros_BT.clone()
    rounded_BT[0, 7], wrong_BT[0, 7] = 9e-5, 2e-4
    gap = _checked_gap(Scored(zeros_BT, rounded_BT, zeros_BT, mask_BT), 1e-5)
    assert gap == pytest.approx(9e-5)
    padded_BT, padding_BT = mask_BT.clone(), rounded_BT.clone()
    padded_BT[0, 50], padding_BT[0, 50] = False, 1.0
    assert _checked_gap(Scored(zeros_BT, padding_BT, zeros_BT, padded_BT), 1e-5) == pytest.approx(9e-5)
    with pytest.raises(MismatchError, match="in one"):
        _checked_gap(Scored(zeros_BT, wrong_BT, zeros_BT, mask_BT), 1e-5)
    with pytest.raises(MismatchError, match="in the mean"):
        _checked_gap(Scored(zeros_BT, zeros_BT + 2e-5, zeros_BT, mask_BT), 1e-5)


def test_the_penalty_is_zero_before_the_first_step_and_not_after(policy, groups):
    fresh = OwnPolicy(copy.deepcopy(policy.model), policy.vocabulary)
    learner = Learner(fresh, replace(CONFIG, beta=0.1), fresh.reference())
    assert means(learner.update(groups, advantages(rewards()), rate=1e-3, fresh=True))["kl"] == 0
    assert means(learner.update(groups, advantages(rewards()), rate=1e-3))["kl"] > 0


def test_a_penalty_without_a_reference_is_refused(policy):
    with pytest.raises(ValueError, match="reference"):
        Learner(policy, replace(CONFIG, beta=0.1))


def test_the_learning_rate_rises_and_then_stays():
    c = replace(CONFIG, lr=4.0, warmup=4)
    assert [learning_rate(step, c) for step in range(6)] == [1.0, 2.0, 3.0, 4.0, 4.0, 4.0]
