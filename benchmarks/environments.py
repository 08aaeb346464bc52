"""Environments for what is measured beside this package, so that its own is left alone."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path


def python_with(packages: Sequence[str], folder: Path) -> Path:
    """The interpreter of an environment that pip filled with ``packages``; made once, and again when they change."""
    python, made = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join(packages) + "\n"
    if not made.exists() or made.read_text(encoding="utf-8") != wanted:
        print(f"installing {' '.join(packages)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        made.write_text(wanted, encoding="utf-8")
    return python
