"""A base and a LoRA become one checkpoint folder: ``python -m convert merge CHECKPOINT LORA OUT``.

The folder is converted and checked like any other; its weights have the type that the base's have.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
from gguf import GGMLQuantizationType
from tqdm import tqdm

from convert import safetensors_file
from convert.architectures import architecture_of
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.lora import Lora, Pair, read_lora, text_of, trained_from
from convert.metadata import ROLES, with_role
from convert.number_types import encode
from convert.output import refuse_full_disk, whole_folder
from convert.safetensors_file import StoredTensor

KEPT = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files that the merged folder has from the base, where the base has them."""


def merge(base: Path, source: Path, target: Path, *, role: str | None = None) -> None:
    """Write ``base`` with the LoRA in ``source`` added as the new folder ``target``.

    :param role: what it was trained for, on this version's prompts, where the LoRA's ``memr1.json`` does not say
    :raises ConvertError: the two do not fit, or ``target`` exists
    """
    checkpoint = read_checkpoint(base)
    lora = read_lora(source, checkpoint, architecture_of(checkpoint))
    training = with_role(trained_from(lora, checkpoint), role)
    total = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    with whole_folder(target) as temporary:
        refuse_full_disk(temporary, total)
        for name in KEPT:
            if (base / name).exists():
                shutil.copyfile(base / name, temporary / name)
        (temporary / "memr1.json").write_text(text_of(training), "utf-8")
        with tqdm(total=total, unit="B", unit_scale=True, desc=target.name, disable=None) as bar:
            blocks = _blocks(checkpoint, lora, bar)
            safetensors_file.write(temporary / "model.safetensors", checkpoint.tensors.values(), blocks)


def _blocks(checkpoint: Checkpoint, lora: Lora, bar: Any) -> Iterator[npt.NDArray[Any]]:  # noqa: ANN401 - tqdm
    pairs = {f"model.layers.{layer}.{module}.weight": pair for (layer, module), pair in lora.pairs.items()}
    for name, tensor in checkpoint.tensors.items():
        for start, stop in tensor.blocks():
            block = _merged(tensor, pairs[name], start, stop) if name in pairs else tensor.stored_rows(start, stop)
            yield block
            bar.update(block.nbytes)


def _merged(tensor: StoredTensor, pair: Pair, start: int, stop: int) -> npt.NDArray[Any]:
    values = tensor.rows(start, stop) + pair.rows(start, stop)
    return encode(values, GGMLQuantizationType[tensor.dtype], tensor.name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("base", type=Path, metavar="CHECKPOINT", help="the folder that the LoRA was trained on")
    parser.add_argument("source", type=Path, metavar="LORA", help="folder with adapter_config.json, ...")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder")
    parser.add_argument("--role", choices=ROLES, help="trained for it on this version's prompts; memr1.json may say it")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    merge(arguments.base, arguments.source, arguments.target, role=arguments.role)
    size = (arguments.target / "model.safetensors").stat().st_size
    print(f"{arguments.target}  {size:,} bytes of weights")
