"""Checkpoint folder to a GGUF file in F32, F16, BF16 or Q8_0: ``python -m convert to-gguf CHECKPOINT OUT.gguf``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_VERSION, GGUFType, GGUFWriter

from convert.architectures import architecture_of
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.decoder import Decoder
from convert.errors import ConvertError
from convert.metadata import add_metadata
from convert.number_types import FILE_TYPES, type_of
from convert.output import whole_file
from convert.sizes import size_table
from convert.tensor_output import OutputTensor, write_tensors
from convert.tensor_spec import TensorSpec
from convert.tokenizer import add_tokenizer


def to_gguf(source: Path, target: Path, *, outtype: str = "F16", force: bool = False) -> None:
    """Write the checkpoint in ``source`` as ``target``. The same checkpoint gives the same bytes.

    Only a block of one tensor is in memory at a time.

    :param outtype: ``F32``, ``F16``, ``BF16`` or ``Q8_0``; vectors (the norms) stay F32 in all of them
    :raises ConvertError: the checkpoint cannot be converted, or ``target`` exists
    """
    checkpoint = read_checkpoint(source)
    architecture = architecture_of(checkpoint)
    with whole_file(target, force=force) as temporary:
        writer = GGUFWriter(temporary, architecture.name)
        try:
            try:
                specs = _fitting_tensors(checkpoint, architecture)
                writer.add_type(GGUFType.MODEL)
                writer.add_file_type(FILE_TYPES[outtype])
                writer.add_quantization_version(GGML_QUANT_VERSION)
                add_metadata(writer, checkpoint.training, checkpoint.folder)
                writer.add_string("memr1.checkpoint_sha256", checkpoint.sha256())
                architecture.add_parameters(writer, checkpoint)
                add_tokenizer(writer, checkpoint)
            except KeyError as error:
                raise ConvertError(f"The checkpoint in {str(source)!r} does not say {error}.") from error
            write_tensors(
                writer,
                temporary,
                [
                    OutputTensor(
                        spec.name,
                        spec.source or spec.name,
                        spec.shape,
                        type_of(spec.shape, outtype),
                        partial(blocks, spec, checkpoint),
                    )
                    for spec in specs
                ],
            )
        finally:
            writer.close()


def blocks(spec: TensorSpec, checkpoint: Checkpoint) -> Iterator[npt.NDArray[np.float32]]:
    """The rows of the file's tensor, some at a time."""
    if spec.values is not None:
        yield spec.values
        return
    stored = checkpoint.tensors[spec.source]
    if spec.order is not None:
        # Rows from all over: only attention's q and k, which are small, need it.
        yield stored.rows()[spec.order]
        return
    for start, stop in stored.blocks():
        yield stored.rows(start, stop)


def _fitting_tensors(checkpoint: Checkpoint, architecture: Decoder) -> list[TensorSpec]:
    """The tensors to write, where the checkpoint has exactly those, in those shapes."""
    config: Any = checkpoint.config
    specs = list(architecture.tensors(config))
    wanted = {spec.source for spec in specs if spec.source}
    unknown = sorted(n for n in checkpoint.tensors if n not in wanted and not architecture.is_unused(n, config))
    missing = sorted(wanted - set(checkpoint.tensors))
    if unknown or missing:
        raise ConvertError(
            f"The checkpoint in {str(checkpoint.folder)!r} has tensors that {architecture.name} has not: {unknown};"
            f" lacks: {missing}."
        )
    for spec in specs:
        if spec.source and (found := checkpoint.tensors[spec.source].shape) != spec.shape:
            raise ConvertError(
                f"Tensor {spec.source!r} of {str(checkpoint.tensors[spec.source].path)!r} has the shape {found}, not"
                f" {spec.shape} as config.json says."
            )
    return specs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument(
        "source", type=Path, metavar="CHECKPOINT", help="folder with config.json, model.safetensors, ..."
    )
    parser.add_argument("target", type=Path, metavar="OUT.gguf")
    parser.add_argument("--outtype", choices=sorted(FILE_TYPES), default="F16")
    parser.add_argument("--force", action="store_true", help="replace OUT.gguf if it exists")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    to_gguf(arguments.source, arguments.target, outtype=arguments.outtype, force=arguments.force)
    print(size_table(arguments.target))
