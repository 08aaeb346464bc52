"""Sampling: the same rules as at inference, and the same log-probabilities as in training and in llama.cpp."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rl_parts import answerer_prompts, manager_prompts

from convert.to_gguf import to_gguf
from memr1_lite.llama import LlamaModel
from memr1_lite.llama.wording import WORD, words_of
from memr1_lite.llm import Choice, FreeText, Segment
from memr1_lite.memory_manager import parse_operations
from train_ref.grpo import allowed_log_probs
from train_ref.policy import OwnPolicy
from train_ref.rollout import sample, score
from train_ref.tiny import make_agent

ROLES = {"manager": manager_prompts, "answerer": answerer_prompts}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {role: make_agent(tmp_path_factory.mktemp("agents") / role, role) for role in ROLES}


@pytest.fixture(scope="module")
def policies(folders):
    return {role: OwnPolicy.load(folder) for role, folder in folders.items()}


def sampled(policy, prompts, group=4, temperature=1.0, seed=0, max_output=60):
    generator = torch.Generator().manual_seed(seed)
    return sample(policy, prompts, group, temperature=temperature, max_output=max_output, generator=generator)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_trainer_scores_what_was_sampled_as_the_sampler_did(policies, role, temperature):
    prompts = ROLES[role](6)
    groups = sampled(policies[role], prompts, temperature=temperature)
    scored = score(policies[role], groups, temperature)
    assert int(scored.mask_BT.sum()) > 100
    assert (scored.lp_BT - scored.old_BT).abs().max() < 1e-5
    entropies = [rollout.entropies[place] for group in groups for rollout in group.rollouts for place in rollout.chosen]
    assert scored.entropy_BT[scored.mask_BT].tolist() == pytest.approx(entropies, abs=1e-4)
    # Another temperature is another distribution: this must be noticed.
    assert (score(policies[role], groups, 2.0).lp_BT - scored.old_BT).abs().max() > 0.01


@pytest.mark.parametrize("role", ROLES)
def test_packed_and_cached_log_probabilities_are_those_of_each_completion_alone(policies, role):
    policy, prompts = policies[role], ROLES[role](3, seed=5)
    for prompt, group in zip(prompts, sampled(policy, prompts), strict=True):
        ids = policy.vocabulary.prompt_ids(prompt.segments)
        for rollout in group.rollouts:
            with torch.no_grad():
                logits = policy.model(torch.tensor([[*ids, *rollout.ids]]))[0, len(ids) - 1 : -1]
            for place in rollout.chosen:
                allowed = torch.from_numpy(rollout.allowed[place])[None]
                alone = allowed_log_probs(logits[place][None], 1.0, allowed)[0, rollout.ids[place]]
                assert rollout.log_probs[place] == pytest.approx(alone.item(), abs=1e-5)


@pytest.mark.parametrize("role", ROLES)
def test_llama_cpp_gives_the_same_log_probabilities_from_the_same_weights(folders, policies, role, tmp_path):
    policy, prompts = policies[role], ROLES[role](3, seed=7)
    to_gguf(folders[role], tmp_path / "agent.gguf", outtype="F32")
    largest, count = 0.0, 0
    with LlamaModel.load(tmp_path / "agent.gguf", exact_cache=True) as model:
        for prompt, group in zip(prompts, sampled(policy, prompts), strict=True):
            ids = model.prompt_ids(prompt.segments)
            assert tuple(ids) == policy.vocabulary.prompt_ids(prompt.segments)
            for rollout in group.rollouts:
                logits = torch.from_numpy(model.logits([*ids, *rollout.ids]))[len(ids) - 1 : -1]
                for place in rollout.chosen:
                    allowed = torch.from_numpy(rollout.allowed[place])[None]
                    theirs = allowed_log_probs(logits[place][None], 1.0, allowed)[0, rollout.ids[place]].item()
                    largest = max(largest, abs(theirs - rollout.log_probs[place]))
                    count += 1
    assert count > 50
    assert largest < 1e-3


@pytest.mark.parametrize("role", ROLES)
def test_greedy_sampling_says_what_inference_says(folders, policies, role, tmp_path):
    prompts = ROLES[role](12, seed=11)
    to_gguf(folders[role], tmp_path / "agent.gguf", outtype="F32")
    groups = sample(policies[role], prompts, 1, temperature=0.0, max_output=400)
    compared = 0
    with LlamaModel.load(tmp_path / "agent.gguf", exact_cache=True) as model:
        for prompt, group in zip(prompts, groups, strict=True):
            (rollout,) = group.rollouts
            if rollout.ended:
                assert model.complete(prompt.segments, prompt.template).values == rollout.values
                compared += 1
    assert compared >= 6


def test_every_sampled_value_is_one_that_the_template_allows(policies):
    prompts = manager_prompts(8, seed=3)
    ended = 0
    for prompt, group in zip(prompts, sampled(policies["manager"], prompts, max_output=400), strict=True):
        for rollout in group.rollouts:
            for index, value in enumerate(rollout.values):
                step = prompt.template.next_step(rollout.values[:index])
                if isinstance(step, Choice):
                    assert value in step.options
                else:
                    assert isinstance(step, FreeText)
                    assert value.strip()
            if rollout.ended:
                ended += 1
                assert prompt.template.next_step(rollout.values) is None
    assert ended > 8


def test_sampled_words_were_read_or_are_the_agents_own(policies):
    policy, prompts = policies["manager"], manager_prompts(8, seed=4)
    words = 0
    for prompt, group in zip(prompts, sampled(policy, prompts, max_output=200), strict=True):
        read = words_of(" ".join(segment.text for segment in prompt.segments if not segment.trusted))
        for rollout in group.rollouts:
            for index, value in enumerate(rollout.values):
                if isinstance(prompt.template.next_step(rollout.values[:index]), FreeText):
                    for word in WORD.findall(value.encode()):
                        assert word in read | policy.vocabulary.own_words
                        words += 1
    assert words > 50


def test_the_end_of_an_output_is_among_the_chosen_tokens_and_nothing_comes_after_it(policies):
    policy, prompts = policies["answerer"], answerer_prompts(30)
    seen = 0
    for group in sampled(policy, prompts, max_output=200):
        for rollout in group.rollouts:
            if rollout.ended and rollout.ids[-1] == policy.vocabulary.end:
                assert rollout.chosen[-1] == len(rollout.ids) - 1
                seen += 1
    assert seen > 5


def test_the_gradient_reaches_the_end_token(policies):
    policy, prompts = policies["answerer"], answerer_prompts(20)
    groups = sampled(policy, prompts, max_output=200)
    scored = score(policy, groups, 1.0)
    ends = [
        row for row, r in enumerate(r for group in groups for r in group.rollouts) if r.ids[-1] == policy.vocabulary.end
    ]
    row = ends[0]
    scored.lp_BT[row, int(scored.mask_BT[row].sum()) - 1].backward()
    assert policy.model.embed_tokens.weight.grad[policy.vocabulary.end].abs().max() > 0
    policy.model.zero_grad()


def test_an_output_that_is_cut_keeps_exactly_what_was_sampled(policies):
    groups = sampled(policies["manager"], manager_prompts(4), max_output=3)
    cut = [rollout for group in groups for rollout in group.rollouts if not rollout.ended]
    assert cut
    assert {len(rollout.ids) for rollout in cut} == {3}
    assert all(rollout.ids[-1] != policies["manager"].vocabulary.end for rollout in cut)


def test_a_prompt_that_holds_the_end_token_is_scored_as_it_was_sampled(policies):
    policy, prompts = policies["manager"], manager_prompts(2)
    prompts = [replace(p, segments=(Segment("<|end|>", trusted=True), *p.segments)) for p in prompts]
    assert policy.vocabulary.end in policy.vocabulary.prompt_ids(prompts[0].segments)
    scored = score(policy, sampled(policy, prompts), 1.0)
    assert (scored.lp_BT - scored.old_BT).abs().max() < 1e-5


def test_a_seed_gives_the_same_completions_and_hot_ones_differ(policies):
    prompts = manager_prompts(4)
    one, same, other = (sampled(policies["manager"], prompts, seed=seed) for seed in (1, 1, 2))
    assert [[r.ids for r in group.rollouts] for group in one] == [[r.ids for r in group.rollouts] for group in same]
    assert [[r.ids for r in group.rollouts] for group in one] != [[r.ids for r in group.rollouts] for group in other]
    assert len({tuple(r.ids) for group in one for r in group.rollouts}) > 8


def test_draws_follow_the_allowed_probabilities(policies):
    policy, prompts = policies["answerer"], answerer_prompts(1, seed=2)
    (group,) = sampled(policy, prompts, group=2000, max_output=1)
    counts = np.unique([r.ids[0] for r in group.rollouts], return_counts=True)
    shares = {r.ids[0]: np.exp(r.log_probs[0]) for r in group.rollouts}
    assert abs(sum(shares.values()) - 1) < 0.02
    for token, count in zip(*counts, strict=True):
        assert abs(count / 2000 - shares[token]) < 4 * (shares[token] / 2000) ** 0.5 + 0.002


def test_two_passes_give_the_same_numbers(policies):
    policy, prompts = policies["manager"], manager_prompts(2)
    groups = sampled(policy, prompts)
    policy.model.train()
    assert torch.equal(score(policy, groups, 1.0).lp_BT, score(policy, groups, 1.0).lp_BT)


def test_what_was_sampled_parses_without_being_tokenised_again(policies):
    prompts = manager_prompts(6, seed=9)
    for group in sampled(policies["manager"], prompts, max_output=400):
        for rollout in group.rollouts:
            if rollout.ended and not any("[" in value for value in rollout.values):
                assert parse_operations(rollout.values, ())
