"""Teachers that need no label: rules that err as untrained models do, for a start that only answers can improve.

*Manager*: what should be updated it deletes and adds anew without what was known, what is repeated it adds once more,
what is taken back it leaves alone. *Answer Agent*: it takes the one candidate that shares most words with the question,
and answers with what that says behind the last shared word; so it cannot say yes, count, date, put two memories
together, or say that it does not know.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from memr1_lite.answer_agent import written_reply
from memr1_lite.llm import Segment
from memr1_lite.memory_manager import MAX_OPERATIONS, ManagerTemplate, manager_prompt, written_operations
from memr1_lite.records import Add, Delete, Noop, Operation
from train_ref.answering import answerer_prompt
from train_ref.environment import AnswererTask, ManagerTask
from train_ref.policy import OwnPolicy
from train_ref.rollout import Group, Prompt, Rollout
from train_ref.tasks import answerer_task, told_task
from train_ref.tokenizer import output_ids
from train_ref.world.episodes import STOP, likeness
from train_ref.world.facts import Said

Lesson = tuple[Prompt, tuple[str, ...]]
"""A prompt, and the values that the teacher says to it."""


def cheap_operations(task: ManagerTask, said: Said) -> tuple[Operation, ...]:
    """What the teacher would do about a message."""
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
    return tuple(done[:MAX_OPERATIONS]) or (Noop(op="NOOP"),)


def _named(done: Sequence[Operation]) -> list[int]:
    return [operation.memory_id for operation in done if isinstance(operation, Delete)]


def cheap_reply(task: AnswererTask, *, distil: bool = True) -> tuple[str, ...]:
    """What the teacher would answer. ``distil`` False: without naming the candidate."""
    texts = [candidate.text for candidate in task.candidates]
    best = max(range(len(texts)), key=lambda place: likeness(task.question, texts[place]))
    asked = {word[:5] for word in re.findall(r"\w+", task.question.lower())}
    words = texts[best].rstrip(".!?").split()
    last = max((n for n, word in enumerate(words) if _stem(word) in asked - STOP), default=-1)
    rest = words[last + 1 :]
    while len(rest) > 1 and _stem(rest[0]) in STOP:
        rest = rest[1:]
    return written_reply([best] if distil else [], " ".join(rest or words))


def _stem(word: str) -> str:
    return re.sub(r"\W", "", word.lower())[:5]


def manager_lesson(rng: random.Random, most: int) -> Lesson:
    """A message over a bank of at most ``most`` memories, and what the teacher does."""
    task, said = told_task(rng, "train", most)
    prompt = Prompt(manager_prompt(task.message, task.shown, None), ManagerTemplate(len(task.shown)))
    return prompt, written_operations(cheap_operations(task, said), task.shown)


def answerer_lesson(rng: random.Random, most: int, *, distil: bool = True) -> Lesson:
    """A question over at most ``most`` candidates, and what the teacher answers."""
    task = answerer_task(rng, "train", most)
    return answerer_prompt(task.question, task.candidates, distil=distil), cheap_reply(task, distil=distil)


def teach(
    policy: OwnPolicy, lesson: Callable[[random.Random], Lesson], *, steps: int, batch: int, rate: float, seed: int
) -> None:
    """Supervise a policy on ``batch`` lessons in each of ``steps`` steps: cross-entropy of what the teacher says."""
    rng = random.Random(seed)
    vocabulary = policy.vocabulary

    def encode(text: str, trusted: bool) -> list[int]:
        return vocabulary.tokenize(Segment(text, trusted=trusted))

    everything = np.ones(vocabulary.size, dtype=np.bool_)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=0.0)
    for _ in tqdm(range(steps), desc="cheap teacher", mininterval=5):
        groups = []
        for _ in range(batch):
            prompt, values = lesson(rng)
            ids = output_ids(values, prompt.template, encode)
            rollout = Rollout(ids=ids, allowed=[everything] * len(ids))
            groups.append(Group(vocabulary.prompt_ids(prompt.segments), (rollout,)))
        targets = torch.tensor([token for group in groups for token in group.rollouts[0].ids])
        F.cross_entropy(policy.logits(groups), targets).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
