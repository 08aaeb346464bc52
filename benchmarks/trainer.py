"""Our trainer against TRL's on the same tiny model, task and machine, in one run: ``python -m benchmarks.trainer``

Both take GRPO steps on one core in fp32 with the same number of prompts, completions and tokens at most. Three runs,
each in a process of its own, so that each has its own peak of memory:

- ``ours``: our sampler and learner
- ``trl+ours``: TRL's trainer over our environment and sampler (``train_ref.trl_adapter``)
- ``trl``: TRL alone: its own sampling, without an output template, as its users write it; prompts and limits are equal

Times are processor times of one thread, so that what else runs on the machine does not count. Outputs end where they
end: tokens per second are given beside steps per minute. One JSON line for each, then ratios.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from train_ref.config import Config
from train_ref.environment import AnswererEnvironment, AnswererTask
from train_ref.grpo import advantages
from train_ref.learner import Learner
from train_ref.model import ModelConfig, Transformer
from train_ref.policy import OwnPolicy
from train_ref.rollout import sample
from train_ref.tasks import answerer_task
from train_ref.tiny import make_agent

SIZES = {"tiny": (64, 2, 4, 2, 16, 96), "shipped": (256, 6, 4, 4, 64, 768)}


def checkpoint(folder: Path, size: str, seed: int = 0) -> Path:
    """An agent of random weights in the shape of ``size``."""
    make_agent(folder, "answerer", own_words=False)
    vocabulary = OwnPolicy.load(folder).vocabulary
    torch.manual_seed(seed)
    Transformer(ModelConfig(vocabulary.size, *SIZES[size])).save(folder, eos=vocabulary.end, pad=vocabulary.pad)
    return folder


def tasks_of(count: int, shown: int) -> list[AnswererTask]:
    """Questions over exactly ``shown`` candidates or a few less."""
    rng, tasks = random.Random(3), []
    while len(tasks) < count:
        task = answerer_task(rng, "train", shown)
        if len(task.candidates) >= shown * 3 // 4:
            tasks.append(task)
    return tasks


def settings(args: argparse.Namespace) -> Config:
    """The same for all."""
    return Config(prompts=args.prompts, group=args.group, max_output=args.max_output, steps=args.steps, clip_high=0.2)


def run_ours(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Sample and learn, with a reward that differs within every group, so that nothing is skipped."""
    c, policy = settings(args), OwnPolicy.load(folder)
    learner, environment = Learner(policy, c), AnswererEnvironment(c)
    tasks, generator = tasks_of(c.prompts * (c.steps + 1), args.shown), torch.Generator().manual_seed(1)
    sampling = learning = tokens = 0.0
    for step in range(c.steps + 1):
        if step == 1:  # the first warms up
            sampling = learning = tokens = 0.0
        began = time.process_time()
        prompts = [environment.prompt(task) for task in tasks[step * c.prompts : (step + 1) * c.prompts]]
        groups = sample(policy, prompts, c.group, temperature=1.0, max_output=c.max_output, generator=generator)
        rewards_PG = torch.arange(c.group).float().repeat(c.prompts, 1) % 2
        sampled = time.process_time()
        learner.update(groups, advantages(rewards_PG), rate=1e-5)
        sampling += sampled - began
        learning += time.process_time() - sampled
        tokens += sum(len(rollout.ids) for group in groups for rollout in group.rollouts)
    return figures(c.steps, sampling + learning, tokens, sampling, learning)


def run_trl(args: argparse.Namespace, folder: Path, *, our_sampler: bool) -> dict[str, float]:
    """TRL's trainer, timed from its second step on."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOTrainer

    from train_ref.parity import trl_parts, trl_settings
    from train_ref.trl_adapter import TrlRollouts, grpo_trainer

    c, began = settings(args), [0.0]
    sampling = tokens = 0.0
    model, tokenizer = trl_parts(folder)
    vocabulary = OwnPolicy.load(folder).vocabulary
    environment, tasks = AnswererEnvironment(c), tasks_of(c.prompts * (c.steps + 1), args.shown)
    arguments = trl_settings(
        c, folder, per_device_train_batch_size=c.prompts * c.group // args.micro, num_generations=c.group,
        gradient_accumulation_steps=args.micro, max_steps=c.steps + 1, seed=1,
    )  # fmt: skip

    class Clock(TrainerCallback):
        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
            nonlocal sampling, tokens
            if state.global_step == 1:
                began[0], sampling, tokens = time.process_time(), 0.0, 0.0

    def reward(completion_ids: list[list[int]], **_: object) -> list[float]:
        return [float(place % 2) for place in range(len(completion_ids))]

    if our_sampler:
        rollouts = TrlRollouts(environment, tasks, vocabulary, c)
        trainer = grpo_trainer(model, tokenizer, rollouts, arguments)
        trainer.reward_funcs = [reward]
    else:
        texts = [tokenizer.decode(vocabulary.prompt_ids(environment.prompt(task).segments)) for task in tasks]
        data = Dataset.from_dict({"prompt": texts})
        trainer = GRPOTrainer(
            model=model, processing_class=tokenizer, args=arguments, reward_funcs=reward, train_dataset=data
        )
    trainer.add_callback(Clock())
    trainer.remove_callback(PrinterCallback)
    generate = trainer._generate

    def timed(*more: Any, **named: Any) -> Any:  # noqa: ANN401
        nonlocal sampling, tokens
        start = time.process_time()
        made = generate(*more, **named)
        sampling += time.process_time() - start
        tokens += sum(map(len, made[1]))
        return made

    trainer._generate = timed
    trainer.train()
    seconds = time.process_time() - began[0]
    return figures(c.steps, seconds, tokens, sampling, seconds - sampling)


def figures(steps: int, seconds: float, tokens: float, sampling: float, learning: float) -> dict[str, float]:
    """What is reported. Tokens are those of outputs."""
    return {
        "steps_per_minute": round(60 * steps / seconds, 2),
        "output_tokens": tokens,
        "tokens_per_second_sampling": round(tokens / sampling, 1),
        "tokens_per_second_learning": round(tokens / learning, 1),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Run all three, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="shipped")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--max-output", type=int, default=16)
    parser.add_argument("--shown", type=int, default=12, help="candidates in a prompt")
    parser.add_argument(
        "--micro", type=int, default=2, help="micro-batches that TRL takes a step in; ours are of 4 prompts"
    )
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", choices=["ours", "trl+ours", "trl"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only:
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as temporary:
            folder = checkpoint(Path(temporary) / "agent", args.size)
            done = (
                run_ours(args, folder) if args.only == "ours" else run_trl(args, folder, our_sampler="+" in args.only)
            )
        print(json.dumps({"run": args.only} | done))
        return
    results = {}
    for name in ("ours", "trl+ours", "trl"):
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.trainer", *sys.argv[1:], "--only", name],
            stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_WAIT_POLICY": "passive"},
        )  # fmt: skip
        results[name] = json.loads(child.stdout.strip().splitlines()[-1])
        print(json.dumps(results[name]), flush=True)
    for name in ("trl+ours", "trl"):
        ratio = results["ours"]["steps_per_minute"] / results[name]["steps_per_minute"]
        print(f"ours takes {ratio:.2f} times the steps per minute of {name}")


if __name__ == "__main__":
    main()
