"""Conversations of the world as a file that ``memr1 eval world`` reads: ``python -m train_ref.world heldout.jsonl``."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from memr1_lite.evaluation.benchmark import Question, Talk
from memr1_lite.records import Turn
from train_ref.world.conversation import Conversation, conversation
from train_ref.world.facts import Fact, Said
from train_ref.world.words import Split


def as_talk(made: Conversation, name: str) -> Talk:
    """A conversation with its questions, and for each the turns that its answer rests on."""
    turns = tuple(
        Turn(speaker=said.speaker, text=said.text, at=said.at, source_id=f"{name}/{number}")
        for number, said in enumerate(made.messages, start=1)
    )
    told = _told(made.messages, [turn.source_id for turn in turns])
    questions = tuple(
        Question(
            id=f"{name}/q{number}",
            text=asked.text,
            answers=() if asked.answer is None else (asked.answer,),
            category=asked.kind,
            evidence=tuple(dict.fromkeys(turn for fact in asked.rests_on for turn in _evidence(told, fact))),
        )
        for number, asked in enumerate(made.questions, start=1)
    )
    return Talk(id=name, turns=turns, questions=questions)


Told = dict[tuple[str, ...], dict[str, list[str]]]
"""By the key of a fact and each of its values, the turns that said so."""


def _told(messages: Sequence[Said], ids: Sequence[str]) -> Told:
    told: Told = defaultdict(dict)
    facts: dict[tuple[str, ...], Fact] = {}
    for said, turn in zip(messages, ids, strict=True):
        for effect in said.effects:
            if effect.target is not None and (effect.result is None or effect.result.key != effect.target.key):
                facts.pop(effect.target.key, None)
                told.pop(effect.target.key, None)
            if effect.result is None or facts.get(effect.result.key) == effect.result:
                continue  # retracted, or said again
            key, values = effect.result.key, effect.result.values
            before = told[key]
            told[key] = {value: before.get(value, [turn]) for value in values}
            if all(value in before for value in values):  # the same things, said otherwise: another day, fewer of them
                for turns in told[key].values():
                    turns.append(turn)
            facts[key] = effect.result
    return told


def _evidence(told: Told, fact: Fact) -> list[str]:
    return [turn for value in fact.values for turn in told[fact.key][value]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--split", choices=["train", "heldout"], default="heldout")
    parser.add_argument("--conversations", type=int, default=4)
    parser.add_argument("--messages", type=int, default=250, help="per conversation")
    parser.add_argument("--questions", type=int, default=50, help="per conversation")
    parser.add_argument("--seed", type=int, default=1_000_003, help="as python -m train_ref.evaluate has it")
    args = parser.parse_args(arguments)
    split: Split = args.split
    talks = [
        as_talk(conversation(seed, split, args.messages, args.questions), f"{split}-{seed}")
        for seed in range(args.seed, args.seed + args.conversations)
    ]
    args.file.write_text("".join(talk.model_dump_json() + "\n" for talk in talks), encoding="utf-8")


if __name__ == "__main__":
    main()
