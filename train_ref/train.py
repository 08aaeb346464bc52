"""Train one agent by GRPO on whether answers come out right.

``python -m train_ref.train manager --init runs/manager --answerer runs/answerer --out runs/manager-grpo``
``python -m train_ref.train answerer --init runs/answerer --out runs/answerer-grpo``

The folder of a run holds the last checkpoint, ``best/`` (by validation), ``log.jsonl`` (every figure of every step),
``samples.jsonl`` (whole prompts, completions and rewards), ``curve.png``, and what it needs to go on: the same command
with ``--resume`` continues it, to the bit.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from memr1_lite import answer_agent, memory_manager
from memr1_lite.llama import LlamaModel
from memr1_lite.memory_manager import MemoryManager
from train_ref import locomo_tuples
from train_ref.answering import CachedAnswerer, PolicyAnswerer, frozen_answerer
from train_ref.config import Config, as_published
from train_ref.environment import AnswererEnvironment, Environment, ManagerEnvironment
from train_ref.loop import Run, Source
from train_ref.memory_plan import memory_plan
from train_ref.policy import OwnPolicy
from train_ref.rollout import Policy
from train_ref.tasks import answerer_task, manager_task


def add_settings(parser: argparse.ArgumentParser) -> None:
    """One option for each field of :class:`Config`."""
    hints = get_type_hints(Config)
    for field in fields(Config):
        hint, name = hints[field.name], "--" + field.name.replace("_", "-")
        if hint is bool:
            parser.add_argument(name, action="store_true", default=None)
        elif get_origin(hint) is Literal:
            parser.add_argument(name, choices=get_args(hint))
        else:
            kind = float if hint not in (int, float) else hint
            parser.add_argument(name, type=kind, metavar=str(field.default))


def settings_of(args: argparse.Namespace) -> Config:
    """The settings asked for, over the paper's or the defaults."""
    named = {f.name: getattr(args, f.name) for f in fields(Config) if getattr(args, f.name) is not None}
    return replace(as_published(Config()) if args.paper else Config(), **named)


def origin_of(args: argparse.Namespace) -> dict[str, str]:
    """What a run is made of besides its settings: a run goes on with the same alone."""
    named = {name: getattr(args, name) for name in ("init", "base", "answerer", "data", "bank")}
    given = {
        name: str(Path(value).resolve() if Path(value).exists() else value) for name, value in named.items() if value
    }
    return given | {name: str(getattr(args, name)) for name in ("role", "rank", "window", "valid")}


def longest_prompt(policy: Policy, environment: Environment[Any], tasks: Sequence[Any]) -> int:
    """Tokens of the longest prompt of ``tasks``."""
    prompts = [environment.prompt(task) for task in tasks]
    return max((len(policy.vocabulary.prompt_ids(prompt.segments)) for prompt in prompts), default=0)


def world_source(role: str, valid: int) -> Source[Any]:
    """Endless tasks of the generated world; validation on its held-out split."""
    make = manager_task if role == "manager" else answerer_task
    held = random.Random(20_011)
    return Source(lambda rng: make(rng, "train"), [make(held, "heldout") for _ in range(valid)])  # type: ignore[operator]


def locomo_source(role: str, path: Path, window: int, bank: Path | None, valid: int) -> Source[Any]:
    """Tasks of LoCoMo: conv-26 to learn from, conv-30 to be measured on. ``bank`` is a Manager's GGUF file or a file of
    given memories; None: turns are memories as they stand."""
    if bank is None:
        build: locomo_tuples.BankBuilder = locomo_tuples.of_turns
    elif bank.suffix == ".gguf":
        model = LlamaModel.load(bank, role="manager")
        build = locomo_tuples.OfManager(
            MemoryManager(model, None if model.trained_role else memory_manager.INSTRUCTIONS)
        )
    else:
        build = locomo_tuples.of_given(bank)
    tasks: dict[str, list[Any]] = {"train": [], "valid": []}
    for talk in locomo_tuples.read_talks(path):
        if talk.part in tasks:
            manager = role == "manager"
            tuples = (
                locomo_tuples.manager_tuples(talk, window, build)
                if manager
                else locomo_tuples.answerer_tuples(talk, build)
            )
            tasks[talk.part] += tuples
    if isinstance(build, locomo_tuples.OfManager):
        print(f"of {build.asked} decisions of the Manager {build.failed} could not be used, and changed nothing")
    return Source(lambda rng: rng.choice(tasks["train"]), tasks["valid"][:valid])


