"""A benchmark run: every system asked, nothing lost by a kill, no table without its baselines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from encoder_maker import make_encoder
from test_benchmark_files import LOCOMO

from convert import encoder
from memr1_lite import cli
from memr1_lite.cli.evaluation import benchmarks
from memr1_lite.config import BankConfig
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import ContextOverflowError, InvalidInputError, MalformedOutputError, ModelError, ModelLoadError
from memr1_lite.evaluation.benchmark import Benchmark, Question, Talk
from memr1_lite.evaluation.compare import compare_lines
from memr1_lite.evaluation.judge import HttpJudge, ModelJudge, judge_all, said_verdict
from memr1_lite.evaluation.report import report_lines
from memr1_lite.evaluation.run_files import Judged, RunFolder, RunSettings
from memr1_lite.evaluation.runner import Runner
from memr1_lite.evaluation.systems import BASELINES, OURS, AddOnly, in_blocks
from memr1_lite.records import Add, Decision, Delete, Memory, Message, Reply, Turn, Update
from memr1_lite.testing import ScriptedModel

AT = datetime(2023, 5, 8)
TALK = Talk(
    id="conv-1",
    turns=tuple(
        Turn(speaker=speaker, text=text, at=AT, source_id=f"conv-1/D1:{number}")
        for number, (speaker, text) in enumerate(
            [("Ann", "I keep bees."), ("Ben", "I bought a kayak."), ("Ann", "Rain again."), ("Ben", "break")], start=1
        )
    ),
    questions=(
        Question(
            id="conv-1/q1",
            text="What does Ann keep?",
            answers=("bees",),
            category="single-hop",
            evidence=("conv-1/D1:1",),
        ),
        Question(id="conv-1/q2", text="What is Ann's boat called?", answers=(), category="adversarial"),
        Question(id="conv-1/q3", text="What did Ben break?", answers=("a leg",), category="single-hop"),
    ),
)
BENCHMARK = Benchmark(name="Test", talks=(TALK,))
SETTINGS = RunSettings(
    benchmark="Test",
    file="test.json",
    file_sha256="0",
    conversations=("conv-1",),
    questions=3,
    candidates=20,
    similar=8,
    embedder="lexical",
    agents={},
    machine="this one",
    notes=("a note",),
)


class Agents:
    """Writes every turn down, finds bees where they are shown, and fails where it is told."""

    def __init__(self):
        self.decided, self.answered, self.undistilled = 0, 0, 0

    def decide(self, message, similar):
        self.decided += 1
        if message.text == "break":
            raise MalformedOutputError("No operation.", raw="")
        text = f"{message.speaker} said: {message.text}"
        return Decision(operations=(Add(op="ADD", text=text),), prompt_tokens=10, output_tokens=2)

    def answer(self, question, candidates, *, distil=True):
        self.answered += 1
        self.undistilled += not distil
        if "break" in question:
            raise ModelError("llama.cpp failed")
        for position, candidate in enumerate(candidates):
            if "bees" in candidate.text and "keep" in question:
                return Reply(text="bees", known=True, cited=(position,), prompt_tokens=30, output_tokens=3)
        return Reply(text="I don't know.", known=False, prompt_tokens=30, output_tokens=1)

    def close(self):
        pass


@pytest.fixture
def folder(tmp_path):
    place = RunFolder(tmp_path / "run")
    place.begin(SETTINGS)
    return place


def run(folder, agents, prompted=None, benchmark=BENCHMARK):
    Runner(folder, agents, LexicalEmbedder(), BankConfig(candidates=20), prompted).run(benchmark)


def deeds(lines):
    """What the Manager did with the bank of ours."""
    start = next(number for number, line in enumerate(lines) if line.startswith("| what the Manager did"))
    line = next(line for line in lines[start:] if line.startswith("| ours "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_question_is_put_to_every_system_with_scores_and_costs(folder):
    agents = Agents()
    run(folder, agents)
    results = {(result.system, result.question): result for result in folder.results()}
    assert len(results) == len(folder.results()) == 3 * len((*BASELINES, *OURS))
    for system in (*BASELINES, *OURS):
        bees = results[system.name, "conv-1/q1"]
        assert (bees.answer, bees.exact, bees.set_f1, bees.calls, bees.prompt_tokens) == ("bees", 1.0, 1.0, 1, 30)
        assert len(bees.cited) == 1
        assert results[system.name, "conv-1/q2"].exact == 1.0
        failed = results[system.name, "conv-1/q3"]
        assert (failed.exact, failed.error) == (0.0, "llama.cpp failed")
    assert results["bm25", "conv-1/q1"].recall == {"5": 1.0, "10": 1.0, "30": 1.0, "60": 1.0}
    assert results["full context", "conv-1/q1"].recall is None
    assert agents.undistilled == 3


def test_a_failed_turn_costs_an_error_and_stays_searchable(folder):
    run(folder, Agents())
    managed = [cost for cost in folder.costs() if cost.bank == "managed"]
    assert [cost.error is not None for cost in managed] == [False, False, False, True]
    assert sum(cost.prompt_tokens for cost in managed) == 30
    assert [cost.operations for cost in managed] == [("ADD",), ("ADD",), ("ADD",), ()]
    assert [cost.unsaid for cost in managed] == [0, 0, 0, None]
    lines = report_lines(SETTINGS, folder.results(), folder.costs())
    assert deeds(lines) == ["ours", "4", "3", "0", "0", "0", "100.0 [43.9, 100.0]"]
    assert any(line.startswith("peak memory of a process of this run") for line in lines)
    assert all(cost.calls == 0 for cost in folder.costs() if cost.bank == "turns")


def test_what_a_manager_merges_was_said_also_where_it_may_only_add(folder):
    class Merging(Agents):
        def decide(self, message, similar):
            if not similar:
                return super().decide(message, similar)
            old = similar[0]
            text = f"{old.text} {message.text}"
            update = Update(op="UPDATE", memory_id=old.id, version=old.version, text=text)
            return Decision(operations=(update,))

    run(folder, Merging())
    banks = {bank: [cost.unsaid for cost in folder.costs() if cost.bank == bank] for bank in ("add-only", "managed")}
    assert banks == {"add-only": [0] * 4, "managed": [0] * 4}


def test_words_that_nobody_said_are_counted(folder):
    class Inventing(Agents):
        def decide(self, message, similar):
            return Decision(operations=(Add(op="ADD", text=f"{message.speaker} breeds 12 alpacas."),))

    run(folder, Inventing())
    assert [cost.unsaid for cost in folder.costs() if cost.bank == "managed"] == [3, 3, 3, 3]
    lines = report_lines(SETTINGS, folder.results(), folder.costs())
    assert deeds(lines) == ["ours", "4", "4", "0", "0", "0", "0.0 [0.0, 49.0]"]


def test_a_memory_that_was_rewritten_stands_for_every_turn_behind_it(folder):
    class Merging(Agents):
        def decide(self, message, similar):
            if "kayak" in message.text and similar:
                seen = similar[0]
                update = Update(op="UPDATE", memory_id=seen.id, version=seen.version, text=f"{seen.text} And a kayak.")
                return Decision(operations=(update,))
            return super().decide(message, similar)

    talk = TALK.model_copy(
        update={"turns": (TALK.turns[0], Turn(speaker="Ann", text="I keep a kayak.", source_id="b"))}
    )
    run(folder, Merging(), benchmark=Benchmark(name="Test", talks=(talk,)))
    ours = next(each for each in folder.results() if (each.system, each.question) == ("ours", "conv-1/q1"))
    assert ours.found == ("b", "conv-1/D1:1")
    assert ours.recall["5"] == 1.0


def test_a_statement_is_searched_for_and_no_agent_answers(folder):
    stated = Question(
        id="s1",
        text="Ann: I look after bees.",
        answers=("I keep bees.",),
        category="statement",
        evidence=("conv-1/D1:1",),
        statement=True,
    )
    agents = Agents()
    run(folder, agents, benchmark=Benchmark(name="Test", talks=(TALK.model_copy(update={"questions": (stated,)}),)))
    assert agents.answered == 0
    bm25 = next(each for each in folder.results() if each.system == "bm25")
    assert (bm25.answer, bm25.exact, bm25.calls, bm25.recall["5"]) == ("I keep bees.", 1.0, 0, 1.0)


def test_a_run_that_is_done_asks_nothing_again(folder):
    run(folder, Agents())
    before, again = folder.results(), Agents()
    run(folder, again)
    assert (again.decided, again.answered) == (0, 0)
    assert folder.results() == before


def test_half_a_line_is_cut_off_and_its_question_asked_again(folder):
    run(folder, Agents())
    file = folder.path / "questions.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    again = Agents()
    run(folder, again)
    assert again.answered == 1
    assert len(file.read_bytes().splitlines()) == len(whole.splitlines())


def test_the_report_has_intervals_costs_paired_tests_and_the_papers_labels(folder):
    run(folder, Agents())
    text = "\n".join(report_lines(SETTINGS, folder.results(), folder.costs(), baseline="rag"))
    assert "a note" in text
    assert "66.7 [" in text
    assert "F1 - rag" in text
    assert "tokens in/turn" in text
    assert "single-hop (n=2)" in text


def test_no_table_without_its_baselines(folder):
    run(folder, Agents())
    without = [result for result in folder.results() if result.system != "bm25"]
    with pytest.raises(InvalidInputError, match="not finished for bm25"):
        report_lines(SETTINGS, without, folder.costs())
    with pytest.raises(InvalidInputError, match="No system is called 'gpt'"):
        report_lines(SETTINGS, folder.results(), folder.costs(), baseline="gpt")


def test_a_folder_holds_one_run(folder):
    with pytest.raises(InvalidInputError, match="another candidates"):
        folder.begin(SETTINGS.model_copy(update={"candidates": 30}))
    with pytest.raises(InvalidInputError, match="not the folder of a run"):
        RunFolder(folder.path / "nothing").settings()


def test_an_untrained_model_is_one_more_baseline_with_its_own_memories(folder):
    prompted = Agents()
    run(folder, Agents(), prompted)
    assert {cost.bank for cost in folder.costs()} == {"turns", "add-only", "managed", "prompted"}
    assert (prompted.decided, prompted.answered) == (4, 3)
    assert "prompted: both agents untrained" in "\n".join(report_lines(SETTINGS, folder.results(), folder.costs()))


def test_an_agent_that_cannot_be_loaded_ends_the_run(folder):
    class Missing(Agents):
        def decide(self, message, similar):
            raise ModelLoadError("no such file")

    with pytest.raises(ModelLoadError):
        run(folder, Missing())


def test_a_benchmark_without_questions_is_refused(folder):
    empty = Benchmark(name="Test", talks=(TALK.model_copy(update={"questions": ()}),))
    with pytest.raises(InvalidInputError, match="no question"):
        Runner(folder, Agents(), LexicalEmbedder(), BankConfig()).run(empty)


def test_the_whole_context_is_cut_from_its_oldest_end_until_it_fits():
    messages = [Message(id=number, speaker="Ann", text=f"turn {number}") for number in range(1, 131)]
    blocks = in_blocks(messages)
    assert len(blocks) == 44
    assert "turn 130" in blocks[0].text
    assert "turn 1 /" in blocks[-1].text

    class Narrow(Agents):
        def answer(self, question, candidates, *, distil=True):
            if len(candidates) > 10:
                raise ContextOverflowError(100 * len(candidates), 1000)
            return Reply(text=candidates[-1].text, known=True)

    from memr1_lite.evaluation.counted import CountedAgents

    counted = CountedAgents(Narrow())
    shown, _ = counted.answer_fitting("?", blocks)
    assert list(shown) == blocks[:10]
    assert counted.take().calls == 1


def test_an_add_only_memory_never_updates_or_deletes():
    class Changing(Agents):
        def decide(self, message, similar):
            update = Update(op="UPDATE", memory_id=1, version=1, text="Ann keeps bees and hens.")
            return Decision(operations=(update, Delete(op="DELETE", memory_id=2, version=1)))

    decision = AddOnly(Changing()).decide(Message(id=1, speaker="Ann", text="."), [Memory(id=1, text="a")])
    assert decision.operations == (Add(op="ADD", text="Ann keeps bees and hens."),)


def test_two_runs_are_compared_on_the_questions_of_both(folder):
    run(folder, Agents())
    results = folder.results()
    worse = [each.model_copy(update={"exact": 0.0}) for each in results]
    text = "\n".join(compare_lines(results, worse))
    assert "| bm25: EM" in text
    assert "+66.7" in text
    assert "2/0" in text
    with pytest.raises(InvalidInputError, match="in common"):
        compare_lines(results, [])


def test_a_judge_of_ours_is_tested_on_wrong_answers_first(folder):
    run(folder, Agents())
    results = folder.results()
    asked = len([result for result in results if result.answers])
    verdicts = [("CORRECT",)] + [("WRONG",)] * 100
    judge = ModelJudge(ScriptedModel(verdicts, name="strict"))
    judged = list(judge_all(results, judge, [], done=lambda steps: None))
    assert [each.control for each in judged[:3]] == [True, True, False]
    assert len(judged) == asked + 2
    assert judged[0].correct
    text = "\n".join(report_lines(SETTINGS, results, folder.costs(), judged))
    assert "J is the verdict of strict. Of 2 wrong answers put to it, it let through 50.0" in text
    assert list(judge_all(results, judge, judged, done=lambda steps: None)) == []


def test_a_judge_that_gives_no_verdict_is_not_asked_for_it_again_and_the_table_counts_it(folder):
    run(folder, Agents())
    results = [result for result in folder.results() if result.system == "bm25"]

    class Evasive:
        name, asked = "evasive", 0

        def is_right(self, question, right, said):
            self.asked += 1
            if said == "bees":
                raise MalformedOutputError("No verdict.", raw="It depends.")
            return False

    judge = Evasive()
    judged = list(judge_all(results, judge, [], done=lambda steps: None))
    assert [each.error is not None for each in judged] == [False, True, True, False]  # two controls, two answers
    assert not any(each.correct for each in judged)
    assert list(judge_all(results, judge, judged, done=lambda steps: None)) == []
    text = "\n".join(report_lines(SETTINGS, folder.results(), folder.costs(), judged))
    assert "It gave no verdict on 2 of 4, which count as wrong." in text


def test_wrong_answers_come_from_the_same_category_where_it_has_any_and_their_want_is_said(folder):
    run(folder, Agents())
    (bees, _, leg) = [result for result in folder.results() if result.system == "bm25"]
    boat = bees.model_copy(update={"question": "q4", "answers": ("a boat",), "category": "multi-hop"})
    asked = []

    class Strict:
        name = "strict"

        def is_right(self, question, right, said):
            asked.append((right, said))
            return False

    assert len(list(judge_all([bees, boat, leg], Strict(), [], done=lambda steps: None))) == 6
    assert asked[:3] == [("bees", "a leg"), ("a boat", "a leg"), ("a leg", "bees")]
    alone = list(judge_all([bees], Strict(), [], done=lambda steps: None))
    assert not any(each.control for each in alone)
    assert "how lenient it is is not known" in "\n".join(report_lines(SETTINGS, folder.results(), [], alone))


def test_the_verdicts_of_two_judges_do_not_mix(folder):
    run(folder, Agents())
    results = folder.results()
    strict, kind = (
        [
            Judged(judge=name, system=each.system, question=each.question, correct=right)
            for each in results
            if each.answers
        ]
        for name, right in (("strict", False), ("kind", True))
    )
    rows = "\n".join(report_lines(SETTINGS, results, folder.costs(), [*strict, *kind]))
    assert " 100.0 [" in rows.split("| bm25")[1].split("\n")[0]
    lines = compare_lines(results, results, kind, [*strict, *kind])
    assert any(line.startswith("| bm25: J") for line in lines)
    assert not any(": J" in line for line in compare_lines(results, results, kind, strict))


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("CORRECT", True),
        ("Wrong.", False),
        ("The answer is incorrect.", False),
        ("It is not correct.", False),
        ("It isn't correct.", False),
        ("It isn\u2019t correct.", False),
        ('{"label": "CORRECT"}', True),
        ("<think>CORRECT? No, wrong.</think>CORRECT", True),
        ("Let me see. It names another boat. WRONG", False),
        ("CORRECT. Somebody else might say WRONG.", True),
        ("CORRECT or WRONG", None),
        ("It depends.", None),
        ("", None),
    ],
)
def test_a_verdict_is_one_word_among_others(said, verdict):
    assert said_verdict(said) is verdict


class Answering(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that says what its class is told."""

    says = "CORRECT"
    seen: list = []  # noqa: RUF012

    def do_POST(self):
        self.seen.append(
            (self.headers["Authorization"], json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        )
        body = json.dumps({"choices": [{"message": {"content": self.says}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_judge_at_an_address_is_asked_and_believed_only_where_it_decides():
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        judge = HttpJudge(f"http://127.0.0.1:{server.server_port}/v1/", "big", key="k")
        assert judge.is_right("What?", "bees", "honey bees")
        key, body = Answering.seen[-1]
        assert (key, body["model"], body["temperature"]) == ("Bearer k", "big", 0)
        Answering.says = "It depends."
        with pytest.raises(MalformedOutputError, match=r"no verdict.*It depends"):
            judge.is_right("What?", "bees", "honey bees")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    with pytest.raises(ModelError, match="Check the address"):
        judge.is_right("What?", "bees", "honey bees")


def test_the_command_runs_prints_compares_and_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "FileAgents", lambda agents, threads: Agents())
    file = tmp_path / "locomo.json"
    file.write_text(json.dumps(LOCOMO))
    out = str(tmp_path / "run")
    command = ["eval", "locomo", str(file), "--conversations", "validation", "--out", out, "--candidates", "20"]
    done = CliRunner().invoke(cli.main, command)
    assert done.exit_code == 0, done.output
    assert "| ours, no distillation" in done.stdout
    assert "multi-hop, paper: Single Hop (n=1)" in done.stdout
    assert (tmp_path / "run" / "table.md").read_text() == done.stdout
    again = CliRunner().invoke(cli.main, ["eval", "compare", out, out])
    assert "| ours: F1" in again.stdout
    picture = tmp_path / "run.png"
    assert CliRunner().invoke(cli.main, ["eval", "plot", out, str(picture)]).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    wrong = CliRunner().invoke(cli.main, ["eval", "msc", str(file), "--conversations", "x"])
    assert "Error: --conversations" in wrong.stderr
    wrong = CliRunner().invoke(cli.main, ["eval", "locomo", str(file), "--personas", str(file)])
    assert "Error: --personas is for MSC" in wrong.stderr


def test_a_run_takes_the_embedder_that_is_named_and_keeps_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "FileAgents", lambda agents, threads: Agents())
    file, encoded = tmp_path / "locomo.json", tmp_path / "tiny.gguf"
    file.write_text(json.dumps(LOCOMO))
    encoder.to_gguf(make_encoder(tmp_path / "encoder"), encoded, outtype="F32")
    command = ["eval", "locomo", str(file), "--conversations", "validation", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(cli.main, [*command, "--embedder", str(encoded)])
    assert done.exit_code == 0, done.output
    assert "embedder encoder:" in done.stdout
    wider = CliRunner().invoke(cli.main, [*command, "--embedder", str(encoded), "--context", "8192"])
    assert "holds a run with another context" in wider.stderr
    other = CliRunner().invoke(cli.main, [*command, "--embedder", "lexical"])
    assert "holds a run with another embedder" in other.stderr
    missing = CliRunner().invoke(cli.main, [*command, "--embedder", str(tmp_path / "none.gguf")])
    assert "Error: " in missing.stderr
    assert "none.gguf" in missing.stderr


def test_two_loras_on_one_base_are_agents_too_and_all_three_files_are_named(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(benchmarks, "FileAgents", lambda agents, config: given.append(agents) or Agents())
    file, base, lora = tmp_path / "locomo.json", tmp_path / "base.gguf", tmp_path / "lora.gguf"
    file.write_text(json.dumps(LOCOMO))
    base.write_bytes(b"base")
    lora.write_bytes(b"lora")
    command = ["eval", "locomo", str(file), "--conversations", "validation", "--out", str(tmp_path / "run")]
    loras = ["--manager-lora", str(lora), "--answerer-lora", str(lora)]
    done = CliRunner().invoke(cli.main, [*command, "--base", str(base), *loras])
    assert done.exit_code == 0, done.output
    assert (given[0].base, given[0].manager_lora, given[0].manager) == (base, lora, None)
    for line in ("\nbase base.gguf ", "\nmanager LoRA lora.gguf ", "\nanswerer LoRA lora.gguf "):
        assert line in done.stdout
    both = CliRunner().invoke(cli.main, [*command, "--base", str(base), "--manager", str(base)])
    assert both.exit_code == 2
    assert "Error: Agents: base is the model of both agents: give LoRAs for it, or manager and answerer" in both.stderr
    alone = CliRunner().invoke(cli.main, [*command, *loras])
    assert "Error: Agents: a LoRA needs the model that it was trained on: give base as well.\n" in alone.stderr


def test_a_run_killed_at_any_moment_goes_on_and_ends_as_if_it_had_not_been(tmp_path):
    file = tmp_path / "locomo.json"
    sample = json.loads(json.dumps(LOCOMO[:1]))
    session = sample[0]["conversation"]["session_1"]
    session += [{"speaker": "Ann", "dia_id": f"D1:{n}", "text": f"I bought a lamp number {n}."} for n in range(3, 16)]
    file.write_text(json.dumps(sample))
    command = [sys.executable, "-m", "memr1_lite", "eval", "locomo", str(file), "--threads", "1", "--limit", "2"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    kills = 0
    for lines in (5, 20):
        process = subprocess.Popen(
            [*command, "--out", str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        turns = killed / "turns.jsonl"
        while process.poll() is None and (not turns.exists() or turns.read_bytes().count(b"\n") < lines):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    for out in (killed, whole):
        subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    one, other = (
        {(result.system, result.question): result.answer for result in RunFolder(Path(out)).results()}
        for out in (killed, whole)
    )
    assert one == other
    assert len(one) == 2 * len((*BASELINES, *OURS))
