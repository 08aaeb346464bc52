"""A tiny agent with random weights: for the comparison with TRL, the benchmark and the tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from train_ref import tokenizer as tokenizers
from train_ref.model import ModelConfig, Transformer
from train_ref.packing import Role
from train_ref.sft import PROMPT_VERSIONS
from train_ref.tokenizer import AgentTokenizer


def make_agent(folder: Path, role: Role, *, own_words: bool = True, scale: float = 6.0, seed: int = 0) -> Path:
    """A checkpoint of two layers in ``folder``; ``scale`` makes tokens differ in probability."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizers.train(folder, vocab_size=700, examples=60)
    tokenizer = AgentTokenizer(folder)
    torch.manual_seed(seed)
    model = Transformer(ModelConfig(tokenizer.vocab_size, 64, 2, 4, 2, 16, 96))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter *= scale if "embed" not in name else scale / 2
            else:
                parameter += 0.1 * torch.randn_like(parameter)
        # A random model hardly ever stops; louder ends make it.
        for text in ("\n", "<|end|>"):
            model.embed_tokens.weight[tokenizer.encode(text, True)[0]] *= 2
    model.save(folder, eos=tokenizer.eos, pad=tokenizer.pad)
    card: dict[str, object] = {
        "role": role, "prompt_version": PROMPT_VERSIONS[role], "name": f"tiny {role}", "licence": "Apache-2.0",
        "training_data": "none: random weights", "figures": {"exact": 0.0},
    }  # fmt: skip
    if own_words:
        card["own_words"] = ["has", "lives", "in", "and", "two", "a", "yes", "no"]
    (folder / "memr1.json").write_text(json.dumps(card))
    return folder
