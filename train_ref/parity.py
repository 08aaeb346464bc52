"""Our loss, gradients and log-probabilities beside those of the installed TRL: ``python -m train_ref.parity``.

Two comparisons, from one tiny checkpoint that both sides read, ours as packed rows, TRL's as padded ones:

- *fixed tensors*: every combination of the options that both have, over prompts of several lengths, tokens that are
  not in the loss, and a completion without any;
- *replay*: TRL samples, rewards and trains by itself; its completions and rewards are given to our learner, which must
  end in the same weights.

Needs the extra ``parity``. Nothing is downloaded. Exit status 1 where a bound is missed.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train_ref import grpo
from train_ref.config import Config, Length
from train_ref.learner import Learner
from train_ref.policy import OwnPolicy
from train_ref.rollout import Group, Rollout, score
from train_ref.tiny import make_agent

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # TRL is never to look for anything outside

FIXED_BOUND, REPLAY_BOUND = 1e-5, 1e-4
REPLAY_EPS = 1e-5
"""Adam's epsilon in the replay, on both sides. Under the usual 1e-8 a gradient that is nothing but rounding, such as
that of a token that never occurs, moves its weight by the whole learning rate, this way or that."""
NAMES: dict[Length, str] = {"token": "dapo", "sequence": "grpo", "constant": "dr_grpo"}
"""What TRL calls our length normalisations."""
SCALES = {"mean": "none", "std": "group", "batch": "batch"}


@dataclass
class Worst:
    """The largest differences seen."""

    loss: float = 0.0
    gradient: float = 0.0
    log_prob: float = 0.0
    entropy: float = 0.0
    advantage: float = 0.0
    weight: float = 0.0

    def note(self, **differences: float) -> None:
        """Keep the larger of each; what is not a number counts as infinite."""
        for name, value in differences.items():
            value = value if value == value else float("inf")
            setattr(self, name, max(getattr(self, name), value))


def shared_options() -> Iterator[Config]:
    """Every combination of the options that TRL has too."""
    penalties: list[dict[str, Any]] = [{}, {"beta": 0.04, "penalty": "k3"}, {"beta": 0.04, "penalty": "unbiased"}]
    for length, ratio, penalty, temperature, high, cap in itertools.product(
        NAMES, ("token", "sequence"), penalties, (1.0, 0.7), (0.2, 0.28), (None, 1.5)
    ):
        yield Config(
            length=length, ratio=ratio, temperature=temperature, clip_high=high, ratio_cap=cap, max_output=7, **penalty
        )  # type: ignore[arg-type]


def trl_settings(c: Config, folder: Path, **more: Any) -> Any:  # noqa: ANN401 - TRL's own record
    """``c`` in TRL's words. Four of its defaults would make a comparison meaningless: bf16, checkpointing and both."""
    from trl import GRPOConfig

    settings: dict[str, Any] = {
        "output_dir": str(folder / "trl"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "report_to": [], "save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no",
        "per_device_train_batch_size": 6, "num_generations": 3, "max_completion_length": c.max_output,
        "loss_type": NAMES[c.length], "importance_sampling_level": c.ratio, "beta": c.beta,
        "use_bias_correction_kl": c.penalty == "unbiased", "temperature": c.temperature, "epsilon": c.clip_low,
        "epsilon_high": c.clip_high, "delta": c.ratio_cap, "scale_rewards": SCALES[c.advantage],
        "mask_truncated_completions": c.mask_truncated, "learning_rate": c.lr, "lr_scheduler_type": "constant",
        "weight_decay": 0.0, "max_grad_norm": c.max_grad_norm, "adam_epsilon": c.adam_eps, "top_k": 0, "top_p": 1.0,
    }  # fmt: skip
    return GRPOConfig(**(settings | more))


def trl_parts(folder: Path) -> tuple[Any, Any]:
    """The checkpoint as transformers reads it, and its tokenizer."""
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|end|>", pad_token="<|pad|>", padding_side="left"
    )
    model = Qwen3ForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    # transformers gives the pad token no gradient where it is read; a random model says it, and means it.
    model.model.embed_tokens.padding_idx = None
    return model, tokenizer


