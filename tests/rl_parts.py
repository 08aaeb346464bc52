"""A small agent with a tokenizer of its own, for the tests of the trainer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch

from memr1_lite import answer_agent, memory_manager
from memr1_lite.answer_agent import AnswerTemplate, answer_prompt
from memr1_lite.memory_manager import ManagerTemplate, manager_prompt
from train_ref import tokenizer as tokenizers
from train_ref.model import ModelConfig, Transformer
from train_ref.rollout import Prompt
from train_ref.tokenizer import AgentTokenizer
from train_ref.world.episodes import answerer_example, manager_example

VERSIONS = {"manager": memory_manager.PROMPT_VERSION, "answerer": answer_agent.PROMPT_VERSION}


def make_agent(folder: Path, role: str, *, own_words: bool = True, scale: float = 6.0, seed: int = 0) -> Path:
    """A checkpoint of two layers with weights large enough for tokens to differ in probability."""
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
    card = {
        "role": role, "prompt_version": VERSIONS[role], "name": f"tiny {role}", "licence": "Apache-2.0",
        "training_data": "none: random weights", "figures": {"exact": 0.0},
    }  # fmt: skip
    if own_words:
        card["own_words"] = ["has", "lives", "in", "and", "two", "a", "yes", "no"]
    (folder / "memr1.json").write_text(json.dumps(card))
    return folder


def manager_prompts(count: int, seed: int = 0, shown: int = 4) -> list[Prompt]:
    """Prompts of the world for the Memory Manager, of different lengths."""
    rng = random.Random(seed)
    prompts = []
    while len(prompts) < count:
        example = manager_example(rng, "train", 1, rng.randint(1, shown))
        for message, _ in example.turns[:1]:
            prompts.append(Prompt(manager_prompt(message, example.shown), ManagerTemplate(len(example.shown))))
    return prompts


def answerer_prompts(count: int, seed: int = 0, shown: int = 6) -> list[Prompt]:
    """Prompts of the world for the Answer Agent."""
    rng = random.Random(seed)
    prompts = []
    while len(prompts) < count:
        example = answerer_example(rng, "train", 1, rng.randint(1, shown))
        for question, _ in example.turns[:1]:
            prompts.append(Prompt(answer_prompt(question, example.candidates), AnswerTemplate(len(example.candidates))))
    return prompts
