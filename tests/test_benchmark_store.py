"""The benchmarks of the store run, very small, and measure what they say."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(*arguments: object) -> str:
    """What a benchmark prints, run as the README says."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=BENCHMARKS.parent).stdout


def test_our_store_is_measured_once_and_drawn(tmp_path: Path) -> None:
    engines = ("memr1-lite", "memr1-lite, with turns")
    command = (BENCHMARKS / "store.py", "--sizes", 60, "--engines", *engines, "--queries", 4, "--out", tmp_path)
    printed = run(*command)
    results = json.loads((tmp_path / "store.json").read_text())["results"]["60"]
    measured, with_turns = (results[name] for name in engines)
    assert measured["recall_at_10"] == 1.0  # so few are searched exactly, and rows and ids are the same thing
    assert 384 * 4 < measured["disk_bytes_per_memory"] < 20_000
    assert with_turns["recall_at_10"] == 1.0
    assert with_turns["disk_bytes_per_memory"] > 1.5 * measured["disk_bytes_per_memory"]
    assert "| memr1-lite" in printed
    assert (tmp_path / "store.png").read_bytes().startswith(b"\x89PNG")
    measured["recall_at_10"] = 0.125
    (tmp_path / "store.json").write_text(json.dumps({"results": {"60": results}}))
    assert "| 0.125 |" in run(*command)


def test_both_ways_of_searching_are_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    crossover = importlib.import_module("crossover")
    crossover.measure(tmp_path, 80, 2, 1)
    assert [way for way in crossover.WAYS if list((tmp_path / way).glob("*.hnsw"))] == ["graph"]
    header, _, line = run(BENCHMARKS / "crossover.py", "--sizes", 80, "--queries", 3, "--rounds", 1).splitlines()
    assert header.count("exact") == header.count("graph") == 3
    assert line.startswith("| 80 |")
    assert all(float(cell) > 0 for cell in line.split("|")[2:-1])
