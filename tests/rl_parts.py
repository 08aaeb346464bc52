"""Prompts of the generated world, for the tests of the trainer."""

from __future__ import annotations

import random

from memr1_lite.answer_agent import AnswerTemplate, answer_prompt
from memr1_lite.memory_manager import ManagerTemplate, manager_prompt
from train_ref.rollout import Prompt
from train_ref.world.episodes import answerer_example, manager_example


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
