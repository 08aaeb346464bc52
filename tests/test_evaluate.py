from __future__ import annotations

import json
import random
import sys

import pytest

from convert.gguf_header import read_gguf_header
from convert.to_gguf import to_gguf
from memr1_lite.records import Add, Decision, Delete, Memory, Noop, Update
from train_ref import evaluate
from train_ref.evaluate import Tally, TrueBank, score_decision
from train_ref.tiny import make_agent
from train_ref.world.conversation import after, conversation
from train_ref.world.episodes import some_day
from train_ref.world.facts import Said


def test_a_decision_is_scored_by_operation_then_memory_then_text():
    said = Said("Andrew", "...", some_day(random.Random(0)), (), "change")
    shown = [Memory(id=1, text="a"), Memory(id=2, text="b")]
    right = [Update(op="UPDATE", memory_id=1, version=1, text="two dogs")]
    tally = Tally()
    wrong_memory = Update(op="UPDATE", memory_id=2, version=1, text="two dogs")
    for operation in (right[0], wrong_memory, Noop(op="NOOP"), Delete(op="DELETE", memory_id=1, version=1)):
        score_decision(tally, said, right, Decision(operations=(operation,)), shown)
    assert (tally.counts["operation"], tally.counts["naming"], tally.counts["memory"]) == (2, 2, 1)
    assert tally.f1 == [1.0]
    assert len(tally.failures) == 3


@pytest.mark.parametrize("seed", range(3))
def test_the_true_bank_holds_the_truth_after_every_message(seed):
    bank, facts = TrueBank(), []
    for said in conversation(seed, "heldout", 50, 0).messages:
        bank.learn(said, bank.hear(said))
        facts = after(facts, said)
        assert sorted(memory.text for memory in bank.store.memories()) == sorted(fact.text() for fact in facts)
        assert {memory.id for memory in bank.store.memories()} == set(bank.facts)
    bank.store.close()


class Perfect:
    """Agents that know the truth: what the evaluation gives them must be full marks."""

    def __init__(self, talk):
        self.talk = talk
        self.answers = {question.text: question for question in talk.questions}

    def close(self):
        pass

    def answer(self, question, candidates):
        from memr1_lite.records import Reply

        right = self.answers[question].answer
        return Reply(text=right or "I don't know.", known=right is not None)

    def decide(self, message, similar):
        return Decision(operations=(Add(op="ADD", text=message.text),))


def test_perfect_answers_get_full_marks_and_blind_adding_does_not(monkeypatch, capsys):
    talk = conversation(1_000_003, "heldout", 40, 12)
    monkeypatch.setattr(evaluate, "FileAgents", lambda agents: Perfect(talk))
    monkeypatch.setattr(evaluate, "bundled_agent", lambda role: __import__("pathlib").Path(__file__))
    arguments = ["--conversations", "1", "--messages", "40", "--questions", "12", "--candidates", "30", "60"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    evaluate.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["valid"] == 1.0
    assert line["end_to_end_em_60"] == line["end_to_end_em_30"] == line["answer_em_on_truth_60"] == 1.0
    assert 0 < line["operation_accuracy"] < 0.7
    assert line["right_memory"] == 0


def test_the_figures_go_into_the_card_of_the_checkpoint_that_was_measured_and_no_other(tmp_path, monkeypatch, capsys):
    folder, other = (make_agent(tmp_path / name, "manager", seed=seed) for name, seed in (("mine", 0), ("other", 1)))
    gguf = tmp_path / "manager.gguf"
    to_gguf(folder, gguf)
    talk = conversation(1_000_003, "heldout", 10, 4)
    monkeypatch.setattr(evaluate, "FileAgents", lambda agents: Perfect(talk))
    arguments = "evaluate --conversations 1 --messages 10 --questions 4 --candidates 60 --manager".split()
    before = (other / "memr1.json").read_bytes()
    monkeypatch.setattr(sys, "argv", [*arguments, str(gguf), "--card", str(folder), str(other)])
    with pytest.raises(SystemExit):
        evaluate.main()
    assert "converted from the weights in" in capsys.readouterr().err
    assert (other / "memr1.json").read_bytes() == before
    monkeypatch.setattr(sys, "argv", [*arguments, str(gguf), "--card", str(folder)])
    for _ in range(2):  # measured again, nothing more is moved
        evaluate.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    card = json.loads((folder / "memr1.json").read_text())
    assert card["figures"] == {name: value for name, value in line.items() if name not in evaluate.OF_THE_MACHINE}
    assert (card["figures"]["split"], card["training_figures"], card["role"]) == ("heldout", {"exact": 0.0}, "manager")
    to_gguf(folder, gguf, force=True)
    metadata = read_gguf_header(gguf).metadata
    assert json.loads(metadata["memr1.figures"])["end_to_end_em_60"] == line["end_to_end_em_60"] == 1.0
