"""GGUF file to a smaller one, by llama.cpp itself: ``python -m convert quantize IN.gguf OUT.gguf --quant Q8_0``."""

from __future__ import annotations

import argparse
import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from convert.errors import ConvertError
from convert.output import refuse_existing, whole_file
from convert.sizes import size_table
from memr1_lite.errors import ModelLoadError
from memr1_lite.llama.gguf_file import check_gguf
from memr1_lite.llama.library import load_library, log

TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_NL", "Q3_K_M", "BF16", "F16")
"""Types that need no importance matrix. Rows whose length is no multiple of 256 get a larger type than Q*_K."""


def quantize(
    source: Path,
    target: Path,
    *,
    quant: str = "Q8_0",
    threads: int = 1,
    importance: Mapping[str, npt.NDArray[np.float32]] | None = None,
    force: bool = False,
) -> None:
    """Write ``source``, an F32 or F16 GGUF file, as ``target`` with weights of type ``quant``.

    :param importance: for each tensor, by its name, how much an error in each of its columns matters
    :raises ConvertError: ``source`` is damaged or quantised already, or ``target`` exists
    """
    if quant not in TYPES:
        raise ConvertError(f"{quant!r} is not a type to quantise to; known are {', '.join(TYPES)}.")
    # llama.cpp would destroy its input; --force must not allow that.
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise ConvertError(f"{str(source)!r} cannot be quantised onto itself: choose another name.")
    refuse_existing(target, force=force)
    try:
        check_gguf(source)
    except ModelLoadError as error:
        raise ConvertError(str(error)) from error
    library = load_library()
    parameters = library.llama_model_quantize_default_params()
    parameters.ftype = getattr(library, f"LLAMA_FTYPE_MOSTLY_{quant}")
    parameters.nthread = threads
    if importance:
        entries = (library.llama_model_imatrix_data * (len(importance) + 1))()  # the last one, without a name, ends it
        kept = {name.encode(): np.ascontiguousarray(values, dtype=np.float32) for name, values in importance.items()}
        for entry, (name, data) in zip(entries, kept.items(), strict=False):
            entry.name, entry.size = name, data.size
            entry.data = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        parameters.imatrix = entries
    with whole_file(target, force=force) as temporary:
        log.error = ""
        status = library.llama_model_quantize(os.fsencode(source), os.fsencode(temporary), ctypes.byref(parameters))
        if status != 0:
            raise ConvertError(
                f"llama.cpp cannot quantise {str(source)!r} to {quant}: {log.error or 'no reason given'}"
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("source", type=Path, metavar="IN.gguf", help="an F32 or F16 GGUF file")
    parser.add_argument("target", type=Path, metavar="OUT.gguf")
    parser.add_argument("--quant", choices=TYPES, default="Q8_0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--force", action="store_true", help="replace OUT.gguf if it exists")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    quantize(
        arguments.source, arguments.target, quant=arguments.quant, threads=arguments.threads, force=arguments.force
    )
    print(size_table(arguments.target))