def some_groups(policy: OwnPolicy, temperature: float) -> tuple[list[Group], Tensor]:
    """Two prompts with three completions each; old log-probabilities far enough off for many tokens to be clipped."""
    rng = np.random.default_rng(4)
    size = policy.vocabulary.size
    everything = np.ones(size, dtype=np.bool_)
    groups = []
    for prompt_length, lengths in ((9, (7, 3, 5)), (4, (1, 6, 4))):
        rollouts = []
        for length in lengths:
            ids = rng.integers(0, size, length).tolist()
            chosen = rng.random(length) < (0.8 if length != 3 else 0.0)
            rollout = Rollout(ids=ids, allowed=[everything if c else None for c in chosen], ended=True)
            rollout.log_probs = [0.0] * length
            rollouts.append(rollout)
        groups.append(Group(tuple(rng.integers(0, size, prompt_length).tolist()), tuple(rollouts)))
    with torch.no_grad():
        scored = score(policy, groups, temperature)
    rows = [rollout for group in groups for rollout in group.rollouts]
    for row, rollout in enumerate(rows):
        for index, place in enumerate(rollout.chosen):
            rollout.log_probs[place] = float(scored.lp_BT[row, index]) + 0.35 * rng.standard_normal()
    return groups, torch.from_numpy(rng.standard_normal(len(rows))).float()


def padded(groups: list[Group], pad: int) -> dict[str, Tensor]:
    """The groups as TRL takes them: prompts padded on the left, completions on the right."""
    rows = [(group.prompt, rollout) for group in groups for rollout in group.rollouts]
    longest, most = max(len(p) for p, _ in rows), max(len(r.ids) for _, r in rows)

    def left(p: tuple[int, ...], fill: int, value: int | None = None) -> list[int]:
        return [fill] * (longest - len(p)) + [token if value is None else value for token in p]

    def right(values: list[Any], fill: float) -> list[Any]:
        return values + [fill] * (most - len(values))

    return {
        "prompt_ids": torch.tensor([left(p, pad) for p, _ in rows]),
        "prompt_mask": torch.tensor([left(p, 0, 1) for p, _ in rows]),
        "completion_ids": torch.tensor([right(r.ids, pad) for _, r in rows]),
        "completion_mask": torch.tensor([right([1] * len(r.ids), 0) for _, r in rows]),
        "tool_mask": torch.tensor([right([int(m is not None) for m in r.allowed], 0) for _, r in rows]),
        "old_per_token_logps": torch.tensor([right(r.log_probs, 0.0) for _, r in rows]),
    }


def compare_fixed(folder: Path, worst: Worst) -> int:
    """Loss, gradients, log-probabilities and entropies for all shared options; returns how many there were."""
    from datasets import Dataset
    from trl import GRPOTrainer

    policy = OwnPolicy.load(folder)
    count = 0
    for count, c in enumerate(shared_options(), start=1):  # noqa: B007 - the last number is the count
        groups, advantages_B = some_groups(policy, c.temperature)
        scored = score(policy, groups, c.temperature)
        ref_BT = scored.lp_BT.detach() + 0.3 * torch.sin(torch.arange(scored.lp_BT.numel())).view_as(scored.lp_BT)
        total, _ = grpo.loss_sum(scored.lp_BT, scored.old_BT, ref_BT, advantages_B, scored.mask_BT, c)
        lengths = [len(r.chosen) for g in groups for r in g.rollouts]
        loss = total / grpo.divisor(lengths, c.length, c.max_output)
        policy.model.zero_grad()
        loss.backward()

        model, tokenizer = trl_parts(folder)
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=trl_settings(c, folder),
            processing_class=tokenizer,
            train_dataset=Dataset.from_dict({"prompt": ["a", "b"]}),
        )
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        batch = padded(groups, policy.vocabulary.pad)
        chosen = batch["tool_mask"].bool()
        reference = torch.zeros(chosen.shape)
        reference[chosen] = ref_BT[scored.mask_BT]
        batch |= {"advantages": advantages_B, "num_items_in_batch": chosen.sum()}
        if c.beta:
            batch["ref_per_token_logps"] = reference
        theirs = trainer._compute_loss(trainer.model, batch)
        theirs.backward()
        with torch.no_grad():
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
            seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
            lp, spread, _ = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, seen, chosen.shape[1], compute_entropy=True
            )
        worst.note(
            loss=abs(float(loss - theirs)),
            gradient=gradient_difference(policy, trainer.model),
            log_prob=float((lp[chosen] - scored.lp_BT[scored.mask_BT]).abs().max()),
            entropy=float((spread[chosen] - scored.entropy_BT[scored.mask_BT]).abs().max()),
        )
    return count


