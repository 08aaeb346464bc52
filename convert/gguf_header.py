"""Reads what a GGUF file says of itself and of its tensors, without reading the tensors, or a vocabulary unasked."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from convert.errors import ConvertError
from memr1_lite.errors import ModelLoadError
from memr1_lite.llama.gguf_file import check_gguf

NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""GGUF's value types that are one number, and how ``struct`` reads them."""
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class GGUFTensor:
    """One tensor as the header lists it: ``shape`` with rows first, as numpy has it, ``start`` in bytes in the file."""

    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    start: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        block, size = GGML_QUANT_SIZES[self.kind]
        return self.elements // block * size


@dataclass(frozen=True)
class GGUFHeader:
    """The metadata and the tensors of a file. Arrays not read are given as ``range(length)``."""

    metadata: Mapping[str, Any]
    tensors: tuple[GGUFTensor, ...]


def read_gguf_header(path: Path, *, arrays: bool = False) -> GGUFHeader:
    """Read the header of a GGUF file.

    :param arrays: read arrays too, such as the vocabulary, as lists
    :raises ConvertError: no such file, or not a whole GGUF file
    """
    try:
        check_gguf(path)
        with path.open("rb") as file:
            _, _, tensors, entries = struct.unpack("<4sIQQ", file.read(24))
            metadata = dict(_entry(file, arrays) for _ in range(entries))
            listed = [_tensor(file) for _ in range(tensors)]
            alignment = metadata.get("general.alignment", 32)
            data = -(-file.tell() // alignment) * alignment
            return GGUFHeader(metadata, tuple(replace(tensor, start=data + tensor.start) for tensor in listed))
    except ModelLoadError as error:
        raise ConvertError(str(error)) from error
    except (struct.error, KeyError, ValueError, TypeError, ZeroDivisionError, EOFError, OSError) as error:
        raise ConvertError(f"{str(path)!r} is a damaged or incomplete GGUF file: get it again.") from error


def _number(file: IO[bytes], form: str) -> Any:  # noqa: ANN401 - whatever the file holds
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _string(file: IO[bytes]) -> str:
    length = _number(file, "<Q")
    data = file.read(min(length, 1 << 26))
    if len(data) != length:
        raise EOFError
    return data.decode("utf-8", "replace")


def _entry(file: IO[bytes], arrays: bool) -> tuple[str, Any]:
    return _string(file), _value(file, _number(file, "<I"), arrays)


def _value(file: IO[bytes], kind: int, arrays: bool) -> Any:  # noqa: ANN401 - whatever the file holds
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        return _number(file, NUMBERS[kind])
    inner, count = _number(file, "<I"), _number(file, "<Q")
    if arrays:
        return [_value(file, inner, arrays) for _ in range(count)]
    if inner == STRING:
        for _ in range(count):
            file.seek(_number(file, "<Q"), 1)
    else:
        file.seek(count * struct.calcsize(NUMBERS[inner]), 1)
    return range(count)


def _tensor(file: IO[bytes]) -> GGUFTensor:
    """A tensor whose ``start`` still counts from where the data begin."""
    name = _string(file)
    shape = tuple(_number(file, "<Q") for _ in range(_number(file, "<I")))
    kind = GGMLQuantizationType(_number(file, "<I"))
    return GGUFTensor(name, kind, shape[::-1], _number(file, "<Q"))
