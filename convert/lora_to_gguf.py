"""PEFT's LoRA folder to a GGUF adapter: ``python -m convert lora-to-gguf LORA OUT.gguf --base CHECKPOINT``.

One base file then serves several agents: ``Agents(base=..., manager_lora=..., answerer_lora=...)``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_VERSION, GGUFType, GGUFWriter

from convert.architectures import architecture_of
from convert.checkpoint import read_checkpoint
from convert.decoder import LINEAR
from convert.lora import Pair, read_lora, trained_from
from convert.metadata import ROLES, add_metadata, with_role
from convert.number_types import FILE_TYPES, type_of
from convert.output import whole_file
from convert.sizes import size_table
from convert.tensor_output import OutputTensor, write_tensors


def lora_to_gguf(
    source: Path, target: Path, *, base: Path, outtype: str = "F16", role: str | None = None, force: bool = False
) -> None:
    """Write the LoRA in ``source`` as ``target``.

    :param base: the checkpoint folder that it was trained on
    :param outtype: ``F32`` or ``F16``
    :param role: what it was trained for, on this version's prompts, where its ``memr1.json`` does not say
    :raises ConvertError: it cannot be converted, does not fit ``base``, or ``target`` exists
    """
    checkpoint = read_checkpoint(base)
    decoder = architecture_of(checkpoint)
    lora = read_lora(source, checkpoint, decoder)
    tensors = []
    for (layer, module), pair in lora.pairs.items():
        name = f"blk.{layer}.{LINEAR[module]}.weight"
        order = decoder.row_order(module, checkpoint.config)
        # llama.cpp scales by alpha / rank everywhere; what PEFT does otherwise goes into b.
        factor = pair.scale / (lora.alpha / pair.rank)
        for part, stored, blocks in (
            ("a", pair.a, partial(_half, pair, "a", None, 1.0)),
            ("b", pair.b, partial(_half, pair, "b", order, factor)),
        ):
            kind = type_of(stored.shape, outtype)
            tensors.append(OutputTensor(f"{name}.lora_{part}", stored.name, stored.shape, kind, blocks))
    with whole_file(target, force=force) as temporary:
        writer = GGUFWriter(temporary, decoder.name)
        try:
            writer.add_type(GGUFType.ADAPTER)
            writer.add_string("adapter.type", "lora")
            writer.add_float32("adapter.lora.alpha", lora.alpha)
            writer.add_file_type(FILE_TYPES[outtype])
            writer.add_quantization_version(GGML_QUANT_VERSION)
            add_metadata(writer, with_role(trained_from(lora, checkpoint), role), lora.folder)
            write_tensors(writer, temporary, tensors)
        finally:
            writer.close()


def _half(
    pair: Pair, part: str, order: npt.NDArray[np.intp] | None, factor: float
) -> Iterator[npt.NDArray[np.float32]]:
    values = getattr(pair, part).rows()
    yield (values if order is None else values[order]) * np.float32(factor)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("source", type=Path, metavar="LORA", help="folder with adapter_config.json, ...")
    parser.add_argument("target", type=Path, metavar="OUT.gguf")
    parser.add_argument("--base", type=Path, required=True, metavar="CHECKPOINT", help="what it was trained on")
    parser.add_argument("--outtype", choices=("F16", "F32"), default="F16")
    parser.add_argument("--role", choices=ROLES, help="trained for it on this version's prompts; memr1.json may say it")
    parser.add_argument("--force", action="store_true", help="replace OUT.gguf if it exists")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    chosen = {key: getattr(arguments, key) for key in ("base", "outtype", "role", "force")}
    lora_to_gguf(arguments.source, arguments.target, **chosen)
    print(size_table(arguments.target))
