"""The examples and the README's code run as they stand."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from memr1_lite.cli import main

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
BUNDLED = all((ROOT / "memr1_lite" / "agents" / f"{role}.gguf").exists() for role in ("manager", "answerer"))
SHOWN = re.compile(r"^ *# prints: (.*)$", re.MULTILINE)
THINKS = re.compile(r"bank\.(remember|ask)\(")

needs_agents = pytest.mark.skipif(not BUNDLED, reason="the bundled agents are not here")


def thinking(block):
    return bool(THINKS.search(block)) and "memory_manager=" not in block


@pytest.mark.parametrize("block", [pytest.param(b, marks=needs_agents if thinking(b) else ()) for b in BLOCKS])
def test_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize(
    "block", [pytest.param(b, marks=needs_agents if thinking(b) else ()) for b in BLOCKS if SHOWN.search(b)]
)
def test_the_readme_says_what_its_code_prints_the_first_time_and_the_second(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        exec(compile(block, "README.md", "exec"), {})
        assert capsys.readouterr().out.splitlines() == SHOWN.findall(block)


@needs_agents
def test_the_session_of_the_readme_is_what_the_command_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (session,) = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    commands = re.findall(r"^\$ memr1 (.*)\n((?:(?!\$).*\n)*)", session, re.MULTILINE)
    assert len(commands) == session.count("$ ") >= 3
    for typed, printed in commands:
        done = CliRunner().invoke(main, shlex.split(typed), catch_exceptions=False)
        assert without_confidence(done.stdout) == without_confidence(printed)


def without_confidence(text):
    return re.sub(r"confidence [01]\.\d\d", "confidence", text)  # its last digit is the machine's


def test_the_readme_has_code():
    assert len(BLOCKS) >= 3
    assert sum(bool(SHOWN.search(block)) for block in BLOCKS) >= 2


def test_a_chat_log_is_kept_and_searched(tmp_path, capsys):
    file = tmp_path / "chat.jsonl"
    file.write_text('{"speaker": "Ann", "text": "I like tea."}\n{"speaker": "Ben", "text": "It rains."}\n')
    example = runpy.run_path(str(ROOT / "examples" / "import_chat_log.py"))
    example["main"](str(file), "tea")
    assert capsys.readouterr().out == (
        "2 turns are kept and wait for a decision\nAnn: I like tea.\nBen: It rains.\n"  # said right after it
    )


def test_without_a_file_the_chat_log_example_says_what_it_wants():
    command = [sys.executable, str(ROOT / "examples" / "import_chat_log.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Usage: python examples/import_chat_log.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_async_app_finds_what_was_said(capsys):
    runpy.run_path(str(ROOT / "examples" / "async_app.py"), run_name="__main__")
    assert "The train to Lyon leaves at nine." in capsys.readouterr().out


def test_an_app_may_bring_its_own_agents(capsys):
    runpy.run_path(str(ROOT / "examples" / "own_model.py"), run_name="__main__")
    assert capsys.readouterr().out == "Andrew said: My sister lives in Seattle.\n"


@needs_agents
def test_the_first_example_remembers_and_answers():
    command = [sys.executable, str(ROOT / "examples" / "remember_and_ask.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "UPDATE [1]" in done.stdout
    assert "\ntwo\n" in done.stdout
    assert "because: Andrew has two dogs, Buddy and Scout." in done.stdout


def test_every_example_is_run_here():
    here = Path(__file__).read_text(encoding="utf-8")
    assert [example.name for example in EXAMPLES if f'"{example.name}"' not in here] == []
