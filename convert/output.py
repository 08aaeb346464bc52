"""Output files appear whole or not at all, and never over another file unless asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convert.errors import ConvertError


@contextmanager
def whole_file(target: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; it becomes ``target`` when the block ends without an exception."""
    refuse_existing(target, force=force)
    if not target.parent.is_dir():
        raise ConvertError(f"There is no folder {str(target.parent)!r} to write {target.name!r} into: make it first.")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        yield temporary
        refuse_existing(target, force=force)
        os.replace(temporary, target)


def refuse_existing(target: Path, *, force: bool) -> None:
    """Raise when ``target`` exists and ``force`` does not allow to replace it."""
    if target.exists() and (target.is_dir() or not force):
        raise ConvertError(f"{str(target)!r} exists already: choose another name, or --force.")
