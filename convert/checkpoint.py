"""Reads a Hugging Face style folder with numpy alone: configuration, tokenizer, weights, what it was trained for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.errors import ConvertError

DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""Numeric types of safetensors that weights come in; numpy has no bfloat16, so its bits are read as integers."""


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies: ``start`` in bytes from the beginning of ``path``."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder. ``training`` is what ``memr1.json`` says, empty for a model of somebody else."""

    folder: Path
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    chat_template: str
    training: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """One tensor as float32."""
        stored = self.tensors[name]
        data: npt.NDArray[Any] = np.fromfile(
            stored.path, DTYPES[stored.dtype], count=math.prod(stored.shape), offset=stored.start
        ).reshape(stored.shape)
        if stored.dtype == "BF16":
            return (data.astype(np.uint32) << 16).view(np.float32)
        return data.astype(np.float32)


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
        chat_template=_chat_template(folder),
        training=read_json(folder / "memr1.json") if (folder / "memr1.json").exists() else {},
        tensors=_tensors(folder),
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConvertError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConvertError(f"{str(path)!r} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConvertError(f"{str(path)!r} does not hold a JSON object.")
    return content


def _chat_template(folder: Path) -> str:
    beside = folder / "chat_template.jinja"
    if beside.exists():
        return beside.read_text("utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if not isinstance(template, str):
        raise ConvertError(f"{str(folder)!r} has no chat template in tokenizer_config.json; an agent needs one.")
    return template


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    index = folder / "model.safetensors.index.json"
    names = set(read_json(index)["weight_map"].values()) if index.exists() else {"model.safetensors"}
    tensors: dict[str, StoredTensor] = {}
    for name in sorted(names):
        tensors |= _header(folder / name)
    return tensors


def _header(path: Path) -> dict[str, StoredTensor]:
    """A safetensors file: 8 bytes length, that much JSON, then the tensors' bytes."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length) if length <= path.stat().st_size else b"")
    except OSError as error:
        raise ConvertError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConvertError(f"{str(path)!r} is not a whole safetensors file.") from error
    entries.pop("__metadata__", None)
    tensors = {}
    for name, entry in entries.items():
        if entry["dtype"] not in DTYPES:
            raise ConvertError(
                f"Tensor {name!r} of {path.name!r} has type {entry['dtype']}, not one of {list(DTYPES)}."
            )
        begin, end = entry["data_offsets"]
        if 8 + length + end > path.stat().st_size:
            raise ConvertError(f"{str(path)!r} is cut off inside tensor {name!r}.")
        tensors[name] = StoredTensor(path, entry["dtype"], tuple(entry["shape"]), 8 + length + begin)
    return tensors
