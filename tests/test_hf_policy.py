"""A Hugging Face model with a LoRA as the policy: a random tiny Qwen2, no download."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import gguf_maker
import pytest
import torch
from rl_parts import manager_prompts

from memr1_lite import answer_agent
from memr1_lite.memory_manager import INSTRUCTIONS
from memr1_lite.records import Candidate
from train_ref import answering, train
from train_ref.config import Config
from train_ref.grpo import advantages
from train_ref.learner import Learner, means
from train_ref.rollout import sample, score
from train_ref.tasks import answerer_task, manager_task

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs the extra train-hf"),
    pytest.mark.filterwarnings("ignore"),  # transformers and peft warn about each other
]
CONFIG = Config(prompts=4, group=4, lr=1e-2, warmup=1, max_output=24, max_gap=1e-4)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = gguf_maker.make_checkpoint(tmp_path_factory.mktemp("base") / "qwen2", chatml=True)
    old = json.loads((folder / "config.json").read_text())
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=old["vocab_size"], hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, tie_word_embeddings=True, eos_token_id=[old["eos_token_id"], old["pad_token_id"]],
        pad_token_id=old["pad_token_id"], bos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    # A model's own habits, which must not matter here.
    model.generation_config.update(do_sample=True, top_k=2, top_p=0.5, repetition_penalty=3.0, temperature=0.1)
    model.save_pretrained(folder)
    return folder


def fresh(base, **more):
    from train_ref.hf_policy import HfPolicy

    return HfPolicy(str(base), rank=4, **more)


def sampled(policy, prompts, seed=0, temperature=1.0):
    generator = torch.Generator().manual_seed(seed)
    return sample(policy, prompts, 4, temperature=temperature, max_output=24, generator=generator)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_trainer_scores_what_was_sampled_as_the_sampler_did(base, checkpointing):
    policy, prompts = fresh(base, checkpointing=checkpointing), manager_prompts(4, shown=2)
    groups = sampled(policy, prompts, temperature=0.8)
    scored = score(policy, groups, 0.8)
    assert int(scored.mask_BT.sum()) > 50
    assert (scored.lp_BT - scored.old_BT).abs().max() < 1e-4
    assert len({tuple(r.ids) for g in groups for r in g.rollouts}) > 10  # its own top_k of 2 would allow few


def test_after_an_update_sampler_and_trainer_still_agree_and_the_base_is_the_reference(base):
    policy, prompts = fresh(base), manager_prompts(4, shown=2)
    reference = policy.reference()
    learner = Learner(policy, replace(CONFIG, beta=0.1), reference)
    groups = sampled(policy, prompts)
    a = advantages((torch.rand(4, 4, generator=torch.Generator().manual_seed(2)) > 0.5).float())
    first = learner.update(groups, a, rate=1e-2, fresh=True)
    assert means(first)["kl"] == pytest.approx(0, abs=1e-9)
    assert means(learner.update(groups, a, rate=1e-2))["kl"] > 1e-5
    again = sampled(policy, prompts, seed=3)
    assert (score(policy, again, 1.0).lp_BT - score(policy, again, 1.0).old_BT).abs().max() < 1e-4
    assert (score(reference, groups, 1.0).lp_BT - score(policy, groups, 1.0).old_BT).abs().max() < 1e-4
    greedy = [sample(p, prompts, 1, temperature=0.0, max_output=24) for p in (policy, reference)]
    assert [g.rollouts[0].ids for g in greedy[0]] != [g.rollouts[0].ids for g in greedy[1]]


def test_a_lora_that_is_continued_is_its_own_reference(base, tmp_path):
    policy, prompts = fresh(base), manager_prompts(4, shown=2)
    a = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]] * 4))
    Learner(policy, CONFIG).update(sampled(policy, prompts), a, rate=1e-1)
    policy.save(tmp_path / "lora")
    went_on = fresh(base, adapter=tmp_path / "lora")
    groups = sampled(went_on, prompts)
    reference = went_on.reference()
    learner = Learner(went_on, replace(CONFIG, beta=0.1), reference)
    assert means(learner.update(groups, a, rate=1e-1, fresh=True))["kl"] == pytest.approx(0, abs=1e-9)
    assert means(learner.update(groups, a, rate=1e-1))["kl"] > 1e-6
    assert not any("reference" in name for name in went_on.state())
    # The base alone would have been another reference.
    held_to = score(reference, groups, 1.0).lp_BT
    with went_on.model.disable_adapter():
        assert (score(went_on, groups, 1.0).lp_BT - held_to).abs().max() > 1e-3


def test_several_ends_are_never_free_text_and_the_template_writes_one_of_them(base):
    vocabulary = fresh(base).vocabulary
    assert len(vocabulary.ends) == 2
    assert vocabulary.end in vocabulary.ends
    assert not any(vocabulary.free_text[end] for end in vocabulary.ends)


@pytest.mark.parametrize("role", ["manager", "answerer"])
def test_the_papers_experiment_runs_from_end_to_end_and_resumes_to_the_bit(base, tmp_path, monkeypatch, role):
    monkeypatch.setattr("train_ref.environment.answer_reward", lambda reply, *_: len(reply.text) % 3 / 2)
    # A vocabulary of 400 tokens makes prompts long; small tasks keep them bearable.
    monkeypatch.setattr(train, "manager_task", lambda rng, split: manager_task(rng, split, 2))
    monkeypatch.setattr(train, "answerer_task", lambda rng, split: answerer_task(rng, split, 3))
    small = "--prompts 4 --group 4 --max-output 24 --lr 1e-2 --every 1 --valid 2 --rank 4 --max-gap 1e-4 --beta 0.01"
    frozen = ["--answerer", "base"] if role == "manager" else []

    def run(out, steps, *more):
        train.main(
            [role, "--base", str(base), *frozen, "--out", str(out), "--steps", str(steps), *small.split(), *more]
        )

    run(tmp_path / "whole", 2)
    run(tmp_path / "halves", 1)
    run(tmp_path / "halves", 2, "--resume")
    from safetensors.torch import load_file

    whole, halves = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    assert any(value.abs().max() > 0 for name, value in whole.items() if "lora_B" in name)
    sampled_text = json.loads((tmp_path / "whole" / "samples.jsonl").read_text().splitlines()[0])["prompt"]
    assert (INSTRUCTIONS[:40] in sampled_text) == (role == "manager")


def test_a_manager_is_rewarded_through_a_lora_that_was_trained_on_the_same_base(base, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "manager_task", lambda rng, split: manager_task(rng, split, 2))
    trained = fresh(base)
    with torch.no_grad():
        for name, weights in trained.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(0, 0.1, generator=torch.Generator().manual_seed(3))
    trained.save(tmp_path / "answerer")
    asked = []

    def watched(policy, prompts, *more, **named):
        asked.append((policy, ["".join(segment.text for segment in prompt.segments) for prompt in prompts]))
        return sample(policy, prompts, *more, **named)

    monkeypatch.setattr(answering, "sample", watched)
    small = "--prompts 2 --group 2 --max-output 24 --steps 1 --valid 1 --rank 4 --max-gap 1e-4".split()
    frozen = ["--answerer", str(tmp_path / "answerer")]
    train.main(["manager", "--base", str(base), *frozen, "--out", str(tmp_path / "run"), *small])
    policy, prompts = asked[0]
    assert all(text.startswith(answer_agent.INSTRUCTIONS) for text in prompts)
    theirs = trained.state()
    assert all(torch.equal(value, theirs[name]) for name, value in policy.state().items())
    # Its folder names the base, so that a reward function without --base finds it too.
    alone = answering.frozen_answerer(tmp_path / "answerer")
    question = ("Where does Andrew live?", (Candidate(kind="memory", id=1, text="Andrew lives in Lyon."),))
    one = answering.PolicyAnswerer(trained, instructions=answer_agent.INSTRUCTIONS).answer_all([question])
    assert alone.answer_all([question]) == one


def test_the_base_as_answer_agent_needs_a_base(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["manager", "--init", "x", "--answerer", "base", "--out", str(tmp_path)])
    assert "--base" in capsys.readouterr().err
