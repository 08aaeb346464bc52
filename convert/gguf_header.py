"""What a GGUF file says of itself and of its tensors, with the types that the package ``gguf`` knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from convert.errors import ConvertError
from memr1_lite.errors import ModelLoadError
from memr1_lite.llama import gguf_header


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
        found = gguf_header.read_gguf_header(path, arrays=arrays)
        tensors = (GGUFTensor(t.name, GGMLQuantizationType(t.kind), t.shape, t.start) for t in found.tensors)
        return GGUFHeader(found.metadata, tuple(tensors))
    except ModelLoadError as error:
        raise ConvertError(str(error)) from error
    except ValueError as error:
        raise ConvertError(f"{str(path)!r} is a damaged or incomplete GGUF file: get it again.") from error
