"""The same tasks for verl (many GPUs): its parquet data, and the reward function that it loads from this file.

``python -m train_ref.verl_adapter manager --tasks 5000 --answerer answerer.gguf --out data/`` writes ``train.parquet``
and ``valid.parquet``. Then, in verl's own configuration::

    data.train_files=data/train.parquet  data.val_files=data/valid.parquet
    custom_reward_function.path=train_ref/verl_adapter.py  custom_reward_function.name=compute_score

with this repository on ``PYTHONPATH``. verl samples without our output template, so what it samples is parsed here, and
a malformed output earns nothing. verl itself needs GPUs and was not run; the data and the function are tested.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from memr1_lite import answer_agent, memory_manager
from memr1_lite.llm import END, Choice, Forced, OutputTemplate
from memr1_lite.records import Candidate, Memory, Message
from train_ref.answering import CachedAnswerer, frozen_answerer
from train_ref.banks import Bank
from train_ref.config import Config
from train_ref.environment import AnswererEnvironment, AnswererTask, Environment, ManagerEnvironment, ManagerTask
from train_ref.rollout import Group, Prompt, Rollout
from train_ref.tasks import answerer_task, manager_task

SOURCES = {"manager": "memr1/manager", "answerer": "memr1/answerer"}


def values_of(text: str, template: OutputTemplate) -> tuple[str, ...] | None:
    """Read ``text`` as an output under ``template``; None where it is not one. The end of the text is :data:`END`."""
    values: list[str] = []
    while (step := template.next_step(tuple(values))) is not None:
        if isinstance(step, Forced):
            options: tuple[str, ...] = (step.text,)
        elif isinstance(step, Choice):
            options = step.options
        else:
            stop = "" if step.stop == END else step.stop
            value, found, rest = text.partition(stop) if stop else (text, "", "")
            if not value.strip() or (stop and not found) or "\n" in value:
                return None
            values.append(value)
            text = rest
            continue
        said = next((o for o in sorted(options, key=len, reverse=True) if o != END and text.startswith(o)), None)
        if said is None and END in options and not text:
            said = END
        if said is None:
            return None
        values.append(said)
        text = text[len(said) :] if said != END else ""
    return tuple(values) if not text.strip() else None


def completed(text: str) -> str:
    """``text`` as a model said it, ready to be read: no space around it, and the last line ended."""
    text = text.strip()
    return text + "\n" if text.startswith(("ADD", "UPDATE")) or "\nADD" in text or "\nUPDATE" in text else text


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    **_: object,
) -> float:
    """What verl calls for every completion. ``ground_truth`` is the task as JSON, ``extra_info["answerer"]`` a file."""
    task, c = json.loads(ground_truth), Config()
    if data_source == SOURCES["answerer"]:
        return _judged(AnswererEnvironment(c), read_answerer_task(task), solution_str.strip())
    if data_source != SOURCES["manager"]:
        raise ValueError(f"{data_source!r} is not one of {sorted(SOURCES.values())}")
    environment = ManagerEnvironment(_answerer(str((extra_info or {})["answerer"])), c)
    return _judged(environment, read_manager_task(task), completed(solution_str))


def _judged(environment: Environment[Any], task: object, text: str) -> float:
    """The environment's reward for one completion; nothing for one that is no output."""
    values = values_of(text, environment.prompt(task).template)
    rollout = Rollout(values=values or (), ended=values is not None)
    return float(environment.judge([task], [Group((), (rollout,))]).rewards_PG)


@lru_cache(maxsize=2)
def _answerer(path: str) -> CachedAnswerer:
    return frozen_answerer(Path(path))


def written_manager_task(task: ManagerTask) -> str:
    """A task as JSON."""
    memories = [memory.model_dump(mode="json") for memory in task.bank.memories]
    return json.dumps({
        "message": task.message.model_dump(mode="json"), "memories": memories, "next_id": task.bank.next_id,
        "shown": [memory.id for memory in task.shown], "questions": task.questions,
    })  # fmt: skip


def read_manager_task(task: Mapping[str, Any]) -> ManagerTask:
    """What :func:`written_manager_task` wrote."""
    memories = {entry["id"]: Memory.model_validate(entry) for entry in task["memories"]}
    questions = tuple((question, answer) for question, answer in task["questions"])
    bank = Bank(tuple(memories.values()), task["next_id"])
    message = Message.model_validate(task["message"])
    return ManagerTask(message, bank, tuple(memories[key] for key in task["shown"]), questions)


def written_answerer_task(task: AnswererTask) -> str:
    """A task as JSON."""
    candidates = [candidate.model_dump(mode="json") for candidate in task.candidates]
    return json.dumps({"question": task.question, "candidates": candidates, "answer": task.answer})


def read_answerer_task(task: Mapping[str, Any]) -> AnswererTask:
    """What :func:`written_answerer_task` wrote."""
    candidates = tuple(Candidate.model_validate(entry) for entry in task["candidates"])
    return AnswererTask(task["question"], candidates, task["answer"])


def row(role: str, prompt: Prompt, ground_truth: str, split: str, index: int, answerer: str) -> dict[str, Any]:
    """One line of verl's data: the whole prompt is one message of the user."""
    return {
        "data_source": SOURCES[role],
        "prompt": [{"role": "user", "content": "".join(segment.text for segment in prompt.segments)}],
        "ability": "memory",
        "reward_model": {"style": "rule", "ground_truth": ground_truth},
        "extra_info": {"split": split, "index": index, "answerer": answerer},
    }


def rows(role: str, count: int, split: str, answerer: str, seed: int) -> list[dict[str, Any]]:
    """``count`` tasks of the generated world; the prompts carry the instructions for models not trained for a role."""
    rng, made, world = random.Random(seed), [], "train" if split == "train" else "heldout"
    for index in range(count):
        if role == "manager":
            managed = manager_task(rng, world)  # type: ignore[arg-type]
            environment = ManagerEnvironment(_NOBODY, Config(), instructions=memory_manager.INSTRUCTIONS)
            prompt, truth = environment.prompt(managed), written_manager_task(managed)
        else:
            answered = answerer_task(rng, world)  # type: ignore[arg-type]
            prompt = AnswererEnvironment(Config(), answer_agent.INSTRUCTIONS).prompt(answered)
            truth = written_answerer_task(answered)
        made.append(row(role, prompt, truth, split, index, answerer))
    return made


class _Nobody:
    """Prompts are written without anybody answering."""

    def answer_all(self, asked: Sequence[object]) -> list[Any]:
        raise AssertionError("nobody is to be asked")


_NOBODY = CachedAnswerer(_Nobody())


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the data."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=sorted(SOURCES))
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--valid", type=int, default=256)
    parser.add_argument(
        "--answerer", default="", help="for a manager: the frozen Answer Agent, a GGUF file or a folder"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    if args.role == "manager" and not args.answerer:
        parser.error("a manager is rewarded through an Answer Agent: --answerer")
    args.out.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", args.tasks), ("valid", args.valid)):
        table = pa.Table.from_pylist(rows(args.role, count, split, args.answerer, args.seed + (split == "valid")))
        pq.write_table(table, args.out / f"{split}.parquet")


if __name__ == "__main__":
    main()
