"""Outputs appear whole or not at all, and never over another file unless asked."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convert.errors import ConvertError


@contextmanager
def whole_file(target: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; it becomes ``target`` when the block ends without an exception."""
    refuse_existing(target, force=force)
    with _beside(target) as folder:
        temporary = folder / target.name
        yield temporary
        refuse_existing(target, force=force)
        os.replace(temporary, target)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``, which becomes ``target``; a folder is never replaced."""
    refuse_existing_folder(target)
    with _beside(target) as folder:
        temporary = folder / target.name
        temporary.mkdir()
        yield temporary
        refuse_existing_folder(target)
        os.rename(temporary, target)


def refuse_existing(target: Path, *, force: bool) -> None:
    """Raise when ``target`` exists and ``force`` does not allow to replace it."""
    if target.exists() and (target.is_dir() or not force):
        raise ConvertError(f"{str(target)!r} exists already: choose another name, or --force.")


def refuse_existing_folder(target: Path) -> None:
    """Raise when there is anything at ``target``."""
    if target.exists():
        raise ConvertError(f"{str(target)!r} exists already: choose another name for the folder.")


def refuse_full_disk(folder: Path, needed: int) -> None:
    """Raise before anything is written where ``needed`` bytes do not fit on the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConvertError(f"The disk of {str(folder)!r} has {free:,} bytes free and {needed:,} are needed: make room.")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    if not target.parent.is_dir():
        raise ConvertError(f"There is no folder {str(target.parent)!r} to write {target.name!r} into: make it first.")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            yield Path(folder)
    except OSError as error:
        where = error.filename or str(target)
        raise ConvertError(f"{str(target)!r} was not written: {where!r}: {error.strerror or error}.") from error
