"""The hand-phrased set is sound, its measures can fail, and no training reads it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from memr1_lite import cli
from memr1_lite.cli.evaluation import suites
from memr1_lite.errors import MalformedOutputError, ModelLoadError
from memr1_lite.evaluation.hand import hand_cases, holds, measure_hand, right_answer
from memr1_lite.evaluation.hand_table import hand_lines, hand_scores
from memr1_lite.records import Add, Decision, Delete, Noop, Reply, Update

CASES = hand_cases()
TRAINING = Path(__file__).parents[1] / "train_ref"


class Perfect:
    """Knows every case: what the measure gives it must be full marks."""

    def __init__(self):
        self.cases = {case.message: case for case in CASES}
        self.last = CASES[0]

    def decide(self, message, similar):
        case = self.last = self.cases[message.text]
        shown = {memory.text: memory for memory in similar}
        texts = [f"{case.speaker} {' '.join(parts)}" for parts in case.holds]
        return Decision(operations=tuple(self.operation(each, case, shown, texts) for each in case.right))

    def operation(self, each, case, shown, texts):
        if each.op == "NOOP":
            return Noop(op="NOOP")
        if each.op == "ADD":
            return Add(op="ADD", text=texts.pop(0))
        memory = shown[case.memories[each.memory - 1]]
        if each.op == "DELETE":
            return Delete(op="DELETE", memory_id=memory.id, version=memory.version)
        return Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=texts.pop(0))

    def answer(self, question, candidates):
        answers = self.last.answers
        return Reply(text=answers[0] if answers else "I don't know.", known=bool(answers))

    def close(self):
        pass


class Idle(Perfect):
    """Never does anything."""

    def decide(self, message, similar):
        return Decision(operations=(Noop(op="NOOP"),))

    def answer(self, question, candidates):
        return Reply(text="I don't know.", known=False)


class Broken(Idle):
    """Cannot be understood."""

    def decide(self, message, similar):
        raise MalformedOutputError("No operation.", raw="ba")


def test_there_are_many_kinds_of_messages_and_none_twice():
    kinds = Counter(case.kind for case in CASES)
    assert len(CASES) >= 250
    assert len(kinds) >= 12
    assert min(kinds.values()) >= 8
    assert len({(case.speaker, case.message) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.message[:40])
def test_every_case_is_sound(case):
    writing = [each for each in case.right if each.op in ("ADD", "UPDATE")]
    naming = [each for each in case.right if each.op in ("UPDATE", "DELETE")]
    assert case.right
    assert len(case.holds) == len(writing)
    assert all(1 <= each.memory <= len(case.memories) for each in naming)
    assert all(each.memory is None for each in case.right if each not in naming)
    assert ("NOOP" in [each.op for each in case.right]) <= (len(case.right) == 1)
    assert case.question.endswith("?")
    retracted = {each.op for each in case.right} == {"DELETE"}
    assert not (retracted and case.answers)


def test_perfect_agents_get_full_marks():
    scores = hand_scores(list(measure_hand(CASES, Perfect())))
    shares = (scores.operation, scores.memory, scores.held, scores.answered)
    assert [share.value for share in shares] == [1.0, 1.0, 1.0, 1.0]
    assert scores.faithful.value > 0.95
    assert scores.errors == 0


def test_small_talk_that_no_model_sees_still_gets_its_question():
    gated = [case for case in CASES if case.message.startswith("Good morning! How are you")]
    (result,) = measure_hand(gated, Perfect())
    assert result.answered


def test_agents_that_do_nothing_are_right_only_where_nothing_is_to_be_done():
    results = list(measure_hand(CASES[::5], Idle()))
    right = {result.kind for result in results if result.operation}
    assert right <= {"small_talk", "repeat", "negation"}
    assert not any(result.held for result in results)


def test_a_failed_decision_is_wrong_and_says_why():
    (result,) = measure_hand(CASES[:1], Broken())
    assert not result.operation
    assert "No operation." in result.error
    assert "| all" in "\n".join(hand_lines([result]))


def test_an_agent_that_cannot_be_loaded_ends_the_run():
    class Missing(Idle):
        def decide(self, message, similar):
            raise ModelLoadError("no such file")

    with pytest.raises(ModelLoadError):
        list(measure_hand(CASES[:1], Missing()))


def test_words_are_held_whole_and_in_order():
    assert holds("Kofi works at Pennyroyal Partners.", ["pennyroyal partners"])
    assert holds("Gwen likes thunderstorms.", ["thunderstorm"])
    assert not holds("Kofi has partners at Pennyroyal.", ["Pennyroyal Partners"])
    assert not holds("It was on 6 June 2023.", ["16 June 2023"])


def test_an_answer_is_right_when_it_is_one_of_the_right_ones_or_rightly_not_known():
    assert right_answer("Scout and Buddy", True, ["Buddy and Scout"])
    assert not right_answer("Buddy", True, ["Buddy and Scout"])
    assert not right_answer("Buddy", True, [])
    assert right_answer("I don't know.", False, [])


def test_results_that_cannot_be_kept_are_an_error_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(suites, "FileAgents", None)
    kept = tmp_path / "none" / "results.jsonl"
    done = CliRunner().invoke(cli.main, ["eval", "hand", "--limit", "3", "--keep", str(kept)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"Error: {str(kept)!r}: No such file or directory.\n"


def test_the_command_prints_a_table_and_keeps_every_result(monkeypatch, tmp_path):
    monkeypatch.setattr(suites, "FileAgents", lambda agents: Perfect())
    kept = tmp_path / "results.jsonl"
    done = CliRunner().invoke(cli.main, ["eval", "hand", "--limit", "3", "--keep", str(kept)])
    assert done.exit_code == 0
    assert "right operation" in done.stdout
    assert "100.0 [" in done.stdout
    assert [json.loads(line)["operation"] for line in kept.read_text().splitlines()] == [True] * 3
    as_json = CliRunner().invoke(cli.main, ["eval", "hand", "--limit", "3", "--json"])
    assert json.loads(as_json.stdout)["cases"] == 3


def test_no_training_code_reads_the_set_or_has_seen_a_message_of_it():
    sources = [file for file in TRAINING.rglob("*") if file.suffix in (".py", ".json", ".txt", ".md", ".jsonl")]
    assert len(sources) > 10
    for file in sources:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".py":
            assert "hand_phrased" not in text, file
            assert "evaluation.hand" not in text, file
        assert [case.message for case in CASES if case.message in text] == [], file
