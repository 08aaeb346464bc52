"""What a GGUF file says of itself and of its tensors, read without the tensors, and without llama.cpp."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memr1_lite.errors import ModelLoadError
from memr1_lite.llama.gguf_file import HEADER_BYTES, check_gguf

NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""GGUF's value types that are one number, and how ``struct`` reads them."""
STRING, ARRAY = 8, 9
BLOCKS = {0: (1, 4), 1: (1, 2), 8: (32, 34), 30: (1, 2)}
"""Numbers in a block of a tensor, and the bytes that it takes: F32, F16, Q8_0, BF16."""

MAX_DIMENSIONS = 4
"""More is a damaged count: ggml has no such tensors."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor as the header lists it: ``shape`` with rows first, as numpy has it, ``start`` in bytes in the file.

    ``kind`` is the number of ggml's type.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class GGUFHeader:
    """The metadata and the tensors of a file. Arrays not read are given as ``range(length)``."""

    metadata: Mapping[str, Any]
    tensors: tuple[TensorEntry, ...]


def read_gguf_header(path: Path, *, arrays: bool = False, expected_sha256: str | None = None) -> GGUFHeader:
    """Read the header of a GGUF file.

    :param arrays: read arrays too, such as the vocabulary, as lists
    :param expected_sha256: refuse a file with another checksum, in hexadecimal
    :raises ModelLoadError: no such file, or not a whole GGUF file
    """
    check_gguf(path, expected_sha256)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = _Place(data)
            tensors, entries = struct.unpack_from("<QQ", data, 8)
            metadata = {place.string(): place.value(place.number("<I"), arrays) for _ in range(entries)}
            listed = [place.tensor() for _ in range(tensors)]
            alignment = metadata.get("general.alignment", 32)
            begin = -(-place.at // alignment) * alignment
            found = [TensorEntry(name, kind, shape, begin + start) for name, kind, shape, start in listed]
            if any(tensor.start + _least_bytes(tensor) > len(data) for tensor in found):
                raise EOFError
            return GGUFHeader(metadata, tuple(found))
    except (struct.error, KeyError, ValueError, TypeError, ArithmeticError, EOFError, OSError) as error:
        raise ModelLoadError(f"{str(path)!r} is a damaged or incomplete GGUF file: get it again.") from error


class _Place:
    """A place in the bytes of a file; what is read moves it on."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, HEADER_BYTES

    def number(self, form: str) -> Any:  # noqa: ANN401 - whatever the file holds
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self) -> str:
        length = self.number("<Q")
        self._move(length)
        return self.data[self.at - length : self.at].decode("utf-8", "replace")

    def value(self, kind: int, arrays: bool) -> Any:  # noqa: ANN401 - whatever the file holds
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.number(NUMBERS[kind])
        inner, count = self.number("<I"), self.number("<Q")
        if inner == ARRAY:
            raise ValueError("an array of arrays")
        if arrays:
            return [self.value(inner, arrays) for _ in range(count)]
        if inner == STRING:
            data, at, read = self.data, self.at, struct.Struct("<Q").unpack_from
            for _ in range(count):  # a vocabulary: tens of thousands, at every opening of a bank
                at += 8 + read(data, at)[0]
            self._move(at - self.at)
        else:
            self._move(count * struct.calcsize(NUMBERS[inner]))
        return range(count)

    def tensor(self) -> tuple[str, int, tuple[int, ...], int]:
        """Name, kind, shape, and where it starts, counted from where the data begin."""
        name = self.string()
        dimensions = self.number("<I")
        if dimensions > MAX_DIMENSIONS:
            raise ValueError("a damaged count")
        shape = tuple(self.number("<Q") for _ in range(dimensions))
        return name, self.number("<I"), shape[::-1], self.number("<Q")

    def _move(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise EOFError


def _least_bytes(tensor: TensorEntry) -> int:
    """What the tensor takes; of a type that is not in BLOCKS, at least nothing."""
    elements = 1
    for length in tensor.shape:
        elements *= length
    block, size = BLOCKS.get(tensor.kind, (1, 0))
    return elements // block * size
