"""The memr1 command: stdout is for results, stderr for the rest, errors are one line."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from memr1_lite import __version__, cli, demo
from memr1_lite.answer_agent import AnswerAgent
from memr1_lite.bank import MemoryBank
from memr1_lite.demo import Said
from memr1_lite.errors import ContextOverflowError
from memr1_lite.llm import END
from memr1_lite.memory_manager import MemoryManager
from memr1_lite.testing import ScriptedModel

README = Path(__file__).parents[1] / "README.md"
BUDDY = ("ADD", " Andrew has a dog named Buddy.", END)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "bank.db")


@pytest.fixture
def run(monkeypatch):
    """Run the command with agents that say what they are told, in place of GGUF files."""
    script = {"decisions": [], "answers": []}
    opened = MemoryBank.open

    def open_scripted(path, **arguments):
        manager = MemoryManager(ScriptedModel(script["decisions"]))
        answerer = AnswerAgent(ScriptedModel(script["answers"]))
        return opened(path, memory_manager=manager, answer_agent=answerer)

    monkeypatch.setattr(MemoryBank, "open", open_scripted)

    def invoke(*arguments, decisions=(), answers=(), stdin=None, exit_code=0):
        script.update(decisions=list(decisions), answers=list(answers))
        result = CliRunner().invoke(cli.main, arguments, input=stdin)
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


def chat_file(tmp_path, *texts):
    file = tmp_path / "chat.jsonl"
    file.write_text("".join(json.dumps({"speaker": "Andrew", "text": text}) + "\n" for text in texts))
    return str(file)


def test_remember_prints_the_operations(run, path):
    said = ("remember", path, "I adopted a dog named Buddy.", "--speaker", "Andrew", "--at", "2023-05-07")
    result = run(*said, decisions=[BUDDY])
    assert result.stdout == "change 1 (manager)\n  ADD [1] 'Andrew has a dog named Buddy.'  (confidence 1.00)\n"


def test_a_dash_is_standard_input(run, path):
    run("remember", path, "-", stdin="I adopted a dog named Buddy.\n", decisions=[BUDDY])
    result = run("ask", path, "-", stdin="Which dog?\n", answers=[("[1]", ":", " Buddy")])
    assert result.stdout == "Buddy\n  [1] Andrew has a dog named Buddy.\n"


def test_ask_says_where_candidates_did_not_fit(run, path, monkeypatch):
    answer = AnswerAgent.answer

    def with_room_for_two(self, question, candidates):
        if len(candidates) > 2:
            raise ContextOverflowError(needed=100 * len(candidates), available=299)
        return answer(self, question, candidates)

    monkeypatch.setattr(AnswerAgent, "answer", with_room_for_two)
    with MemoryBank.open(path) as bank:
        for name in ("Buddy", "Scout", "Rex", "Bella"):
            bank.record(f"A dog is named {name}.")
    said = run("ask", path, "Which dog?", answers=[("[1]", ":", " Buddy")]).stdout.splitlines()
    assert said[0] == "Buddy"
    assert said[1].startswith("  (turn ")
    assert said[2:] == ["  (2 of 4 candidates did not fit into the model's context)"]
    assert json.loads(run("ask", path, "Which dog?", "--json", answers=[("NONE",)]).stdout)["left_out"] == 2


def test_machine_output_is_one_object_per_line(run, path):
    run("remember", path, "I adopted a dog named Buddy.", decisions=[BUDDY])
    run("remember", path, "I like tea with dog biscuits.", decisions=[("ADD", " Andrew likes tea.", END)])
    for command in (("search", path, "dog tea"), ("list", path), ("history", path), ("stats", path)):
        lines = run(*command, "--json").stdout.splitlines()
        assert all(isinstance(json.loads(line), dict) for line in lines)
        assert len(lines) == (1 if command[0] == "stats" else 2)
    answer = json.loads(run("ask", path, "Dog?", "--json", answers=[("[1]", ":", " Buddy")]).stdout)
    assert (answer["text"], answer["cited"][0]["kind"]) == ("Buddy", "memory")


def test_lists_show_ids_and_texts(run, path):
    run("remember", path, "I adopted a dog named Buddy.", "--at", "2023-05-07", decisions=[BUDDY])
    assert run("list", path).stdout == "[1] Andrew has a dog named Buddy.  (7 May 2023)\n"
    assert run("search", path, "dog").stdout == "[1] Andrew has a dog named Buddy.  (7 May 2023)\n"
    assert run("search", path, "dog", "--until", "2023-05-07").stdout == ""
    assert run("search", path, "dog", "--speaker", "USER").stdout == run("search", path, "dog").stdout
    why = json.loads(run("search", path, "dog", "--json").stdout)
    assert (why["words"], why["keyword_rank"], why["vector_rank"], why["word_score"]) == (["dog"], 1, 1, 1.0)
    assert "memories     1\n" in run("stats", path).stdout
    assert "embedder     lexical-1\n" in run("stats", path).stdout


def test_forgetting_and_undoing(run, path):
    run("remember", path, "I adopted a dog named Buddy.", decisions=[BUDDY])
    assert "DELETE [1]" in run("forget", path, "1").stdout
    assert run("list", path).stdout == ""
    assert "change 3 (undo) of change 2" in run("undo", path, "2").stdout
    assert "Buddy" in run("list", path).stdout
    assert "ADD [1]" in run("history", path, "1").stdout
    assert run("forget", path, "1", "--purge").stdout == ""
    assert "Buddy" not in run("history", path).stdout


def test_out_and_in_again(run, path, tmp_path):
    run("remember", path, "I adopted a dog named Buddy.", decisions=[BUDDY])
    file, copy = str(tmp_path / "export.jsonl"), str(tmp_path / "copy.db")
    run("export", path, file)
    assert run("export", path, "-").stdout == Path(file).read_text()
    assert run("import", copy, file, "--format", "bank").stdout == "1 turns, 1 memories, 0 turns pending\n"
    assert run("history", copy).stdout == run("history", path).stdout
    assert "--format bank" in run("import", copy, file, exit_code=1).stderr
    assert "not empty" in run("import", copy, file, "--format", "bank", exit_code=1).stderr
    run("backup", path, str(tmp_path / "backup.db"))
    assert run("list", str(tmp_path / "backup.db")).stdout == run("list", path).stdout
    assert "bytes now" in run("compact", path).stdout


def test_looking_back(run, path):
    run("remember", path, "I adopted a dog named Buddy.", decisions=[BUDDY])
    run("remember", path, "Buddy ran away.", decisions=[("DELETE", "[1]", END)])
    assert run("search", path, "Andrew", "--as-of", "1").stdout == "[1] Andrew has a dog named Buddy.\n"
    assert run("search", path, "Andrew", "--as-of", "1999-12-31").stdout == ""
    assert run("diff", path, "1").stdout == "- [1] Andrew has a dog named Buddy.\n"
    assert json.loads(run("diff", path, "1", "--json").stdout)["new"] is None
    assert run("diff", path, "2020-01-01").stdout == ""
    assert "'soon' is not a moment" in run("diff", path, "soon", exit_code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("remember", "PATH", " "), "text is blank"),
        (("remember", "PATH", "Hi there", "--at", "soon"), "is not a date"),
        (("forget", "PATH", "7"), "No memory has the id 7"),
        (("undo", "PATH", "7"), "No change has the id 7"),
        (("search", "PATH", "dog", "-k", "0"), "k=0"),
        (("ask", "OTHER", "Which dog?"), "no bank at"),
        (("remember", "PATH", "A thing no script covers."), "has one reply less"),
    ],
)
def test_an_error_is_one_line_on_stderr(run, path, arguments, said):
    run("remember", path, "Hi!")
    known = {"PATH": path, "OTHER": path + "x"}
    result = run(*(known.get(argument, argument) for argument in arguments), exit_code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_reader_that_has_read_enough_is_no_error(path, tmp_path):
    with MemoryBank.open(path) as bank:
        for number in range(20):  # more than a pipe holds
            bank.record(f"Turn {number} of a long talk. {'It went on and on. ' * 400}")
    reading = f"{sys.executable} -m memr1_lite pending {path} | head -n 1"
    done = subprocess.run(["sh", "-c", reading], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert "Turn 0 of" in done.stdout
    assert done.stderr == ""


def test_text_in_another_encoding_is_an_error_too(run, path):
    run("remember", path, "I like tea.", decisions=[("NOOP",)])
    for command in (("remember", path, "-"), ("chat", path)):
        result = run(*command, stdin=b"Caf\xe9\n", exit_code=1)
        assert result.stderr.splitlines()[-1].startswith("Error: Give UTF-8 text")


def test_reading_commands_make_no_new_bank(run, path):
    words = {"ask": ["q"], "search": ["q"], "diff": ["1"], "forget": ["1"], "undo": ["1"]}
    words |= {"export": [path + ".jsonl"], "backup": [path + ".copy"]}
    words |= {command: [] for command in ("list", "history", "stats", "pending", "reindex", "check", "compact")}
    words |= {"reembed": ["--embedder", path + ".gguf"]}  # the bank's absence is seen first
    for command, rest in words.items():
        missing = run(command, path, *rest, exit_code=1)
        assert missing.stderr.endswith(
            f"Error: There is no bank at {path!r}: `memr1 remember` or `memr1 import` makes one.\n"
        )
    assert not list(Path(path).parent.iterdir())


def test_import_goes_on_where_it_stopped(run, path, tmp_path):
    file = chat_file(tmp_path, "I adopted a dog named Buddy.", "I live in Denver.", "Hi!")
    denver = ("ADD", " Andrew lives in Denver.", END)
    first = run("import", path, file, "--limit", "1", decisions=[BUDDY])
    assert first.stdout == "1 turns, 1 memories, 0 turns pending\n"
    assert run("import", path, file, decisions=[denver]).stdout == "3 turns, 2 memories, 0 turns pending\n"
    assert run("import", path, file).stdout == "3 turns, 2 memories, 0 turns pending\n"


def test_import_without_deciding_keeps_turns_for_later(run, path, tmp_path):
    file = chat_file(tmp_path, "I adopted a dog named Buddy.")
    assert run("import", path, file, "--no-decide").stdout == "1 turns, 0 memories, 1 turns pending\n"
    assert "Buddy" in run("search", path, "dog").stdout
    assert run("import", path, file, decisions=[BUDDY]).stdout == "1 turns, 1 memories, 0 turns pending\n"


def test_a_turn_that_cannot_be_decided_about_does_not_stop_an_import(run, path, tmp_path):
    file = chat_file(tmp_path, "An odd thing happened.", "I adopted a dog named Buddy.")
    result = run("import", path, file, decisions=[("NONSENSE",), BUDDY])
    assert result.stdout == "2 turns, 1 memories, 1 turns pending\n"
    assert "1 turns are kept but undecided" in result.stderr


def test_a_turn_that_cannot_be_kept_is_named_and_all_others_are_kept(run, path, tmp_path):
    file = chat_file(tmp_path, "I adopted a dog named Buddy.", "x" * 9_000, "I like tea.")
    result = run("import", path, file, "--no-decide", exit_code=1)
    assert "Error: Turn 'chat.jsonl:2:" in result.stderr
    assert result.stdout == "2 turns, 0 memories, 2 turns pending\n"


def test_pending_turns_are_listed_and_decided(run, path, tmp_path):
    run("import", path, chat_file(tmp_path, "I adopted a dog named Buddy.", "An odd thing."), "--no-decide")
    assert run("pending", path).stdout.splitlines() == [
        "(turn 1) Andrew: I adopted a dog named Buddy.",
        "(turn 2) Andrew: An odd thing.",
    ]
    result = run("pending", path, "--decide", decisions=[BUDDY, ("NONSENSE",)], exit_code=1)
    assert result.stdout == "change 1 (manager)\n  ADD [1] 'Andrew has a dog named Buddy.'  (confidence 1.00)\n"
    assert "NONSENSE" in result.stderr
    assert (
        run("pending", path, "--decide", decisions=[("NOOP",)]).stdout
        == "change 2 (manager)\n  NOOP  (confidence 1.00)\n"
    )
    assert run("pending", path).stdout == ""


def test_a_damaged_full_text_is_found_by_check_and_repaired_by_reindex(run, path):
    run("remember", path, "I adopted a dog named Buddy.", decisions=[BUDDY])
    assert run("check", path).stdout == "no damage found\n"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE memories_fts_data SET block = zeroblob(20) WHERE id > 10")
    assert "full text of memories differs" in run("check", path, exit_code=1).stdout
    assert run("reindex", path).stdout == "1 memories and 1 turns indexed\n"
    assert run("check", path).stdout == "no damage found\n"


def test_import_reads_one_conversation_of_a_locomo_file(run, path, tmp_path):
    turn = {"speaker": "Ann", "dia_id": "D1:1", "text": "I like tea."}
    conversation = {"session_1": [turn], "session_1_date_time": "1:56 pm on 8 May, 2023"}
    file = tmp_path / "locomo.json"
    file.write_text(json.dumps([{"sample_id": name, "conversation": conversation} for name in ("conv-1", "conv-2")]))
    run("import", path, str(file), "--no-decide", "--conversation", "conv-2")
    assert "Ann: I like tea.  (8 May 2023)" in run("search", path, "tea").stdout
    assert "conv-1, conv-2" in run("import", path, str(file), "--conversation", "conv-3", exit_code=1).stderr


def test_import_takes_the_first_conversation_and_says_so_where_none_is_named(run, path, tmp_path):
    conversation = {"session_1": [], "session_1_date_time": "1:56 pm on 8 May, 2023"}
    file = tmp_path / "locomo10"
    file.write_text(json.dumps([{"sample_id": name, "conversation": conversation} for name in ("conv-1", "conv-2")]))
    result = run("import", path, str(file), "--format", "locomo", "--no-decide")
    assert "Importing conv-1; --conversation takes conv-2." in result.stderr
    assert "0 turns" in result.stdout


def test_a_broken_file_is_an_error_that_names_the_line(run, path, tmp_path):
    file = tmp_path / "chat.jsonl"
    file.write_text('{"speaker": "Andrew", "words": "Hi"}\n')
    assert "line 1" in run("import", path, str(file), exit_code=1).stderr
    assert not Path(path).exists()


def test_chat_remembers_statements_and_answers_questions(run, path):
    lines = "I adopted a dog named Buddy.\n\nWhich dog?\nSomething unscripted.\n"
    decisions, answers = [BUDDY], [("[1]", ":", " Buddy")]
    result = run("chat", path, "--speaker", "Andrew", stdin=lines, decisions=decisions, answers=answers)
    assert "ADD [1]" in result.stdout
    assert "\nBuddy\n" in result.stdout
    assert "Error: The scripted model" in result.stderr


def test_demo_shows_every_message_and_every_question(run):
    script = demo.script()
    noops, unknowns = [("NOOP",)] * len(script), [("NONE",)] * len(script)
    shown = run("demo", decisions=noops, answers=unknowns).stdout
    for line in script:
        assert line.text in shown
    assert " ms" in shown
    assert "I don't know." in shown
    events = [json.loads(line) for line in run("demo", "--json", decisions=noops, answers=unknowns).stdout.splitlines()]
    assert len(events) == len(script)
    assert all(event["milliseconds"] > 0 for event in events)


def test_the_demo_tells_a_story_over_several_days_and_asks_at_the_end():
    script = demo.script()
    messages = [line for line in script if isinstance(line, Said)]
    assert len({line.at.date() for line in messages}) >= 4
    assert [line.at for line in messages] == sorted(line.at for line in messages)
    assert "How many dogs does Andrew have?" in [line.text for line in script[len(messages) :]]
    assert len(script) - len(messages) >= 8


def test_without_a_model_file_the_error_names_it(tmp_path):
    arguments = ["remember", str(tmp_path / "bank.db"), "I like tea.", "--manager", str(tmp_path / "none.gguf")]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2
    assert "none.gguf" in result.stderr


def test_a_model_file_that_is_named_must_be_there_also_where_no_model_runs(run, path, tmp_path):
    run("remember", path, "I like tea.", decisions=[("NOOP",)])
    result = run("ask", path, "Zxcvb?", "--answerer", str(tmp_path / "none.gguf"), exit_code=2)
    assert "none.gguf' does not exist" in result.stderr
    assert result.stdout == ""


def test_the_environment_names_the_model_files(tmp_path):
    environment = {"MEMR1_MANAGER": str(tmp_path / "mine.gguf")}
    result = CliRunner().invoke(cli.main, ["remember", str(tmp_path / "bank.db"), "I like tea."], env=environment)
    assert "mine.gguf" in result.stderr


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "memr1_lite", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == f"memr1, version {__version__}\n"


@pytest.mark.parametrize("name", sorted(cli.main.commands))
def test_each_command_has_an_example_and_stands_in_the_readme(name):
    command = cli.main.commands[name]
    shown = command.get_help(click.Context(command, info_name=name))
    assert f"Example:\n    memr1 {name}" in shown.replace("      ", "    ")
    assert f"`memr1 {name}" in README.read_text(encoding="utf-8")
