"""What can be said of a GGUF file before native code reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from memr1_lite.control import current_call
from memr1_lite.errors import ModelLoadError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
HEADER_BYTES = 24
"""Magic, version, number of tensors, number of metadata entries."""
MAX_ENTRIES = 1_000_000
"""More tensors or metadata entries than this is a damaged count; the largest models have a few thousand."""


def check_gguf(path: Path, expected_sha256: str | None = None) -> None:
    """Refuse what is plainly not a whole GGUF file.

    Data changed inside a well-formed file can only be noticed by its checksum, and may abort the process.

    :param expected_sha256: in hexadecimal; None leaves the content unchecked
    :raises ModelLoadError: no such file, no GGUF, a damaged header, another checksum
    """
    if not path.exists():
        raise ModelLoadError(f"There is no model file {str(path)!r}: check the path.")
    if not path.is_file():
        raise ModelLoadError(f"{str(path)!r} is not a file: give the path of a GGUF file.")
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        digest = None if expected_sha256 is None else sha256_of(path)
    except OSError as error:
        raise ModelLoadError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    if header[:4] != MAGIC:
        raise ModelLoadError(f"{str(path)!r} is not a GGUF file: convert the model, or download it again.")
    version, tensors, entries = (int.from_bytes(header[a:b], "little") for a, b in ((4, 8), (8, 16), (16, 24)))
    if len(header) < HEADER_BYTES or not 0 < tensors <= MAX_ENTRIES or not 0 < entries <= MAX_ENTRIES:
        raise ModelLoadError(f"{str(path)!r} is a damaged or incomplete GGUF file: get it again.")
    if version not in VERSIONS:
        raise ModelLoadError(f"{str(path)!r} has GGUF version {version}; this memr1_lite reads version 2 and 3.")
    if expected_sha256 is not None and digest != expected_sha256.lower():
        raise ModelLoadError(f"{str(path)!r} has the SHA-256 {digest}, not {expected_sha256.lower()}: get it again.")


def sha256_of(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    digest, call = hashlib.sha256(), current_call()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            call.check()  # gigabytes take seconds
            digest.update(block)
    return digest.hexdigest()
