"""Everything once, very small: supervision, GRPO, export and check of both agents. ``python -m train_ref.smoke``

Two minutes or so on one core. The agents it makes know nothing; that each step takes up what the one before it left,
and that llama.cpp does with the result what torch does, is all that is shown.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from memr1_lite import MemoryBank
from memr1_lite.config import Agents
from memr1_lite.errors import MalformedOutputError
from memr1_lite.llama import LlamaModel
from train_ref import tokenizer
from train_ref.model import Transformer
from train_ref.recipe import Recipe, make_agents

VOCABULARY = 900
SUPERVISED = f"--steps 20 --every 20 --eager --width 64 --layers 2 --vocab {VOCABULARY}"
# Agents that know nothing are never right; the cost of growth gives a Manager something to learn all the same.
SMALL = Recipe(
    answerer=SUPERVISED,
    manager=SUPERVISED,
    reinforced="--steps 3 --every 3 --prompts 4 --group 4 --max-output 48 --lr 1e-3 --valid 8",
    growth="--growth-cost 0.2",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder to leave everything in")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        tokenizer.train(folder / "answerer", VOCABULARY, examples=200)
        files = make_agents(folder, SMALL, seed=1)
        check_learning(folder)
        for role, file in files.items():
            with LlamaModel.load(file, role=role) as model:
                assert model.trained_role == role
        with MemoryBank.open(":memory:", agents=Agents(**files)) as bank:
            try:
                change = bank.remember("I adopted a dog named Buddy.", speaker="Andrew", at="2023-05-07")
                print("the bank decided:", "; ".join(map(str, change.operations)))
            except MalformedOutputError as error:  # agents this small need not find an end
                print("the bank kept the turn:", error)
    print(f"Both agents from nothing to GGUF in {time.perf_counter() - began:.0f} s.")


def check_learning(folder: Path) -> None:
    """GRPO moved the Manager's weights, and its card says what they began as."""
    before, after = (Transformer.load(folder / name).state_dict() for name in ("manager", "manager-grpo"))
    assert any(not torch.equal(before[name], after[name]) for name in before), "GRPO moved no weight"
    card = json.loads((folder / "manager-grpo" / "memr1.json").read_text())
    assert card["training"]["start"]["kind"] == "supervised"


if __name__ == "__main__":
    main()
