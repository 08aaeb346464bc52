"""The mathematics of train_ref.grpo against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import tensor

from train_ref import grpo
from train_ref.config import Config, as_published

PLAIN = Config(clip_high=0.2)


def test_advantages_are_rewards_less_the_mean_of_their_own_group():
    rewards = tensor([[1.0, 0.0, 0.0, 1.0], [5.0, 9.0, 5.0, 5.0]])
    assert grpo.advantages(rewards).tolist() == [[0.5, -0.5, -0.5, 0.5], [-1.0, 3.0, -1.0, -1.0]]


def test_a_deviation_divides_with_bessels_correction():
    # One success in four: mean 1/4, deviation sqrt((9/16 + 3/16) / 3) = 1/2.
    got = grpo.advantages(tensor([[1.0, 0.0, 0.0, 0.0]]), "std")
    assert got[0].tolist() == pytest.approx([0.75 / 0.5001, *[-0.25 / 0.5001] * 3])


def test_the_batch_deviation_is_that_of_all_rewards():
    rewards = tensor([[1.0, 0.0], [3.0, 1.0]])
    deviation = math.sqrt((0.25**2 + 1.25**2 + 1.75**2 + 0.25**2) / 3) + 1e-4
    expected = tensor([[0.5, -0.5], [1.0, -1.0]]) / deviation
    assert torch.allclose(grpo.advantages(rewards, "batch"), expected)


@pytest.mark.parametrize("scale", ["mean", "std", "batch"])
def test_equal_rewards_give_exactly_nothing_also_where_their_mean_is_rounded(scale):
    rewards = tensor([[0.7] * 12, [0.0] * 6 + [1.0] * 6])
    assert (rewards[0] - rewards[0].mean()).abs().max() > 0  # this is why
    got = grpo.advantages(rewards, scale)
    assert got[0].tolist() == [0.0] * 12
    assert got[1].abs().min() > 0
    assert grpo.has_signal(rewards).tolist() == [False, True]


def test_log_probabilities_are_those_of_the_allowed_tokens_at_the_temperature():
    logits = tensor([[0.0, math.log(4.0), 9.0]])
    allowed = tensor([[True, True, False]])
    got = grpo.allowed_log_probs(logits, 2.0, allowed)[0].exp().tolist()
    assert got == pytest.approx([1 / 3, 2 / 3, 0.0])
    assert grpo.entropy(grpo.allowed_log_probs(logits, 2.0, allowed)).item() == pytest.approx(
        math.log(3) - 2 / 3 * math.log(2)
    )


def test_half_precision_logits_are_widened_before_the_temperature_divides_them():
    logits = tensor([[10.0, 10.0625]], dtype=torch.bfloat16)
    assert grpo.allowed_log_probs(logits, 3.0)[0].exp().tolist() == pytest.approx(
        [1 / (1 + math.exp(0.0625 / 3)), 1 / (1 + math.exp(-0.0625 / 3))]
    )


def test_a_sequence_ratio_is_the_mean_over_its_own_tokens():
    lp, old = tensor([[1.0, 2.0, 7.0]]), tensor([[0.5, 1.0, 0.0]])
    mask = tensor([[1.0, 1.0, 0.0]])
    assert grpo.log_ratios(lp, old, mask, "token").tolist() == [[0.5, 1.0, 7.0]]
    assert grpo.log_ratios(lp, old, mask, "sequence").tolist() == [[0.75] * 3]
    assert grpo.log_ratios(lp, old, mask * 0, "sequence").tolist() == [[0.0] * 3]


def test_clipping_takes_the_worse_of_both_terms_on_either_side():
    ratio = tensor([[0.5, 1.0, 1.5, 3.0]])
    up = grpo.policy_losses(ratio, tensor([2.0]), 0.2, 0.3, None)
    assert up[0].tolist() == pytest.approx([-1.0, -2.0, -2.6, -2.6])
    down = grpo.policy_losses(ratio, tensor([-2.0]), 0.2, 0.3, None)
    assert down[0].tolist() == pytest.approx([1.6, 2.0, 3.0, 6.0])
    capped = grpo.policy_losses(ratio, tensor([-2.0]), 0.2, 0.3, 2.0)
    assert capped[0].tolist() == pytest.approx([1.6, 2.0, 3.0, 4.0])


def test_huge_ratios_stay_finite():
    got = grpo.log_ratios(tensor([[500.0]]), tensor([[0.0]]), tensor([[1.0]]), "token").exp()
    assert torch.isfinite(got).all()
    assert torch.isfinite(grpo.divergences(tensor([[-500.0]]), tensor([[0.0]]))).all()


def test_k3_is_zero_for_equal_policies_and_worked_out_by_hand_otherwise():
    got = grpo.divergences(tensor([[0.0, math.log(0.5)]]), tensor([[0.0, math.log(0.25)]]))
    assert got[0].tolist() == pytest.approx([0.0, 0.5 - math.log(0.5) - 1])


def expected_gradient(kind):
    """Of the penalty, over all five tokens of a categorical policy, weighted by their probability."""
    logits = tensor([0.5, -1.0, 2.0, 0.0, 0.3], requires_grad=True)
    reference = tensor([0.1, 1.0, -0.5, 0.4, 0.0]).log_softmax(0)
    lp = logits.log_softmax(0)[None]
    p = lp.detach().exp()
    ratio = (lp - lp.detach()).exp()
    (p * grpo.penalties(lp, reference[None], ratio, kind)).sum().backward()
    return logits.grad, reference


def exact_gradient(divergence):
    logits = tensor([0.5, -1.0, 2.0, 0.0, 0.3], requires_grad=True)
    reference = tensor([0.1, 1.0, -0.5, 0.4, 0.0]).log_softmax(0)
    divergence(logits.log_softmax(0), reference).backward()
    return logits.grad


def test_the_unbiased_penalty_has_the_gradient_of_the_divergence_from_the_reference():
    got, _ = expected_gradient("unbiased")
    exact = exact_gradient(lambda lp, ref: (lp.exp() * (lp - ref)).sum())
    assert torch.allclose(got, exact, atol=1e-6)


def test_plain_k3_has_the_gradient_of_the_other_divergence():
    got, _ = expected_gradient("k3")
    other = exact_gradient(lambda lp, ref: (ref.exp() * (ref - lp)).sum())
    assert torch.allclose(got, other, atol=1e-6)
    assert not torch.allclose(got, exact_gradient(lambda lp, ref: (lp.exp() * (lp - ref)).sum()), atol=1e-2)


def test_the_divisors():
    lengths = [2, 0, 6]
    assert grpo.divisor(lengths, "token", 10) == 8
    assert grpo.divisor(lengths, "sequence", 10) == 3
    assert grpo.divisor(lengths, "constant", 10) == 30
    assert grpo.divisor([0, 0], "token", 10) == 1


@pytest.mark.parametrize(
    ("length", "expected"),
    # Two rows of 1 and 3 tokens, ratio 1, advantages 4 and -2: each token loses -A.
    [("token", (-4 + 6) / 4), ("sequence", (-4 + 2) / 2), ("constant", (-4 + 6) / 20)],
)
def test_the_whole_loss_by_hand(length, expected):
    lp = tensor([[-1.0, -9.0, -9.0], [-1.0, -2.0, -3.0]])
    mask = tensor([[True, False, False], [True, True, True]])
    c = replace(PLAIN, length=length, max_output=10)
    total, sums = grpo.loss_sum(lp, lp, None, tensor([4.0, -2.0]), mask, c)
    assert total.item() / grpo.divisor([1, 3], length, 10) == pytest.approx(expected)
    assert sums["tokens"] == 4
    assert sums["clipped_low"] == sums["clipped_high"] == sums["kl_old"] == 0


def test_on_the_first_pass_the_loss_may_be_zero_while_its_gradient_is_not():
    lp = tensor([[-1.0], [-1.0]], requires_grad=True)
    total, _ = grpo.loss_sum(lp, lp.detach(), None, tensor([0.5, -0.5]), torch.ones(2, 1), PLAIN)
    total.backward()
    assert total.item() == 0
    assert lp.grad.tolist() == [[-0.5], [0.5]]


@pytest.mark.parametrize("length", ["token", "sequence", "constant"])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_padding_columns_change_nothing(length, ratio):
    torch.manual_seed(3)
    c = replace(PLAIN, length=length, ratio=ratio, beta=0.1, max_output=9)
    lp, old, ref = (-torch.rand(4, 5) for _ in range(3))
    mask = torch.arange(5) < tensor([[5], [1], [3], [0]])
    a = tensor([1.0, -1.0, 0.5, 2.0])
    padded = [torch.nn.functional.pad(x, (0, 6), value=-7.0) for x in (lp, old, ref)]
    one, _ = grpo.loss_sum(lp, old, ref, a, mask, c)
    other, _ = grpo.loss_sum(*padded, a, torch.nn.functional.pad(mask, (0, 6)), c)
    assert one.item() == pytest.approx(other.item(), rel=1e-6)


def test_clipped_tokens_are_counted_on_the_side_that_they_left():
    old = torch.zeros(2, 2)
    lp = tensor([[1.0, 0.0], [-1.0, 0.0]])
    _, sums = grpo.loss_sum(lp, old, None, tensor([1.0, -1.0]), torch.ones(2, 2), PLAIN)
    assert (sums["clipped_high"], sums["clipped_low"]) == (1, 1)


def test_impossible_settings_are_refused():
    refused = {"group of 1": {"group": 1}, "dealt out": {"prompts": 6, "updates": 4}}
    refused |= {"ratio_cap": {"ratio_cap": 1.1}, "temperature": {"temperature": 0.0}}
    for words, wrong in refused.items():
        with pytest.raises(ValueError, match=words):
            replace(Config(), **wrong)


def test_the_published_settings_divide_by_the_deviation_and_hold_to_the_reference():
    paper = as_published(Config(seed=7))
    assert (paper.advantage, paper.length, paper.beta, paper.lr, paper.prompts) == ("std", "sequence", 0.001, 1e-6, 128)
    assert paper.seed == 7
