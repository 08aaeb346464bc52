"""Checkpoint folder to a GGUF file in F32 or F16: ``python -m convert to-gguf CHECKPOINT OUT.gguf``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gguf import GGUFWriter, LlamaFileType

from convert import arch_qwen3
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.errors import ConvertError
from convert.output import whole_file
from convert.tokenizer import add_tokenizer

ARCHITECTURES: dict[str, ModuleType] = {"qwen3": arch_qwen3}
"""``model_type`` of config.json, and the file that knows it."""
TYPES = {"F32": LlamaFileType.ALL_F32, "F16": LlamaFileType.MOSTLY_F16}


def to_gguf(source: Path, target: Path, *, outtype: str = "F16", force: bool = False) -> None:
    """Write the checkpoint in ``source`` as ``target``. The same checkpoint gives the same bytes.

    :param outtype: ``F32`` or ``F16``; vectors (the norms) stay F32 in both
    :raises ConvertError: the checkpoint cannot be converted, or ``target`` exists
    """
    checkpoint = read_checkpoint(source)
    kind = checkpoint.config.get("model_type")
    if kind not in ARCHITECTURES:
        raise ConvertError(f"config.json has the model_type {kind!r}; known are {sorted(ARCHITECTURES)}.")
    architecture = ARCHITECTURES[kind]
    with whole_file(target, force=force) as temporary:
        writer = GGUFWriter(temporary, architecture.NAME)
        try:
            try:
                _add_metadata(writer, checkpoint, outtype)
                architecture.add_parameters(writer, checkpoint.config)
                add_tokenizer(writer, checkpoint.tokenizer, checkpoint.config)
                _add_tensors(writer, checkpoint, architecture, outtype)
            except KeyError as error:
                raise ConvertError(f"The checkpoint in {str(source)!r} does not say {error}.") from error
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _add_metadata(writer: GGUFWriter, checkpoint: Checkpoint, outtype: str) -> None:
    training = checkpoint.training
    writer.add_name(training.get("name") or checkpoint.folder.resolve().name)
    writer.add_file_type(TYPES[outtype])
    writer.add_chat_template(checkpoint.chat_template)
    if licence := training.get("licence"):
        writer.add_license(licence)
    for key in ("role", "prompt_version"):
        if key in training:
            writer.add_string(f"memr1.{key}", training[key])
    if "own_words" in training:
        writer.add_string("memr1.own_words", " ".join(training["own_words"]))
    for key in ("training_data", "figures"):
        if key in training:
            writer.add_string(f"memr1.{key}", _text(training[key]))


def _text(value: str | Mapping[str, Any]) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _add_tensors(writer: GGUFWriter, checkpoint: Checkpoint, architecture: ModuleType, outtype: str) -> None:
    names: dict[str, str] = architecture.tensor_names(checkpoint.config)
    shapes: dict[str, tuple[int, ...]] = architecture.tensor_shapes(checkpoint.config)
    # Some checkpoints also store the output matrix that is tied to the embedding.
    unknown = sorted(set(checkpoint.tensors) - set(names) - {"lm_head.weight"})
    missing = sorted(set(names) - set(checkpoint.tensors))
    if unknown or missing:
        raise ConvertError(f"The checkpoint has tensors that {architecture.NAME} has not: {unknown}; lacks: {missing}.")
    for name, renamed in names.items():
        values = checkpoint.read(name)
        expected = shapes[renamed.split(".")[-2]]
        if values.shape != expected:
            raise ConvertError(f"Tensor {name!r} has the shape {values.shape}, not {expected} as config.json says.")
        if outtype == "F16" and values.ndim > 1:
            with np.errstate(over="ignore"):
                values = values.astype(np.float16)
        if not np.isfinite(values).all():
            raise ConvertError(f"Tensor {name!r} holds values that are not finite numbers in {outtype}.")
        writer.add_tensor(renamed, values)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument(
        "source", type=Path, metavar="CHECKPOINT", help="folder with config.json, model.safetensors, ..."
    )
    parser.add_argument("target", type=Path, metavar="OUT.gguf")
    parser.add_argument("--outtype", choices=sorted(TYPES), default="F16")
    parser.add_argument("--force", action="store_true", help="replace OUT.gguf if it exists")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    to_gguf(arguments.source, arguments.target, outtype=arguments.outtype, force=arguments.force)
    print(f"{arguments.target}  {arguments.target.stat().st_size:,} bytes")
