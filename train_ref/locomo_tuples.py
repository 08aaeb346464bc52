"""Training tuples from LoCoMo, as in Memory-R1's Algorithms 1 and 2: ``python -m train_ref.locomo_tuples FILE``

*Manager* (Algorithm 1): a turn, the temporal bank of the turns before it, and the questions whose evidence it is. The
paper builds that bank from the preceding 50 turns in the algorithm and from 24 in its appendix, so it is a setting.
*Answer Agent* (Algorithm 2): a question, at most 60 retrieved memories, the right answer.

Banks come from a Manager, from a file of given memories (JSON Lines of ``{"source_id": ..., "text": ...}``), or are the
turns themselves. Questions are linked to turns by evidence; adversarial ones (category 5) are left out, as in the
paper. The split is by conversation: conv-26 to train, conv-30 to validate, all others to test. LoCoMo is licensed for
non-commercial use: what ships is never trained on it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from memr1_lite.conversations import locomo_conversations, read_locomo
from memr1_lite.errors import ContextOverflowError, MalformedOutputError
from memr1_lite.memory_manager import MemoryManager
from memr1_lite.records import Add, Message, Turn
from memr1_lite.retriever import spoken as query
from train_ref.banks import Bank
from train_ref.environment import AnswererTask, ManagerTask, spoken
from train_ref.tasks import SHOWN

Part = Literal["train", "valid", "test"]
CONVERSATIONS: dict[str, Part] = {"conv-26": "train", "conv-30": "valid"}
ADVERSARIAL = 5
CANDIDATES = 60
WINDOWS = (24, 50)
BankBuilder = Callable[[Sequence[Message]], Bank]
"""Makes the bank of some turns, oldest first."""


@dataclass(frozen=True)
class Question:
    """A question that is not adversarial. ``evidence`` are places of turns, in order; LoCoMo's own ``category``."""

    text: str
    answer: str
    evidence: tuple[int, ...]
    category: int