def gradient_difference(policy: OwnPolicy, model: Any) -> float:  # noqa: ANN401 - a transformers model
    """Largest difference of a gradient, over the largest gradient."""
    theirs = {name.removeprefix("model."): p.grad for name, p in model.named_parameters()}
    ours = {name: p.grad for name, p in policy.model.named_parameters()}
    scale = max(float(g.abs().max()) for g in theirs.values())
    return max(float((theirs[name] - gradient).abs().max()) for name, gradient in ours.items()) / scale


def recorded_run(folder: Path, c: Config, steps: int) -> tuple[Any, list[dict[str, Any]]]:
    """Let TRL train for ``steps`` optimizer steps; returns its model, and per generation what it sampled."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    generations: list[dict[str, Any]] = []

    class Recorder(GRPOTrainer):
        def _calculate_rewards(self, *args: Any, **named: Any) -> Any:  # noqa: ANN401
            rewards = super()._calculate_rewards(*args, **named)
            generations.append({"rewards": rewards.sum(1), "windows": []})
            return rewards

        def _generate_and_score_completions(self, inputs: Any) -> Any:  # noqa: ANN401
            made = super()._generate_and_score_completions(inputs)
            generations[-1]["made"] = {name: v.clone() for name, v in made.items() if isinstance(v, Tensor)}
            return made

        def _compute_loss(self, model: Any, inputs: Any) -> Any:  # noqa: ANN401
            loss = super()._compute_loss(model, inputs)
            generations[-1]["windows"].append((
                {name: v.clone() for name, v in inputs.items() if isinstance(v, Tensor)}, float(loss.detach())
            ))  # fmt: skip
            return loss

    def reward(completion_ids: list[list[int]], **_: object) -> list[float]:
        return [float(sum(ids) % 3 == 0) for ids in completion_ids]

    model, tokenizer = trl_parts(folder)
    torch.manual_seed(3)
    trainer = Recorder(
        model=model,
        reward_funcs=reward,
        args=trl_settings(
            c, folder, per_device_train_batch_size=8, num_generations=4, gradient_accumulation_steps=2,
            steps_per_generation=2, num_iterations=c.passes, max_steps=steps, seed=5,
        ),
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": ["Andrew has a dog", "Who lives here now?", "two", "cats too"]}),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return model, generations


def rows_of(batch: dict[str, Tensor], mask_name: str = "completion_mask") -> list[Group]:
    """TRL's padded rows as groups of one; a row that TRL masks as a whole was truncated."""
    groups = []
    for p, pm, c, cm in zip(
        *(batch[n] for n in ("prompt_ids", "prompt_mask", "completion_ids", mask_name)), strict=True
    ):
        ids = c[cm.bool()].tolist()
        groups.append(Group(tuple(p[pm.bool()].tolist()), (Rollout(ids=ids, log_probs=[0.0] * len(ids), ended=True),)))
    return groups


