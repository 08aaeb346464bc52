"""Memory-R1's claim in miniature: from a cheap teacher, on answers alone, does GRPO repair the Memory Manager?

``python -m train_ref.miniature --manager runs/manager --answerer runs/answerer --out runs/miniature --seeds 1 2 3``

The teacher is a rule that errs as untrained models do: what should be updated it deletes and adds anew without what was
known, what is repeated it adds once more, what is taken back it leaves alone. A Manager is taught that by supervision
(no right operation label is used), then trained by GRPO on whether questions are answered right; the Answer Agent is
trained from where it stands. All four pairs of agents are measured on the same held-out tasks. ``--questions 152`` is
the paper's regime: tasks are drawn from a fixed set with that many questions. A seed that is done is not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from memr1_lite.llm import Choice, Forced, OutputTemplate, Segment
from memr1_lite.memory_manager import written_operations
from memr1_lite.records import Add, Delete, Noop, Operation
from train_ref.answering import CachedAnswerer, PolicyAnswerer
from train_ref.config import Config
from train_ref.environment import AnswererEnvironment, AnswererTask, ManagerEnvironment, ManagerTask
from train_ref.loop import Run, Source
from train_ref.policy import OwnPolicy
from train_ref.rollout import Group, Rollout, sample
from train_ref.tasks import answerer_task, manager_task, told_task
from train_ref.vocabulary import AgentVocabulary
from train_ref.world.facts import Said

CANDIDATES = 12
"""Shown to an Answer Agent: as many as a bank of these tasks holds."""
T_95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for 95 % by the number of seeds."""


def cheap_operations(task: ManagerTask, said: Said) -> tuple[Operation, ...]:
    """What the teacher would do."""
    places = {memory.text: memory for memory in task.shown}
    done: list[Operation] = []
    for effect in said.effects:
        target = places.get(effect.target.text()) if effect.target else None
        if effect.result is None:
            continue  # it is unsure what was taken back
        if target is not None and effect.result != effect.target and target.id not in _named(done):
            done.append(Delete(op="DELETE", memory_id=target.id, version=target.version))
        new = effect.alone or effect.result
        done.append(Add(op="ADD", text=new.text()))
    return tuple(done[:4]) or (Noop(op="NOOP"),)


def _named(done: Sequence[Operation]) -> list[int]:
    return [operation.memory_id for operation in done if isinstance(operation, Delete)]


def output_ids(vocabulary: AgentVocabulary, values: Sequence[str], template: OutputTemplate) -> list[int]:
    """The ids that say ``values``, stops included."""
    ids: list[int] = []
    for index, value in enumerate(values):
        step = template.next_step(tuple(values[:index]))
        trusted = isinstance(step, Choice | Forced)
        ids += vocabulary.tokenize(Segment(value, trusted=trusted))
        if not trusted and step is not None:
            ids += vocabulary.tokenize(Segment(step.stop, trusted=True))  # type: ignore[union-attr]
    return ids


def teach(policy: OwnPolicy, steps: int, batch: int, rate: float, seed: int) -> None:
    """Supervise a Manager on the teacher's operations."""
    rng, environment = random.Random(seed), ManagerEnvironment(_NOBODY, Config())
    everything = np.ones(policy.vocabulary.size, dtype=np.bool_)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=0.0)
    for _ in tqdm(range(steps), desc="cheap teacher", mininterval=5):
        groups = []
        for _ in range(batch):
            task, said = told_task(rng, "train")
            prompt = environment.prompt(task)
            values = written_operations(cheap_operations(task, said), task.shown)
            ids = output_ids(policy.vocabulary, values, prompt.template)
            rollout = Rollout(ids=ids, allowed=[everything] * len(ids))
            groups.append(Group(policy.vocabulary.prompt_ids(prompt.segments), (rollout,)))
        targets = torch.tensor([token for group in groups for token in group.rollouts[0].ids])
        F.cross_entropy(policy.logits(groups), targets).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


class _Nobody:
    """Prompts are made without anybody answering."""

    def answer_all(self, asked: Sequence[object]) -> list[Any]:
        raise AssertionError("nobody is to be asked")


_NOBODY = CachedAnswerer(_Nobody())


def frozen(policy: OwnPolicy) -> CachedAnswerer:
    """An Answer Agent as it is now."""
    return CachedAnswerer(PolicyAnswerer(policy.reference()))


def few(draw: Callable[[random.Random], Any], questions: int, seed: int) -> list[Any]:
    """Tasks with ``questions`` questions together; an Answer Agent's has one."""
    rng, tasks, left = random.Random(seed), list[Any](), questions
    while left > 0:
        task = draw(rng)
        if isinstance(task, ManagerTask):
            task = replace(task, questions=task.questions[:left])
        left -= len(task.questions) if isinstance(task, ManagerTask) else 1
        tasks.append(task)
    return tasks