@dataclass(frozen=True)
class Talk:
    """One conversation; ``unresolved`` are evidence ids that name no turn."""

    name: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]
    unresolved: tuple[str, ...]

    @property
    def part(self) -> Part:
        """Where the conversation belongs in the split."""
        return CONVERSATIONS.get(self.name, "test")

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The turns as a bank records them, by id from 1."""
        return tuple(
            Message(id=place, speaker=turn.speaker, text=turn.text, at=turn.at, source_id=turn.source_id)
            for place, turn in enumerate(self.turns, start=1)
        )

    def linked(self) -> dict[int, list[Question]]:
        """Questions by the place of each turn that is evidence for them."""
        by_turn: dict[int, list[Question]] = defaultdict(list)
        for question in self.questions:
            for place in question.evidence:
                by_turn[place].append(question)
        return dict(sorted(by_turn.items()))


def read_talks(path: Path) -> list[Talk]:
    """All conversations of a file in the shape of ``locomo10.json``, with their questions.

    :raises ConversationFormatError: the file is of another shape, naming the place
    """
    samples = {sample["sample_id"]: sample for sample in json.loads(path.read_text(encoding="utf-8"))}
    return [_talk(path, name, samples[name]["qa"]) for name in locomo_conversations(path)]


def _talk(path: Path, name: str, entries: Sequence[Mapping[str, object]]) -> Talk:
    turns = read_locomo(path, name)
    places = {turn.source_id.split("/", 1)[1]: place for place, turn in enumerate(turns)}
    questions, unresolved = [], []
    for entry in entries:
        if entry["category"] == ADVERSARIAL:
            continue
        # Some ids are compound, such as "D8:6; D9:17".
        ids = [part for text in entry.get("evidence", ()) for part in re.split(r"[;\s]+", text) if part]  # type: ignore[attr-defined]
        unresolved += [part for part in ids if part not in places]
        evidence = tuple(sorted({places[part] for part in ids if part in places}))
        questions.append(Question(str(entry["question"]), str(entry["answer"]), evidence, int(str(entry["category"]))))
    return Talk(name, tuple(turns), tuple(questions), tuple(unresolved))


def manager_tuples(talk: Talk, window: int, build: BankBuilder) -> Iterator[ManagerTask]:
    """Algorithm 1: one tuple for every turn that is evidence, with all questions linked to it."""
    for place, questions in talk.linked().items():
        message = talk.messages[place]
        bank = build(talk.messages[max(0, place - window) : place])
        shown = tuple(bank.nearest(query(message.speaker, message.text), SHOWN))
        yield ManagerTask(message, bank, shown, tuple((q.text, q.answer) for q in questions))


def answerer_tuples(talk: Talk, build: BankBuilder) -> Iterator[AnswererTask]:
    """Algorithm 2: every question over the bank of the whole conversation."""
    bank = build(talk.messages)
    for question in talk.questions:
        yield AnswererTask(question.text, bank.candidates(question.text, CANDIDATES), question.answer)


def of_turns(messages: Sequence[Message]) -> Bank:
    """Every turn is a memory as it stands."""
    return _adding(messages, {m.source_id: [spoken(m)] for m in messages})


def of_given(path: Path) -> BankBuilder:
    """The memories in a file, each with the ``source_id`` of the turn that it was made from."""
    given: dict[str | None, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            entry = json.loads(line)
            given[entry["source_id"]].append(entry["text"])
    return lambda messages: _adding(messages, given)


class OfManager:
    """What a Manager makes of the turns, one after the other.

    A decision that cannot be used changes nothing, as in the SDK; ``failed`` counts them among ``asked``.
    """

    def __init__(self, manager: MemoryManager) -> None:
        self._manager = manager
        self.asked = self.failed = 0

    def __call__(self, messages: Sequence[Message]) -> Bank:
        """The bank after all of ``messages``."""
        bank = Bank()
        for message in messages:
            shown = bank.nearest(query(message.speaker, message.text), SHOWN)
            self.asked += 1
            try:
                bank = bank.after(self._manager.decide(message, shown).operations, message)
            except (MalformedOutputError, ContextOverflowError):
                self.failed += 1
        return bank


def _adding(messages: Sequence[Message], texts: Mapping[str | None, Sequence[str]]) -> Bank:
    bank = Bank()
    for message in messages:
        if added := [Add(op="ADD", text=text) for text in texts.get(message.source_id, ())]:
            bank = bank.after(added, message)
    return bank


def statistics(talk: Talk) -> dict[str, int]:
    """Counts that say how far turns and questions are linked."""
    linked = [question.evidence for question in talk.questions if question.evidence]
    return {
        "turns": len(talk.turns),
        "questions": len(talk.questions),
        "with_evidence": len(linked),
        "multi_evidence": sum(len(evidence) > 1 for evidence in linked),
        "evidence_turns": len({place for evidence in linked for place in evidence}),
        "last_evidence_turns": len({evidence[-1] for evidence in linked}),
        "pairs": sum(map(len, linked)),
        **{f"within_{w}": sum(evidence[-1] - evidence[0] <= w for evidence in linked) for w in WINDOWS},
        "unresolved": len(talk.unresolved),
    }


def totals(talks: Sequence[Talk]) -> dict[str, int]:
    """The counts of :func:`statistics` over all of ``talks``: each is of turns or questions of one conversation."""
    sums: Counter[str] = Counter()
    for talk in talks:
        sums.update(statistics(talk))
    return {"conversations": len(talks), **sums}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the statistics of every conversation, of each part of the split, and of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="locomo10.json")
    talks = read_talks(parser.parse_args(arguments).path)
    for talk in talks:
        print(json.dumps({"conversation": talk.name, "part": talk.part} | statistics(talk)))
    for part in get_args(Part):
        print(json.dumps({"part": part} | totals([talk for talk in talks if talk.part == part])))
    print(json.dumps({"part": "all"} | totals(talks)))


if __name__ == "__main__":
    main()
