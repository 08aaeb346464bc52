"""Our loss, gradients and training steps beside those of the installed TRL."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs the extra parity")


def test_we_compute_what_trl_computes_over_all_shared_options_and_eight_steps():
    # In a process of its own: TRL imports much, warns a lot, and changes global settings.
    done = subprocess.run(
        [sys.executable, "-m", "train_ref.parity"], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "144 combinations" in done.stdout
    assert done.stdout.count("8 optimizer steps replayed") == 3


def test_the_compared_version_is_the_one_that_was_read():
    assert importlib.metadata.version("trl") == "1.16.0"
