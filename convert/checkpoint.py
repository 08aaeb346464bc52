"""Reads a Hugging Face style folder with numpy alone: configuration, tokenizer, weights, what it was trained for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.errors import ConvertError
from convert.safetensors_file import BLOCK_BYTES, StoredTensor, read_header

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder. ``training`` is what ``memr1.json`` says, empty for a model of somebody else."""

    folder: Path
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    training: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """One tensor as float32."""
        return self.tensors[name].rows()

    @property
    def chat_template(self) -> str | None:
        """The Jinja text of the default chat template; None for a model that does not talk."""
        beside = self.folder / "chat_template.jinja"
        if beside.exists():
            return read_text(beside)
        template = self.tokenizer_config.get("chat_template")
        if isinstance(template, list):
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
        return template if isinstance(template, str) else None

    def sha256(self) -> str:
        """Of names, types, shapes and bytes of all tensors in the order of their names, however they are sharded."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            remaining = tensor.nbytes
            with tensor.path.open("rb") as file:
                file.seek(tensor.start)
                while remaining:
                    block = file.read(min(remaining, BLOCK_BYTES))
                    if not block:
                        raise ConvertError(f"{str(tensor.path)!r} ends inside tensor {name!r}.")
                    digest.update(block)
                    remaining -= len(block)
        return digest.hexdigest()


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read everything but the weights themselves.

    :raises ConvertError: a file is missing or not of its format
    """
    if not folder.is_dir():
        raise ConvertError(f"There is no checkpoint folder {str(folder)!r}.")
    return Checkpoint(
        folder=folder,
        config=read_json(folder / "config.json"),
        tokenizer=read_json(folder / "tokenizer.json"),
        tokenizer_config=read_json(folder / "tokenizer_config.json"),
        training=read_json(folder / "memr1.json") if (folder / "memr1.json").exists() else {},
        tensors=_tensors(folder),
    )


def read_text(path: Path) -> str:
    """The text of a file."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConvertError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConvertError(f"{str(path)!r} is not text: {error}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise ConvertError(f"{str(path)!r} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConvertError(f"{str(path)!r} does not hold a JSON object.")
    return content


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    if not (folder / INDEX).exists():
        return read_header(folder / "model.safetensors")
    homes: dict[str, str] = read_json(folder / INDEX).get("weight_map", {})
    shards = {name: read_header(folder / name) for name in sorted(set(homes.values()))}
    lost = sorted(name for name, shard in homes.items() if name not in shards[shard])
    if lost or not homes:
        raise ConvertError(
            f"{str(folder / INDEX)!r} does not fit its shards: {lost or 'it names no tensors'}"
            + (f", of which {lost[0]!r} is not in {homes[lost[0]]!r}." if lost else ".")
        )
    return {name: shards[shard][name] for name, shard in homes.items()}
