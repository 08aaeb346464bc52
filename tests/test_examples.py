"""The examples and the README's code run as they stand."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
BUNDLED = all((ROOT / "memr1_lite" / "agents" / f"{role}.gguf").exists() for role in ("manager", "answerer"))
THINKS = re.compile(r"bank\.(remember|ask)\(")

needs_agents = pytest.mark.skipif(not BUNDLED, reason="the bundled agents are not here")


def thinking(block):
    return bool(THINKS.search(block)) and "memory_manager=" not in block


@pytest.mark.parametrize("block", [pytest.param(b, marks=needs_agents if thinking(b) else ()) for b in BLOCKS])
def test_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


def test_the_readme_has_code():
    assert len(BLOCKS) >= 3


def test_a_chat_log_is_kept_and_searched(tmp_path, capsys):
    file = tmp_path / "chat.jsonl"
    file.write_text('{"speaker": "Ann", "text": "I like tea."}\n{"speaker": "Ben", "text": "It rains."}\n')
    main = runpy.run_path(str(ROOT / "examples" / "import_chat_log.py"))["main"]
    main(str(file), "tea")
    assert capsys.readouterr().out == (
        "2 turns are kept and wait for a decision\nAnn: I like tea.\nBen: It rains.\n"  # said right after it
    )


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