def compare_replay(folder: Path, c: Config, steps: int, worst: Worst) -> int:
    """Give TRL's completions and rewards to our learner; returns the optimizer steps that were replayed."""
    model, generations = recorded_run(folder, c, steps)
    policy = OwnPolicy.load(folder)
    everything = np.ones(policy.vocabulary.size, dtype=np.bool_)
    learner = Learner(policy, c, policy.reference() if c.beta else None)
    done = 0
    for generation in generations:
        made = rows_of(generation["made"])
        rewards_PG = generation["rewards"].view(-1, 4)
        advantages_B = grpo.advantages(rewards_PG, c.advantage).flatten()
        worst.note(advantage=float((advantages_B - generation["made"]["advantages"]).abs().max()))
        known: dict[tuple[tuple[int, ...], ...], tuple[Group, Tensor]] = {}
        for group, advantage in zip(made, advantages_B, strict=True):
            (rollout,) = group.rollouts
            rollout.allowed = [everything] * len(rollout.ids)
            known[group.prompt, tuple(rollout.ids)] = group, advantage
        with torch.no_grad():  # what each was sampled with, before anything is learned from it
            scored = score(policy, made, c.temperature)
        for row, group in enumerate(made):
            count = len(group.rollouts[0].ids)
            group.rollouts[0].log_probs = scored.lp_BT[row, :count].tolist()
        windows = generation["windows"]
        for start in range(0, len(windows), 2):
            taken = [
                known[g.prompt, tuple(g.rollouts[0].ids)]
                for batch, _ in windows[start : start + 2]
                for g in rows_of(batch)
            ]
            rows = [group for group, _ in taken]
            sums = learner.update(rows, torch.stack([a for _, a in taken])[:, None], rate=c.lr)
            worst.note(loss=abs(sums["loss"] - sum(loss for _, loss in windows[start : start + 2])))
            done += 1
    theirs = {name.removeprefix("model."): p for name, p in model.named_parameters()}
    start_weights = OwnPolicy.load(folder).model.state_dict()
    differences, moved = [], []
    for name, ours in policy.model.named_parameters():
        differences.append(float((ours - theirs[name]).detach().abs().max()))
        moved.append(float((ours.detach() - start_weights[name]).abs().max()))
    assert max(moved) > 100 * REPLAY_BOUND, "the weights hardly moved: equal ends would prove nothing"
    worst.note(weight=max(differences))
    return done


def main() -> int:
    """Print what was compared; returns the exit status."""
    import transformers
    import trl

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # transformers deprecates what TRL uses
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_agent(Path(temporary) / "agent", "manager")
        fixed, replayed = Worst(), Worst()
        count = compare_fixed(folder, fixed)
        print(f"TRL {trl.__version__}. Largest differences over {count} combinations on fixed tensors:")
        print(
            f"  loss {fixed.loss:.1e}, gradient {fixed.gradient:.1e},"
            f" log-probability {fixed.log_prob:.1e}, entropy {fixed.entropy:.1e}"
        )
        base = Config(clip_high=0.2, lr=5e-3, warmup=0, max_output=8, passes=2, temperature=0.9, adam_eps=REPLAY_EPS)
        for c in (
            replace(base, length="token", advantage="std", beta=0.05, penalty="k3"),
            replace(base, length="sequence", advantage="mean", beta=0.05, penalty="unbiased"),
            replace(base, length="constant", advantage="batch", ratio="sequence"),
        ):
            steps = compare_replay(folder, c, 8, replayed)
            print(f"{steps} optimizer steps replayed: {NAMES[c.length]}, {c.advantage}, {c.ratio}, beta {c.beta}")
        print(
            f"  loss {replayed.loss:.1e}, weight at the end {replayed.weight:.1e}, advantage {replayed.advantage:.1e}"
        )
    within = max(fixed.loss, fixed.gradient, fixed.log_prob, fixed.entropy) < FIXED_BOUND and (
        max(replayed.weight, replayed.loss, replayed.advantage) < REPLAY_BOUND
    )
    print(f"{'Within' if within else 'OUTSIDE'} the bounds; {time.perf_counter() - began:.0f} s.")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
