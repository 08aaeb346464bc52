"""The types of numbers that are written without llama.cpp: F32, F16, BF16 and Q8_0."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType, quants

from convert.errors import ConvertError

FILE_TYPES = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "BF16": LlamaFileType.MOSTLY_BF16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
}


def type_of(shape: tuple[int, ...], outtype: str) -> GGMLQuantizationType:
    """The type of one tensor in a file of the type ``outtype``, a key of :data:`FILE_TYPES`."""
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    kind = GGMLQuantizationType[outtype]
    block, _ = GGML_QUANT_SIZES[kind]
    # Q8_0 shares one scale among 32 numbers of a row; rows that cannot be cut so stay in half precision.
    return GGMLQuantizationType.F16 if shape[-1] % block else kind


def byte_count(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    """How many bytes a tensor takes."""
    block, size = GGML_QUANT_SIZES[kind]
    return int(np.prod(shape, dtype=np.int64)) // block * size


def encode(values: npt.NDArray[np.float32], kind: GGMLQuantizationType, name: str) -> npt.NDArray[Any]:
    """Whole rows in the type ``kind``.

    :param name: of the tensor, for the message
    :raises ConvertError: a value is not a finite number, or too large for ``kind``
    """
    result: npt.NDArray[Any] = values
    if kind == GGMLQuantizationType.F16:
        with np.errstate(over="ignore"):
            result = values.astype(np.float16)
    if not np.isfinite(result).all():
        raise ConvertError(f"Tensor {name!r} holds values that are not finite numbers in {kind.name}.")
    if kind in (GGMLQuantizationType.BF16, GGMLQuantizationType.Q8_0):
        return quants.quantize(values, kind)
    return result
