"""Writes the tensors of a GGUF file as a stream: no more than one block of one tensor is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter
from tqdm import tqdm

from convert.number_types import byte_count, encode
from convert.output import refuse_full_disk

Blocks = Callable[[], Iterator[npt.NDArray[np.float32]]]
"""Gives whole rows of a tensor, some at a time."""


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to write; ``shape`` is numpy's, and ``source`` names it in errors."""

    name: str
    source: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    blocks: Blocks

    @property
    def nbytes(self) -> int:
        """How many bytes it will take."""
        return byte_count(self.shape, self.kind)


def write_tensors(writer: GGUFWriter, path: Path, tensors: Sequence[OutputTensor]) -> None:
    """Write everything that ``writer`` was told, and then ``tensors``, to ``path``.

    :raises ConvertError: the disk is too small, or a value cannot be written in its type
    """
    for tensor in tensors:
        # With the type given, the writer takes the shape in numbers, and the array's own type does not matter.
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, raw_dtype=tensor.kind)
    total = sum(tensor.nbytes for tensor in tensors)
    refuse_full_disk(path.parent, total)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    with tqdm(total=total, unit="B", unit_scale=True, desc=path.name, disable=None) as bar:
        for tensor in tensors:
            for block in tensor.blocks():
                data = encode(block, tensor.kind, tensor.source)
                data.tofile(file)
                bar.update(data.nbytes)
            writer.write_padding(file, tensor.nbytes)
