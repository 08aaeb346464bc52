"""The tokenizers of Qwen2 and Llama 3 as they really are: skipped where llama.cpp's sources are not in the cache.

``make test`` fetches them; ``python -m benchmarks.real_tokenizers`` does too, and runs the same comparison.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import real_tokenizers
from benchmarks.llamacpp import CACHE, SDIST

TEXTS = 46 + 2 * 15  # llama.cpp's own; the corpus, trusted and untrusted


@pytest.mark.parametrize("name", real_tokenizers.SETTINGS)
def test_llama_cpp_gives_the_ids_of_the_real_tokenizer(name, tmp_path):
    if not (CACHE / f"tokenizer-{name}").exists():
        pytest.skip("python -m benchmarks.real_tokenizers --fetch has not been run here, or in vain")
    assert real_tokenizers.compared(CACHE, name, tmp_path) == TEXTS


def test_where_they_cannot_be_had_the_tests_go_on(tmp_path, monkeypatch, capfd):
    asked = []

    def offline(command, **_):
        asked.append(command)
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", offline)
    monkeypatch.setattr(sys, "argv", ["real_tokenizers", "--fetch", "--cache", str(tmp_path / "cache")])
    real_tokenizers.main()
    assert SDIST in asked[0]
    assert "cannot be fetched" in capfd.readouterr().err
    assert not real_tokenizers.fetched(tmp_path / "cache")


def test_make_test_asks_for_them_before_it_runs_the_tests():
    recipe = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8").split("\ntest:")[1].split("\n\n")[0]
    assert recipe.index("benchmarks.real_tokenizers --fetch") < recipe.index("-m pytest")