def start_policy(args: argparse.Namespace, c: Config) -> tuple[Policy, Config, dict[str, Any]]:
    """What is trained, its settings, and the card it comes with: a checkpoint of ours, or a LoRA on ``--base``."""
    if args.base is None:
        file = args.init / "memr1.json"
        return OwnPolicy.load(args.init), c, json.loads(file.read_text()) if file.exists() else {}
    from train_ref.hf_policy import BF16_GAP, HfPolicy, fastest

    where = fastest()
    if where["dtype"] == torch.bfloat16 and args.max_gap is None:
        c = replace(c, max_gap=BF16_GAP)
    policy = HfPolicy(args.base, rank=args.rank, adapter=args.init, **where)
    # No role in the card: at inference too such a model gets the instructions that it was trained with.
    return policy, c, {"name": f"memr1-{args.role} on {Path(args.base).name}", "training": {"kind": "instruct model"}}


def start_environment(args: argparse.Namespace, c: Config, policy: Policy) -> Environment[Any]:
    """The environment of the role; a plain model is told what to do, as it is at inference."""
    plain = args.base is not None
    if args.role == "answerer":
        return AnswererEnvironment(c, answer_agent.INSTRUCTIONS if plain else None)
    if str(args.answerer) == "base":
        reference: Any = policy.reference()
        frozen = CachedAnswerer(PolicyAnswerer(reference, instructions=answer_agent.INSTRUCTIONS))
    else:
        frozen = frozen_answerer(args.answerer, args.base)
    return ManagerEnvironment(frozen, c, instructions=memory_manager.INSTRUCTIONS if plain else None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["manager", "answerer"])
    parser.add_argument("--init", type=Path, help="checkpoint folder to start from; with --base a LoRA to go on with")
    parser.add_argument("--base", help="a LoRA on this Hugging Face model: a folder or a name of the hub")
    parser.add_argument("--rank", type=int, default=32, help="of the LoRA")
    parser.add_argument(
        "--answerer",
        type=Path,
        help="the frozen Answer Agent: a checkpoint folder, a GGUF file; with --base a LoRA on it, or 'base'",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--paper", action="store_true", help="the settings that Memory-R1 publishes")
    parser.add_argument("--data", type=Path, metavar="locomo10.json", help="tasks of LoCoMo instead of the world's")
    parser.add_argument(
        "--window", type=int, default=50, help="turns before a turn that its bank is made of, for --data"
    )
    parser.add_argument("--bank", type=Path, help="with --data: a Manager's GGUF file or a file of given memories")
    parser.add_argument("--valid", type=int, default=128, help="tasks of a validation")
    parser.add_argument("--threads", type=int, default=1)
    add_settings(parser)
    args = parser.parse_args(arguments)
    if args.role == "manager" and args.answerer is None:
        parser.error("a manager is rewarded through an Answer Agent: --answerer")
    if str(args.answerer) == "base" and args.base is None:
        parser.error("'base' as Answer Agent is the model of --base")
    if not args.resume and (args.out / "state.pt").exists():
        parser.error(f"there is a run in {args.out} already: --resume, or another folder")
    if args.init is None and args.base is None:
        parser.error("something to start from: --init or --base")
    torch.set_num_threads(args.threads)
    c = settings_of(args)
    torch.manual_seed(c.seed)  # a fresh LoRA begins at random
    policy, c, card = start_policy(args, c)
    environment = start_environment(args, c, policy)
    if args.data is None:
        source = world_source(args.role, args.valid)
    else:
        source = locomo_source(args.role, args.data, args.window, args.bank, args.valid)
    longest = longest_prompt(policy, environment, source.valid)
    print(f"prompts of at most {longest} tokens; {memory_plan(policy, c, longest)}")
    run = Run(policy, environment, source, c, args.out, card, origin_of(args))
    if args.resume:
        run.resume()
    run.train()


if __name__ == "__main__":
    main()
