"""One tensor of a GGUF file as an architecture describes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the GGUF file, and where it comes from.

    ``shape`` is numpy's, rows first, in the checkpoint and in the file alike. ``order`` says which of the checkpoint's
    rows stands in each row of the file; None leaves them as they are. ``values`` are there where the configuration
    says the tensor and the checkpoint has none; ``source`` is empty then.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    order: npt.NDArray[np.intp] | None = None
    values: npt.NDArray[np.float32] | None = None
