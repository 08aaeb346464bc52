"""The agents' own prompts, made of the demonstration's conversation: what quantised files are judged on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memr1_lite import answer_agent, memory_manager
from memr1_lite.answer_agent import answer_prompt
from memr1_lite.demo import Asked, Said, script
from memr1_lite.llm import Segment
from memr1_lite.memory_manager import manager_prompt
from memr1_lite.records import Candidate, Memory, Message

SHOWN = 8
"""Memories shown at a time."""


def agent_prompts(training: Mapping[str, Any]) -> list[tuple[Segment, ...]]:
    """Prompts for the role that ``memr1.json`` names: trained agents get theirs bare, strangers with instructions."""
    role = training.get("role")
    told = role is None
    said = [line for line in script() if isinstance(line, Said)]
    asked = [line for line in script() if isinstance(line, Asked)]
    prompts = []
    if role != "answerer":
        for number, line in enumerate(said):
            earlier = said[max(0, number - SHOWN) : number]
            memories = [
                Memory(id=place + 1, version=1, text=f"{old.speaker}: {old.text}", at=old.at, message_id=place + 1)
                for place, old in enumerate(earlier)
            ]
            message = Message(id=number + 1, speaker=line.speaker, text=line.text, at=line.at)
            prompts.append(manager_prompt(message, memories, memory_manager.INSTRUCTIONS if told else None))
    if role != "manager":
        candidates = [
            Candidate(kind="turn", id=number + 1, speaker=line.speaker, text=line.text, at=line.at)
            for number, line in enumerate(said)
        ]
        for question in asked:
            instructions = answer_agent.INSTRUCTIONS if told else None
            prompts.append(answer_prompt(question.text, candidates, instructions))
    return prompts
