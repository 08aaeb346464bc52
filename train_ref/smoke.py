"""Everything once, very small: supervision, GRPO, export and check of both agents. ``python -m train_ref.smoke``

Two minutes or so on one core. The agents it makes know nothing; that each step takes up what the one before it left,
and that llama.cpp does with the result what torch does, is all that is shown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from convert.chain import convert_all
from memr1_lite import MemoryBank
from memr1_lite.config import Agents
from memr1_lite.errors import MalformedOutputError
from memr1_lite.llama import LlamaModel
from train_ref import sft, tokenizer, train
from train_ref.model import Transformer
from train_ref.packing import Role

SUPERVISED = "--steps 20 --every 20 --eager --width 64 --layers 2 --vocab 900".split()
# Agents that know nothing are never right; the cost of growth gives a Manager something to learn all the same.
REINFORCED = "--steps 3 --every 3 --prompts 4 --group 4 --max-output 48 --lr 1e-3 --valid 8 --growth-cost 0.2".split()


def one_agent(role: Role, folder: Path, answerer: Path | None) -> Path:
    """Train, reinforce, convert and check one agent; returns its GGUF file."""
    supervised, reinforced, gguf = folder / role, folder / f"{role}-grpo", folder / f"{role}.gguf"
    tokenizer.train(supervised, 900, examples=200)
    sft.main([role, "--out", str(supervised), *SUPERVISED])
    frozen = [] if answerer is None else ["--answerer", str(answerer)]
    train.main([role, "--init", str(supervised), *frozen, "--out", str(reinforced), *REINFORCED])
    before, after = (Transformer.load(path).state_dict() for path in (supervised, reinforced))
    if role == "manager":
        assert any(not torch.equal(before[name], after[name]) for name in before), "GRPO moved no weight"
    exact, quantised = convert_all(reinforced, gguf, quant="Q8_0")
    print(f"{role}: F16 {exact}\n{role}: Q8_0 {quantised}")
    with LlamaModel.load(gguf, role=role) as model:
        assert model.trained_role == role
    card = json.loads((reinforced / "memr1.json").read_text())
    assert card["training"]["start"]["kind"] == "supervised"
    return gguf


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder to leave everything in")
    args = parser.parse_args(arguments)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        answerer = one_agent("answerer", folder, None)
        manager = one_agent("manager", folder, folder / "answerer-grpo")
        with MemoryBank.open(":memory:", agents=Agents(manager=manager, answerer=answerer)) as bank:
            try:
                change = bank.remember("I adopted a dog named Buddy.", speaker="Andrew", at="2023-05-07")
                print("the bank decided:", "; ".join(map(str, change.operations)))
            except MalformedOutputError as error:  # agents this small need not find an end
                print("the bank kept the turn:", error)
        if args.keep:
            shutil.copytree(folder, args.keep, dirs_exist_ok=True)
    print(f"Both agents from nothing to GGUF in {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