def source(args: argparse.Namespace, role: str, seed: int, valid: Sequence[Any]) -> Source[Any]:
    """Endless tasks, or those of the few questions that may be used."""
    if role == "manager":
        endless: Source[Any] = Source(lambda rng: manager_task(rng, "train"), valid)
    else:
        endless = Source(lambda rng: answerer_task(rng, "train", CANDIDATES), valid)
    if not args.questions:
        return endless
    tasks = few(endless.draw, args.questions, seed)
    return Source(lambda rng: rng.choice(tasks), valid)


def measured(manager: OwnPolicy, answerer: CachedAnswerer, tasks: Sequence[ManagerTask], c: Config) -> float:
    """Greedy end-to-end exact match: the Manager decides, the Answer Agent answers from what is then in the bank."""
    environment = ManagerEnvironment(answerer, replace(c, reward="exact", growth_cost=0.0))
    total = 0.0
    for start in range(0, len(tasks), 64):
        part = tasks[start : start + 64]
        prompts = [environment.prompt(task) for task in part]
        groups = sample(manager, prompts, 1, temperature=0.0, max_output=c.max_output)
        total += float(environment.judge(part, groups).rewards_PG.sum())
    return total / len(tasks)


def one_seed(args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Teach, train both agents, measure all pairs."""
    folder = args.out / f"seed-{seed}"
    c = Config(
        seed=seed, steps=args.steps, every=max(1, args.steps // 5), lr=args.lr, prompts=args.prompts, group=args.group
    )
    held = random.Random(30_011)
    tasks = [manager_task(held, "heldout") for _ in range(args.measured)]
    asked: list[AnswererTask] = [answerer_task(held, "heldout", CANDIDATES) for _ in range(args.valid)]
    valid = [manager_task(held, "heldout") for _ in range(args.valid)]
    taught = OwnPolicy.load(args.manager)
    start = measured(taught, frozen(OwnPolicy.load(args.answerer)), tasks, c)
    teach(taught, args.teach, 16, 1e-4, seed)
    answerer = OwnPolicy.load(args.answerer)
    before = frozen(answerer)
    manager = OwnPolicy(copy.deepcopy(taught.model), taught.vocabulary)
    Run(manager, ManagerEnvironment(before, c), source(args, "manager", seed, valid), c, folder / "manager", {}).train()
    Run(answerer, AnswererEnvironment(c), source(args, "answerer", seed, asked), c, folder / "answerer", {}).train()
    after = frozen(answerer)
    constants = ManagerEnvironment(before, c).constant_policies(tasks)
    return {
        "before the teacher": start,
        "taught": measured(taught, before, tasks, c),
        "manager by GRPO": measured(manager, before, tasks, c),
        "answer agent by GRPO": measured(taught, after, tasks, c),
        "both by GRPO": measured(manager, after, tasks, c),
    } | constants


def table(results: Sequence[dict[str, float]]) -> str:
    """Means over the seeds with 95 % intervals."""
    lines = []
    for name in results[0]:
        values = [result[name] for result in results]
        half = (
            T_95.get(len(values), float("nan")) * stdev(values) / len(values) ** 0.5
            if len(values) > 1
            else float("nan")
        )
        lines.append(f"| {name} | {mean(values):.3f} | +-{half:.3f} |")
    return "\n".join(["| agents | end-to-end EM | 95 % over seeds |", "|---|---|---|", *lines])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manager", type=Path, required=True, help="a supervised Manager: the skills")
    parser.add_argument("--answerer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--teach", type=int, default=60, help="steps of the cheap teacher, 16 messages each")
    parser.add_argument("--steps", type=int, default=60, help="of GRPO, for each agent")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-5)
    parser.add_argument("--questions", type=int, default=0, help="use only so many questions; 152 in the paper")
    parser.add_argument("--measured", type=int, default=256, help="held-out tasks")
    parser.add_argument("--valid", type=int, default=64)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "results.jsonl"
    done = {line["seed"]: line for line in map(json.loads, file.read_text().splitlines())} if file.exists() else {}
    for seed in args.seeds:
        if seed not in done:
            done[seed] = {"seed": seed, **one_seed(args, seed)}
            with file.open("a") as out:
                out.write(json.dumps(done[seed]) + "\n")
    print(table([{name: v for name, v in done[seed].items() if name != "seed"} for seed in args.seeds]))


if __name__ == "__main__":
    main()
