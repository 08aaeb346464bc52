"""The contradiction suite is sound, ideal agents get full marks and idle ones do not, and no training reads it."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from memr1_lite import cli
from memr1_lite.cli.evaluation import suites
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import InvalidInputError, MalformedOutputError, ModelLoadError
from memr1_lite.evaluation.contradiction_run import RESULTS, HistoryResult, Quoting, play, run_contradictions
from memr1_lite.evaluation.contradiction_table import contradiction_scores, failure_lines
from memr1_lite.evaluation.contradictions import Ask, chosen, histories, holding, right_reply, says
from memr1_lite.evaluation.operations import Expected
from memr1_lite.evaluation.run_files import RunFolder
from memr1_lite.evaluation.statistics import cluster_interval
from memr1_lite.records import Add, Decision, Delete, Noop, Reply, Update

SUITE = histories()
KINDS = """
    addition replacement correction retraction repeat near-duplicate same-name time-reversed negation count third-party
    small-talk injection
""".split()
TRAINING = Path(__file__).parents[1] / "train_ref"
EMBEDDER = LexicalEmbedder()


class Ideal:
    """Knows the histories: does the first of the right operations, and writes down what was said."""

    def __init__(self):
        self.turns = {
            (turn.speaker, turn.text, turn.at, number): (history, turn)
            for history in SUITE
            for number, turn in enumerate(history.turns, start=1)
        }
        self.asks = {ask.question: ask for history in SUITE for ask in history.asks}

    def decide(self, message, similar):
        history, turn = self.turns[message.speaker, message.text, message.at.date(), message.id]
        text = f"{message.speaker} said {message.text}"
        for gone in history.gone:
            text = " ".join(text.replace(gone, "...").split())
        return Decision(operations=tuple([self.operation(each, message.id, text, similar) for each in turn.right[0]]))

    def operation(self, each, number, text, similar):
        if each.op == "NOOP":
            return Noop(op="NOOP")
        if each.op == "ADD":
            return Add(op="ADD", text=f"{number} | {text}")
        (memory,) = [memory for memory in similar if str(each.memory) in memory.text.partition("|")[0].split()]
        if each.op == "DELETE":
            return Delete(op="DELETE", memory_id=memory.id, version=memory.version)
        text = f"{memory.text.partition('|')[0]} {number} | {text}"
        return Update(op="UPDATE", memory_id=memory.id, version=memory.version, text=text)

    def answer(self, question, candidates):
        ask = self.asks[question]
        return Reply(text=ask.answers[0] if ask.answers else "Unknown", known=bool(ask.answers))

    def close(self):
        pass


class AlwaysAdds(Quoting):
    """Adds whatever is said, and answers with what was found first."""

    def close(self):
        pass


class AlwaysIdle(AlwaysAdds):
    """Never does anything, and answers with what was found first."""

    def decide(self, message, similar):
        return Decision(operations=(Noop(op="NOOP"),))


class NeverKnows(Ideal):
    """Decides well and knows no answer."""

    def answer(self, question, candidates):
        return Reply(text="I don't know.", known=False)


def total(agents, suite=SUITE):
    return contradiction_scores([play(history, agents, EMBEDDER) for history in suite])[-1]


def test_there_are_many_histories_of_every_kind_and_none_twice():
    kinds = Counter(history.kind for history in SUITE)
    assert list(kinds) == KINDS
    assert len(SUITE) >= 300
    assert max(kinds.values()) - min(kinds.values()) <= 4
    assert len({history.id for history in SUITE}) == len(SUITE)
    assert len({tuple(turn.text for turn in history.turns) for history in SUITE}) == len(SUITE)
    assert len({ask.question for history in SUITE for ask in history.asks}) == sum(len(each.asks) for each in SUITE)
    first = Counter(turn.right[0][0].op for history in SUITE for turn in history.turns)
    assert min(first[name] for name in ("ADD", "UPDATE", "DELETE", "NOOP")) >= 20


@pytest.mark.parametrize("history", SUITE, ids=lambda history: history.id)
def test_every_history_is_sound(history):
    assert history.id.startswith(f"{history.kind}-")
    assert history.turns
    assert history.asks
    for number, turn in enumerate(history.turns, start=1):
        assert turn.right
        assert len(set(turn.right)) == len(turn.right)
        for right in turn.right:
            names = [each.op for each in right]
            assert names
            assert ("NOOP" in names) <= (len(names) == 1)
            for each in right:
                naming = each.op in ("UPDATE", "DELETE")
                assert (each.memory is not None) == naming
                assert not naming or 1 <= each.memory < number
    for ask in history.asks:
        assert ask.question.endswith("?")
        assert ask.answers or ask.unknown
        assert all(right_reply(ask, answer, True) for answer in ask.answers)
        assert right_reply(ask, "", False) == ask.unknown
        assert not any(right_reply(ask, never, True) for never in ask.never)
    told = " ".join(turn.text for turn in history.turns).lower()
    assert all(phrase.split()[-1].lower() in told for phrase in history.gone)
    dates = [turn.at for turn in history.turns]
    assert history.kind == "time-reversed" or dates == sorted(dates)


def test_ideal_agents_get_full_marks():
    results = [play(history, Ideal(), EMBEDDER) for history in SUITE]
    assert failure_lines(results) == []
    whole = contradiction_scores(results)[-1]
    assert [whole.operation.value, whole.memory.value, whole.answered.value] == [1.0, 1.0, 1.0]
    assert [whole.unknown.value, whole.valid.value, whole.upheld.value, whole.leaks.value] == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("policy", [AlwaysAdds, AlwaysIdle])
def test_constant_policies_do_clearly_worse(policy):
    whole = total(policy(), SUITE[::3])
    assert whole.operation.value < 0.8
    assert whole.upheld.value < 0.55
    assert whole.leaks.value > 0.25
    assert whole.unknown.value < 0.2
    assert whole.memory is None


def test_who_never_knows_is_right_only_where_nothing_is_known():
    whole = total(NeverKnows(), SUITE[::5])
    assert (whole.answered.value, whole.unknown.value) == (0.0, 1.0)
    assert whole.upheld.value < 0.4


def test_an_update_of_another_memory_is_not_right():
    class Confused(Ideal):
        def operation(self, each, number, text, similar):
            other = Expected(op=each.op, memory=1 if each.memory == 2 else each.memory)
            return super().operation(other, number, text, similar)

    (history,) = [each for each in SUITE if each.id == "retraction-02"]
    result = play(history, Confused(), EMBEDDER)
    assert (result.turns[-1].operation, result.turns[-1].memory) == (True, False)
    assert "right: DELETE of what message 2 wrote" in "\n".join(failure_lines([result]))


def test_what_a_memory_must_not_hold_is_a_leak():
    (history,) = [each for each in SUITE if each.id == "replacement-01"]
    result = play(history, Ideal(), EMBEDDER)
    assert result.upheld
    worse = result.model_copy(update={"leaked": holding(["Mirka lives in Leeds."], history.gone)})
    assert worse.leaked == ("lives in Leeds",)
    assert (worse.leaks, worse.upheld) == (True, False)
    assert holding(["Mirka lived in Leeds until 2023."], history.gone) == ()
    assert "replacement-01 (not upheld)" in failure_lines([worse])


def test_an_answer_is_right_when_it_says_what_is_right_and_nothing_that_it_must_not():
    ask = Ask(question="Which dogs?", answers=("Buddy and Scout",), never=("Rex",))
    assert right_reply(ask, "She has two dogs: Scout and Buddy.", True)
    assert not right_reply(ask, "Buddy, Scout and Rex", True)
    assert not right_reply(ask, "Buddy", True)
    assert not right_reply(ask, "Buddy and Scout, as I said, and then we went for a long walk", True)
    assert not right_reply(ask, "I don't know.", True)
    assert right_reply(Ask(question="Which?", unknown=True), "I don't know.", True)
    assert says("on the 5 June", "5 June")
    assert not says("on 15 June", "5 June")
    assert not says("a vegetarian", "vegan")


def test_a_failed_decision_is_wrong_and_the_history_goes_on():
    class Broken(Ideal):
        def decide(self, message, similar):
            raise MalformedOutputError("No operation.", raw="ba")

        def answer(self, question, candidates):
            raise MalformedOutputError("No answer.", raw="ba")

    result = play(SUITE[0], Broken(), EMBEDDER)
    assert [turn.operation for turn in result.turns] == [False, False]
    assert (result.valid, result.upheld) == (False, False)
    assert {"No operation.", "No answer."} <= {
        word for line in failure_lines([result]) for word in ("No operation.", "No answer.") if word in line
    }


def test_an_agent_that_cannot_be_loaded_ends_the_run(tmp_path):
    class Missing(Ideal):
        def decide(self, message, similar):
            raise ModelLoadError("no such file")

    with pytest.raises(ModelLoadError):
        run_contradictions(SUITE[:1], Missing(), EMBEDDER, RunFolder(tmp_path))


def test_an_interrupted_run_goes_on_and_measures_nothing_twice(tmp_path):
    class Counting(Ideal):
        told = 0

        def decide(self, message, similar):
            self.told += 1
            if self.told == 5:
                raise KeyboardInterrupt
            return super().decide(message, similar)

    agents, folder, steps = Counting(), RunFolder(tmp_path), []
    with pytest.raises(KeyboardInterrupt):
        run_contradictions(SUITE[:4], agents, EMBEDDER, folder, done=steps.append)
    before = folder.read(RESULTS, HistoryResult)
    assert [result.id for result in before] == ["addition-01", "addition-02"]
    with (tmp_path / RESULTS).open("ab") as file:
        file.write(b'{"id": "addi')
    results = run_contradictions(SUITE[:4], agents, EMBEDDER, folder, done=steps.append)
    assert results[:2] == before
    assert [result.id for result in results] == [history.id for history in SUITE[:4]]
    assert sum(steps) == 2 + 4
    assert agents.told == 5 + sum(len(history.turns) for history in SUITE[2:4])


def test_histories_are_chosen_by_kind_and_so_many_of_each():
    assert [history.id for history in chosen(SUITE, ["count", "repeat"], 1)] == ["repeat-01", "count-01"]
    assert len(chosen(SUITE, [], 2)) == 2 * len(KINDS)
    with pytest.raises(InvalidInputError, match="there are addition,"):
        chosen(SUITE, ["nonsense"], None)


def test_whole_groups_are_drawn():
    together = cluster_interval({"a": [1.0] * 10, "b": [0.0] * 10})
    assert (together.value, together.low, together.high) == (0.5, 0.0, 1.0)
    apart = cluster_interval({str(number): [float(number % 2)] for number in range(400)})
    assert 0.44 < apart.low < 0.46
    assert 0.54 < apart.high < 0.56


def test_the_command_prints_a_table_keeps_every_history_and_draws(monkeypatch, tmp_path):
    monkeypatch.setattr(suites, "FileAgents", lambda *_: AlwaysIdle())
    out, picture = tmp_path / "run", tmp_path / "picture.png"
    command = ["eval", "contradictions", "--limit", "1", "--embedder", "lexical", "--out", str(out)]
    done = CliRunner().invoke(cli.main, [*command, "--failures"])
    assert done.exit_code == 0, done.output
    assert "| time-reversed" in done.stdout
    assert "| all, without a model" in done.stdout
    assert "right \\ chosen" in done.stdout
    assert (out / "table.md").read_text() == done.stdout
    assert "small-talk-01\n  message 2: NOOP (right: ADD)" in done.stdout
    of_agents, of_none = (row.split("|")[3:] for row in done.stdout.splitlines() if row.startswith("| all"))
    assert of_agents != of_none
    assert len((out / RESULTS).read_text().splitlines()) == len(KINDS)
    as_json = CliRunner().invoke(cli.main, [*command, "--kinds", "count", "--json"])
    assert [json.loads(line)["kind"] for line in as_json.stdout.splitlines()] == ["count", "all"]
    drawn = CliRunner().invoke(cli.main, ["eval", "plot", str(out), str(picture)])
    assert drawn.exit_code == 0, drawn.output
    assert os.path.getsize(picture) > 5_000
    wrong = CliRunner().invoke(cli.main, [*command, "--kinds", "nonsense"])
    assert (wrong.exit_code, "No kind is called 'nonsense'" in wrong.stderr) == (1, True)


def test_no_training_code_reads_the_suite_or_has_seen_a_message_of_it():
    messages = {turn.text for history in SUITE for turn in history.turns if len(turn.text.split()) > 6}
    sources = [file for file in TRAINING.rglob("*") if file.suffix in (".py", ".json", ".txt", ".md", ".jsonl")]
    assert len(sources) > 10
    for file in sources:
        text = file.read_text(encoding="utf-8")
        assert "contradictions.jsonl" not in text, file
        assert "evaluation.contradiction" not in text, file
        assert [message for message in messages if message in text] == [], file
