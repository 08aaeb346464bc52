"""LoCoMo (Maharana 2024), ``locomo10.json`` as published: ten conversations, 1,540 questions besides adversarial."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from memr1_lite.conversations import locomo_samples, read_locomo
from memr1_lite.errors import InvalidInputError
from memr1_lite.evaluation.benchmark import Benchmark, Question, Talk
from memr1_lite.shapes import expect, wrong_shape

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
"""By LoCoMo's own evaluation code."""
PAPER_LABELS = {1: "Single Hop", 2: "Temporal", 3: "Multi-Hop", 4: "Open Domain"}
"""As Memory-R1's tables print them: three of them stand for another category, as the numbers of questions show."""
ADVERSARIAL = 5
SPLITS = {"train": ("conv-26",), "validation": ("conv-30",)}
"""Memory-R1's split; its test set is every other conversation."""
_EVIDENCE = re.compile(r"D(\d+):(\d+)")

Adversarial = Literal["leave-out", "abstain"]


def read_locomo_benchmark(
    path: str | Path, conversations: Sequence[str] = (), adversarial: Adversarial = "leave-out"
) -> Benchmark:
    """Read a file in the shape of ``locomo10.json``.

    :param conversations: ``sample_id`` values, or ``train``, ``validation``, ``test``; all where none is given
    :param adversarial: questions whose premise is false are left out, as in the paper, or are right when not known
    :raises ConversationFormatError: the file is of another shape, naming the place
    :raises InvalidInputError: the file holds no such conversation
    """
    path = Path(path)
    samples = locomo_samples(path)
    notes: list[str] = []
    talks = []
    for name in _chosen(path, list(samples), conversations):
        turns = read_locomo(path, name)
        known = {turn.source_id for turn in turns}
        questions = [
            _question(path, f"{name}.qa[{position}]", entry, f"{name}/q{position + 1}", name)
            for position, entry in enumerate(expect(samples[name].get("qa"), list, path, f"{name}.qa", "questions"))
        ]
        kept = [question for question in questions if adversarial == "abstain" or question.category != CATEGORIES[5]]
        notes += _left_out(name, len(questions) - len(kept), kept, known)
        resolved = [_with_known_evidence(question, known) for question in kept]
        talks.append(Talk(id=name, turns=tuple(turns), questions=tuple(resolved)))
    return Benchmark(name="LoCoMo", talks=tuple(talks), notes=tuple(notes))


def _chosen(path: Path, there: Sequence[str], wanted: Sequence[str]) -> list[str]:
    named: dict[str, tuple[str, ...]] = {split: names for split, names in SPLITS.items()}
    named["test"] = tuple(name for name in there if name not in (*SPLITS["train"], *SPLITS["validation"]))
    chosen = [name for each in wanted or there for name in named.get(each, (each,))]
    if unknown := [name for name in chosen if name not in there]:
        raise InvalidInputError(f"No conversation {', '.join(unknown)} in {str(path)!r}: it holds {', '.join(there)}.")
    return list(dict.fromkeys(chosen))


def _question(path: Path, place: str, entry: object, number: str, talk: str) -> Question:
    entry = expect(entry, dict, path, place, "an object with question, answer, evidence, category")
    category = entry.get("category")
    if category not in CATEGORIES:
        raise wrong_shape(path, f"{place}.category", "a number from 1 to 5", f"{category!r:.60}")
    adversarial = category == ADVERSARIAL
    answer = entry.get("answer")
    if not adversarial and (not isinstance(answer, str | int | float) or isinstance(answer, bool)):
        raise wrong_shape(path, f"{place}.answer", "a text or a number", f"{answer!r:.60}")
    evidence = expect(entry.get("evidence"), list, path, f"{place}.evidence", "a list such as ['D1:3']")
    return Question(
        id=number,
        text=expect(entry.get("question"), str, path, f"{place}.question", "a text"),
        answers=() if adversarial else (str(answer),),
        category=CATEGORIES[category],
        paper_label=PAPER_LABELS.get(category),
        evidence=tuple(dict.fromkeys(part for each in evidence for part in _turn_ids(str(each), talk))),
    )


def _turn_ids(written: str, talk: str) -> list[str]:
    """The turns that an evidence entry names: some hold several, some are misspelt and stay as they are."""
    found = []
    for part in re.split(r"[;\s]+", written.strip()):
        match = _EVIDENCE.fullmatch(part.strip("()"))
        found.append(f"{talk}/D{int(match[1])}:{int(match[2])}" if match else f"{talk}/{part}")
    return found


def _left_out(name: str, adversarial: int, kept: Sequence[Question], known: Collection[str]) -> list[str]:
    unresolved = sum(each not in known for question in kept for each in question.evidence)
    notes = [f"{name}: {adversarial} adversarial questions left out"] if adversarial else []
    return [*notes, f"{name}: {unresolved} evidence ids name no turn"] if unresolved else notes


def _with_known_evidence(question: Question, known: Collection[str]) -> Question:
    return question.model_copy(update={"evidence": tuple(each for each in question.evidence if each in known)})
