"""The table of pitfalls in train_ref/README.md: none is left out, and every test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import train_ref

TESTS = Path(__file__).parent
PAGE = Path(train_ref.__file__).parent / "README.md"


def test_every_pitfall_has_a_test_that_exists():
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 26))
    for number, _, caught in rows:
        named = re.findall(r"`(test_\w+)\.(test_\w+)`", caught)
        assert named, f"pitfall {number} names no test"
        for module, test in named:
            assert f"def {test}(" in (TESTS / f"{module}.py").read_text(), f"pitfall {number}: {module}.{test}"
