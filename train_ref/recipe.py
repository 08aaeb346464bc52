"""Both agents from nothing: ``python -m train_ref.recipe --out runs/agents --words MINILM``

The Answer Agent's skills by supervision, then the Manager's, which starts from its weights; then answers alone, the
Answer Agent first, so that the Manager is rewarded through the better one; then GGUF. Counted in steps, with one seed:
the same machine gives the same weights. A stage that is done is not run again, one that was interrupted is gone on
with.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from convert.chain import convert_all
from train_ref import sft, train
from train_ref.packing import Role

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Recipe:
    """Options of each stage, as on the command lines of ``train_ref.sft`` and ``train_ref.train``."""

    answerer: str = "--steps 11000"
    manager: str = "--steps 9000 --begin 0.3"
    """It starts from the Answer Agent: finding the right entry is learned there, and takes it a third of a run."""
    reinforced: str = "--steps 150 --every 25 --prompts 16 --group 8 --lr 3e-5 --max-output 96"
    growth: str = "--growth-cost 0.1"
    """The Manager alone: without it always ADD is nearly as good as what is right."""


def supervised(role: Role, out: Path, options: Sequence[str], start: Path | None = None) -> Path:
    """Skills of one agent in ``out / role``; with ``start`` it begins at these weights, with their tokenizer."""
    folder = out / role
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if start is not None:
            for name in TOKENIZER:
                shutil.copyfile(start / name, folder / name)
            options = [*options, "--init", str(start)]
        sft.main([role, "--out", str(folder), *options])
        (folder / "done").touch()
    return folder


def reinforced(role: Role, out: Path, start: Path, options: Sequence[str], answerer: Path | None = None) -> Path:
    """The agent of ``start`` after GRPO on answers alone, in ``out / role-grpo / best``."""
    folder = out / f"{role}-grpo"
    if not (folder / "done").exists():
        frozen = [] if answerer is None else ["--answerer", str(answerer)]
        resume = ["--resume"] if (folder / "state.pt").exists() else []
        train.main([role, "--init", str(start), "--out", str(folder), *frozen, *options, *resume])
        (folder / "done").touch()
    return folder / "best"


def make_agents(out: Path, recipe: Recipe, seed: int, words: Path | None = None) -> dict[Role, Path]:
    """All stages; the GGUF file of each role.

    :raises ConvertError: llama.cpp does not do with a file what torch does with its checkpoint
    """
    seeded = ["--seed", str(seed)]
    shared = seeded if words is None else [*seeded, "--words", str(words)]
    answerer = supervised("answerer", out, [*shared, *recipe.answerer.split()])
    manager = supervised("manager", out, [*shared, *recipe.manager.split()], answerer)
    answers = [*seeded, *recipe.reinforced.split()]
    answerer = reinforced("answerer", out, answerer, answers)
    manager = reinforced("manager", out, manager, [*answers, *recipe.growth.split()], answerer)
    files: dict[Role, Path] = {}
    for role, folder in (("answerer", answerer), ("manager", manager)):
        files[role] = out / f"{role}.gguf"
        exact, quantised = convert_all(folder, files[role], quant="Q8_0", force=True)
        print(f"{role}: F16 {exact}\n{role}: Q8_0 {quantised}")
    return files


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all stages; gone on with if it exists")
    parser.add_argument("--words", type=Path, help="an encoder's folder: its word vectors as a prior of the embeddings")
    parser.add_argument("--seed", type=int, default=1)
    for stage, options in vars(Recipe()).items():
        parser.add_argument(f"--{stage}", default=options, help=f"options of this stage, instead of {options!r}")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = Recipe(**{stage: getattr(args, stage) for stage in vars(Recipe())})
    for role, file in make_agents(args.out, recipe, args.seed, args.words).items():
        print(f"{role}: {file}")


if __name__ == "__main__":
    main()
