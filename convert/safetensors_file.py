"""safetensors files, read a few rows at a time and written as a stream: no more than one block is in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.errors import ConvertError

DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Types that weights come in; numpy has no bfloat16, so its bits are read as integers."""
BYTES = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Sizes of types that a file may hold besides, such as position ids."""
BLOCK_BYTES = 1 << 24
"""About as much of a tensor is read at a time where it is not needed whole."""


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies: ``start`` in bytes from the beginning of ``path``."""

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def rows(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Rows ``start`` to ``stop`` (of a vector: elements) as float32.

        :raises ConvertError: numbers of another type, or a file that became shorter
        """
        data = self.stored_rows(start, stop)
        if self.dtype == "BF16":
            wide = data.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        return data.astype(np.float32, copy=False)

    def stored_rows(self, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """The same rows as they are stored, bfloat16 as integers."""
        if self.dtype not in DTYPES:
            raise ConvertError(f"{self._where()} has the type {self.dtype}, not one of {list(DTYPES)}.")
        count = (self.shape[0] if stop is None else stop) - start
        width, kind = math.prod(self.shape[1:]), DTYPES[self.dtype]
        data = np.fromfile(self.path, kind, count=count * width, offset=self.start + start * width * kind.itemsize)
        if data.size != count * width:
            raise ConvertError(f"{self._where()} ends too early: the file changed while it was read.")
        return data.reshape(count, *self.shape[1:])

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First row and row after the last of each block, as many rows as :data:`BLOCK_BYTES` hold as float32."""
        step = max(1, BLOCK_BYTES // (4 * math.prod(self.shape[1:])))
        for start in range(0, self.shape[0], step):
            yield start, min(start + step, self.shape[0])

    @property
    def nbytes(self) -> int:
        """How many bytes the tensor takes in its file."""
        item = DTYPES[self.dtype].itemsize if self.dtype in DTYPES else BYTES[self.dtype]
        return math.prod(self.shape) * item

    def _where(self) -> str:
        return f"Tensor {self.name!r} of {str(self.path)!r}"


def read_header(path: Path) -> dict[str, StoredTensor]:
    """What a safetensors file holds: 8 bytes length, that much JSON, then the tensors' bytes.

    :raises ConvertError: the file is missing, damaged or cut off
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length) if length <= size else b"")
    except OSError as error:
        raise ConvertError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConvertError(f"{str(path)!r} is not a whole safetensors file.") from error
    entries.pop("__metadata__", None)
    tensors = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        tensor = StoredTensor(name, path, entry["dtype"], shape, 8 + length + begin)
        if entry["dtype"] not in DTYPES | BYTES:
            raise ConvertError(f"Tensor {name!r} of {str(path)!r} has the unknown type {entry['dtype']!r}.")
        if end - begin != tensor.nbytes:
            raise ConvertError(
                f"{str(path)!r} is damaged: tensor {name!r} of the shape {shape} in {entry['dtype']} needs"
                f" {tensor.nbytes} bytes and has {end - begin}."
            )
        if 8 + length + end > size:
            raise ConvertError(
                f"{str(path)!r} is cut off inside tensor {name!r}: {8 + length + end} bytes are needed, {size} there."
            )
        tensors[name] = tensor
    return tensors


def write(path: Path, tensors: Iterable[StoredTensor], blocks: Iterable[npt.NDArray[Any]]) -> None:
    """Write a safetensors file whose tensors have the names, types and shapes of ``tensors``.

    :param blocks: the content, tensor by tensor in the order of ``tensors``, each in any number of blocks of its type
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for block in blocks:
            block.tofile(file)
        written = file.tell() - 8 - len(text)
    assert written == end, f"{written} bytes were written, not {end}"
