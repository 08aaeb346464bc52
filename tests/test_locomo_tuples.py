"""LoCoMo's tuples: the counts of the public file where it is at hand, the rules on a small one of our own."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from gguf_maker import make_gguf

from memr1_lite.errors import ContextOverflowError, MalformedOutputError
from memr1_lite.memory_manager import INSTRUCTIONS, MemoryManager
from memr1_lite.records import Decision, Noop
from memr1_lite.testing import ScriptedModel
from train_ref import locomo_tuples as lt
from train_ref import train

PUBLIC = Path(__file__).parents[2] / "shared" / "data" / "locomo6.json"
needs_public = pytest.mark.skipif(not PUBLIC.exists(), reason="LoCoMo is not ours to ship")


@pytest.fixture
def small(tmp_path):
    """Six turns in two sessions; the questions have compound, broken and adversarial evidence."""
    texts = ["I have a dog.", "Lovely!", "His name is Buddy.", "I have two dogs now.", "Great.", "I moved to Lyon."]
    turns = [
        {"speaker": "AB"[n % 2], "dia_id": f"D{1 + n // 3}:{1 + n % 3}", "text": text} for n, text in enumerate(texts)
    ]
    qa = [
        {"question": "How many dogs?", "answer": 2, "evidence": ["D1:1; D2:1"], "category": 1},
        {"question": "Where?", "answer": "Lyon", "evidence": ["D2:3"], "category": 4},
        {"question": "When?", "answer": "May", "evidence": ["D:11:26"], "category": 2},
        {"question": "Who?", "adversarial_answer": "A", "evidence": ["D1:1"], "category": 5},
    ]
    conversation = {
        "session_1": turns[:3], "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_2": turns[3:], "session_2_date_time": "1:56 pm on 9 May, 2023",
    }  # fmt: skip
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([{"sample_id": "conv-1", "conversation": conversation, "qa": qa}]))
    return lt.read_talks(path)[0]


def test_questions_are_linked_to_turns_by_evidence(small):
    assert {place: [q.text for q in qs] for place, qs in small.linked().items()} == {
        0: ["How many dogs?"], 3: ["How many dogs?"], 5: ["Where?"],
    }  # fmt: skip
    assert small.unresolved == ("D:11:26",)
    assert small.questions[0].answer == "2"
    assert len(small.questions) == 3
    assert lt.statistics(small)["pairs"] == 3


def test_a_manager_tuple_sees_the_window_before_its_turn_and_nothing_later(small):
    tasks = {task.message.id: task for task in lt.manager_tuples(small, 2, lt.of_turns)}
    assert [m.message_id for m in tasks[6].bank.memories] == [4, 5]
    assert [m.message_id for m in tasks[4].bank.memories] == [2, 3]
    assert tasks[1].bank.memories == ()
    assert tasks[6].questions == (("Where?", "Lyon"),)
    assert tasks[4].bank.memories[0].text == "B: Lovely!"


def test_an_answer_tuple_has_the_whole_bank(small):
    tasks = list(lt.answerer_tuples(small, lt.of_turns))
    assert [task.answer for task in tasks] == ["2", "Lyon", "May"]
    assert len(tasks[0].candidates) == 6
    assert "dog" in tasks[0].candidates[0].text


def test_banks_can_be_given_or_made_by_a_manager(small, tmp_path):
    given = tmp_path / "memories.jsonl"
    given.write_text('{"source_id": "conv-1/D1:1", "text": "A has a dog."}\n\n')
    assert [m.text for m in lt.of_given(given)(small.messages).memories] == ["A has a dog."]
    model = ScriptedModel(
        [("ADD", " A has a dog.", "<|end|>"), ("NOOP",), ("UPDATE", "[1]", " A has a dog named Buddy.", "<|end|>")]
    )
    bank = lt.OfManager(MemoryManager(model))(small.messages[:3])
    assert [(m.text, m.version, m.message_id) for m in bank.memories] == [("A has a dog named Buddy.", 2, 3)]


@pytest.mark.parametrize("error", [MalformedOutputError("cut", "ADD A"), ContextOverflowError(9, 8)])
def test_a_decision_that_cannot_be_used_changes_nothing_and_is_counted(small, error):
    class Fails(MemoryManager):
        def decide(self, message, similar):
            if message.id == 2:
                raise error
            return super().decide(message, similar)

    build = lt.OfManager(Fails(ScriptedModel([("ADD", " A has a dog.", "<|end|>"), ("NOOP",)])))
    assert [m.text for m in build(small.messages[:3]).memories] == ["A has a dog."]
    assert (build.asked, build.failed) == (3, 1)


@needs_public
def test_the_public_file_gives_the_published_counts():
    talks = {talk.name: talk for talk in lt.read_talks(PUBLIC)}
    assert lt.statistics(talks["conv-26"]) == {
        "turns": 419, "questions": 152, "with_evidence": 150, "multi_evidence": 38, "evidence_turns": 133,
        "last_evidence_turns": 113, "pairs": 203, "within_24": 122, "within_50": 127, "unresolved": 0,
    }  # fmt: skip
    assert len(talks["conv-30"].questions) == 81
    utterances = {"conv-26": 419, "conv-30": 369, "conv-41": 663, "conv-42": 629, "conv-43": 680, "conv-44": 675}
    assert {name: len(talk.turns) for name, talk in talks.items()} == utterances
    questions = {"conv-26": 152, "conv-30": 81, "conv-41": 152, "conv-42": 199, "conv-43": 178, "conv-44": 123}
    assert {name: len(talk.questions) for name, talk in talks.items()} == questions
    # Four of the eight test conversations; the whole file has 1307.
    assert sum(len(talk.questions) for talk in talks.values() if talk.part == "test") == 652


@needs_public
def test_the_command_prints_totals_that_agree_with_the_published_ones(capsys):
    lt.main([str(PUBLIC)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    parts = {line["part"]: line for line in lines if "conversations" in line}
    assert [parts[name]["questions"] for name in ("train", "valid")] == [152, 81]
    # Six of the ten conversations; the whole file has 1307 test questions, 1540 in all, 1536 of them with evidence.
    assert parts["all"] == {
        "part": "all", "conversations": 6, "turns": 3435, "questions": 885, "with_evidence": 883, "multi_evidence": 233,
        "evidence_turns": 809, "last_evidence_turns": 645, "pairs": 1308, "within_24": 698, "within_50": 719,
        "unresolved": 3,
    }  # fmt: skip
    assert 1540 - parts["all"]["questions"] == 150 + 191 + 156 + 158  # conv-47 to conv-50


def test_the_totals_are_the_sums_over_the_conversations(small, tmp_path, capsys):
    path = tmp_path / "locomo.json"
    sample = json.loads(path.read_text())[0]
    path.write_text(json.dumps([sample | {"sample_id": name} for name in ("conv-26", "conv-1", "conv-2")]))
    lt.main([str(path)])
    *talks, train_part, valid, test, everything = map(json.loads, capsys.readouterr().out.splitlines())
    assert [talk["conversation"] for talk in talks] == ["conv-26", "conv-1", "conv-2"]
    assert train_part == {"part": "train", "conversations": 1} | lt.statistics(small)
    assert valid == {"part": "valid", "conversations": 0}
    assert test == {"part": "test", "conversations": 2} | {n: 2 * count for n, count in lt.statistics(small).items()}
    assert (everything["questions"], everything["pairs"], everything["unresolved"]) == (9, 9, 3)


@needs_public
@pytest.mark.parametrize("window", lt.WINDOWS)
def test_the_public_tuples_hold_what_the_paper_says(window):
    talk = next(talk for talk in lt.read_talks(PUBLIC) if talk.part == "train")
    tasks = list(lt.manager_tuples(talk, window, lt.of_turns))
    assert len(tasks) == 133
    assert sum(len(task.questions) for task in tasks) == 203
    assert max(len(task.bank.memories) for task in tasks) == window


def test_the_trainer_takes_its_tasks_from_a_file(tmp_path, small):
    path = tmp_path / "locomo.json"
    sample = json.loads(path.read_text())[0]
    path.write_text(json.dumps([sample | {"sample_id": name} for name in ("conv-26", "conv-30", "conv-41")]))
    source = train.locomo_source("manager", path, 2, None, valid=2)
    assert {source.draw(random.Random(seed)).message.source_id.split("/")[0] for seed in range(20)} == {"conv-26"}
    assert [task.message.source_id for task in source.valid] == ["conv-30/D1:1", "conv-30/D2:1"]
    assert train.locomo_source("answerer", path, 2, None, valid=9).valid[1].answer == "Lyon"


@pytest.mark.parametrize("role", [None, "manager"])
def test_a_manager_file_that_was_not_trained_for_its_role_is_told_what_to_do(tmp_path, small, monkeypatch, role):
    path = tmp_path / "locomo.json"
    sample = json.loads(path.read_text())[0]
    path.write_text(json.dumps([sample | {"sample_id": name} for name in ("conv-26", "conv-30")]))
    told = []

    class Told(MemoryManager):
        def decide(self, message, similar):
            told.append(self.instructions)
            return Decision(operations=(Noop(op="NOOP"),))

    monkeypatch.setattr(train, "MemoryManager", Told)
    source = train.locomo_source("manager", path, 2, make_gguf(tmp_path, role=role), valid=1)
    assert set(told) == {None if role else INSTRUCTIONS}
    assert source.valid[0].bank.memories == ()
