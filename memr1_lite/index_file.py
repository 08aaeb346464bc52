"""A saved index: the graph's own file, and a header beside it that vouches for every byte of it.

Both are written under a temporary name, synced and renamed. Only a graph that the header fits is handed to hnswlib,
which would crash on others; and only a graph that the bank itself knows of, by its stamp, is the bank's.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import struct
import sys
import time
import zlib
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import ValidationError

from memr1_lite.records import Record

FORMAT = 2
# hnswlib writes the numbers as they are in memory.
LAYOUT = f"{sys.byteorder} {struct.calcsize('P')}"
_CHUNK = 1 << 20
_SURELY_LEFT = 600.0
Loaded = TypeVar("Loaded")


class Stamps(Protocol):
    """Where a bank keeps the stamps of the indexes that were written for it.

    A stamp is random, and kept inside the bank before its index takes its place: so neither the index of another bank
    nor one that is younger than a restored backup carries a stamp that the bank knows.
    """

    def announced(self) -> Collection[str]:
        """The stamps of the last index and of the one before: a crash may come between announcing and renaming."""

    def announce(self, stamp: str) -> None:
        """Keep a stamp, for good when this returns."""


class Header(Record):
    """What stands beside a saved graph. ``digest`` covers the graph's file and every other field here."""

    format: int = FORMAT
    layout: str = LAYOUT
    dimension: int
    embedder: str
    count: int
    position: int
    removed: tuple[int, ...]
    stamp: str = ""
    digest: str = ""


def write(path: Path, header: Header, write_graph: Callable[[Path], None], stamps: Stamps | None) -> None:
    """Put a graph and its header in place of what is at ``path``.

    :raises OSError: it could not be written; then the one before is there, or none that could be taken for one
    """
    stamp = secrets.token_hex(8)
    # A name of its own: two processes may save the index of one bank at once.
    unfinished = path.with_name(f"{path.name}.{stamp}.tmp")
    try:
        unfinished.touch(mode=0o600)  # vectors tell about texts: no more readable than the bank
        write_graph(unfinished)
        header = header.model_copy(update={"stamp": stamp})
        header = header.model_copy(update={"digest": _digest(unfinished, header)})
        if stamps is not None:
            stamps.announce(stamp)
        _replace(unfinished, path)
        unfinished.touch(mode=0o600)
        unfinished.write_text(header.model_dump_json(), encoding="utf-8")
        _replace(unfinished, _header_path(path))
    finally:
        unfinished.unlink(missing_ok=True)
    _remove_unfinished(path, older_than=_SURELY_LEFT)


def remove(path: Path) -> None:
    """Remove the index at ``path`` and whatever a killed process left unfinished.

    :raises OSError: a file cannot be removed
    """
    _header_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    _remove_unfinished(path, older_than=0)


def read(
    path: Path, dimension: int, embedder: str, stamps: Stamps | None, load: Callable[[Path, Header], Loaded | None]
) -> tuple[Header, Loaded] | None:
    """Have ``load`` read the graph at ``path``; None, without calling it, where the graph is not what it should be."""
    try:
        header = Header.model_validate_json(_header_path(path).read_bytes())
        made_here = (FORMAT, LAYOUT, dimension, embedder)
        if (header.format, header.layout, header.dimension, header.embedder) != made_here:
            return None
        if stamps is not None and header.stamp not in stamps.announced():
            return None
        before = _identity(path)
        if _digest(path, header) != header.digest:
            return None
        loaded = load(path, header)
        # Another process may have put its own graph there after the digest was taken.
        return (header, loaded) if loaded is not None and _identity(path) == before else None
    except (OSError, ValidationError):
        return None


def _header_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _identity(path: Path) -> tuple[int, int, int, int]:
    now = path.stat()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns


def _digest(path: Path, header: Header) -> str:
    """A digest of the header and of each MiB's CRC-32, which finds damage at several GB a second."""
    digest = hashlib.blake2b(json.dumps(header.model_dump(exclude={"digest"}), sort_keys=True).encode(), digest_size=32)
    chunk = memoryview(bytearray(_CHUNK))  # one for all: getting memory anew for each takes as long as reading
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(chunk):
            digest.update(struct.pack("<II", count, zlib.crc32(chunk[:count])))
    return digest.hexdigest()


def _remove_unfinished(path: Path, older_than: float) -> None:
    """Remove what killed processes left, but not what a living one may be writing right now."""
    for left in path.parent.glob(f"{glob.escape(path.name)}*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime >= older_than:
                left.unlink()


def _replace(unfinished: Path, path: Path) -> None:
    """Rename, with the bytes on the disk before the name is."""
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
