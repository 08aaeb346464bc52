"""A LoRA as PEFT saves it: ``adapter_config.json`` and pairs of thin matrices, ``W + scale * B @ A``."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.checkpoint import Checkpoint, read_json
from convert.decoder import LINEAR, Decoder, Shape
from convert.errors import ConvertError
from convert.safetensors_file import StoredTensor, read_header

NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])(\.default)?\.weight")
MODULE = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?P<module>[\w.]+)")
REFUSED = (
    "use_dora",
    "fan_in_fan_out",
    "modules_to_save",
    "lora_bias",
    "trainable_token_indices",
    "alora_invocation_tokens",
)
"""Settings of PEFT that change more than ``W + scale * B @ A``."""


@dataclass(frozen=True)
class Pair:
    """What is added to one matrix: ``scale * b @ a``, with ``a`` (rank, columns) and ``b`` (rows, rank)."""

    a: StoredTensor
    b: StoredTensor
    scale: float

    @property
    def rank(self) -> int:
        """The inner dimension."""
        return self.a.shape[0]

    def rows(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows ``start`` to ``stop`` of what is added."""
        return (self.b.rows(start, stop) * np.float32(self.scale)) @ self.a.rows()


@dataclass(frozen=True)
class Lora:
    """A PEFT folder. ``pairs`` goes by the layer and the name of the matrix in it; ``training`` is ``memr1.json``."""

    folder: Path
    config: Mapping[str, Any]
    training: Mapping[str, Any]
    pairs: Mapping[tuple[int, str], Pair]

    @property
    def alpha(self) -> float:
        """``lora_alpha``."""
        return float(self.config["lora_alpha"])

    @property
    def base_name(self) -> str:
        """What the model is called that it was trained on; empty if it does not say."""
        return Path(str(self.training.get("base_model") or self.config.get("base_model_name_or_path") or "")).name


@dataclass(frozen=True)
class Adapted(Checkpoint):
    """A checkpoint that is read as if the LoRA had been merged into it, in float32."""

    lora: Lora | None = None

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """One tensor, with what the LoRA adds to it."""
        values = super().read(name)
        place = MODULE.fullmatch(name.removesuffix(".weight"))
        pair = self.lora.pairs.get((int(place["layer"]), place["module"])) if place and self.lora else None
        return values if pair is None else values + pair.rows(0, values.shape[0])


def adapted(base: Checkpoint, lora: Lora) -> Adapted:
    """``base`` with ``lora`` on top, and what the LoRA was trained for."""
    fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    return Adapted(**fields | {"training": lora.training, "lora": lora})


def read_lora(folder: Path, base: Checkpoint, decoder: Decoder) -> Lora:
    """Read a LoRA folder, and refuse it where it does not fit ``base``.

    :raises ConvertError: a file is missing or damaged, a kind of LoRA that is more than two matrices, or another base
    """
    if not folder.is_dir():
        raise ConvertError(f"There is no LoRA folder {str(folder)!r}.")
    config = read_json(folder / "adapter_config.json")
    for setting in REFUSED:
        if config.get(setting):
            raise ConvertError(
                f"adapter_config.json of {str(folder)!r} sets {setting!r}, which a GGUF LoRA cannot say."
            )
    if config.get("peft_type", "LORA") != "LORA" or config.get("bias", "none") != "none":
        raise ConvertError(
            f"adapter_config.json of {str(folder)!r} is no LoRA without biases, which alone is supported."
        )
    if not isinstance(config.get("lora_alpha"), int | float):
        raise ConvertError(f"adapter_config.json of {str(folder)!r} gives no number as 'lora_alpha'.")
    training = read_json(folder / "memr1.json") if (folder / "memr1.json").exists() else {}
    pairs = _pairs(folder / "adapter_model.safetensors", config)
    lora = Lora(folder, config, training, pairs)
    _refuse_other_base(lora, base, decoder)
    return lora


def _pairs(path: Path, config: Mapping[str, Any]) -> dict[tuple[int, str], Pair]:
    halves: dict[tuple[int, str], dict[str, StoredTensor]] = {}
    for name, tensor in read_header(path).items():
        match = NAME.fullmatch(name)
        place = MODULE.fullmatch(match["module"]) if match else None
        if match is None or place is None or place["module"] not in LINEAR:
            raise ConvertError(
                f"Tensor {name!r} of {str(path)!r} changes something that a GGUF LoRA cannot: only the matrices"
                f" {', '.join(LINEAR)} of a layer can be adapted."
            )
        halves.setdefault((int(place["layer"]), place["module"]), {})[match["half"]] = tensor
    if not halves:
        raise ConvertError(f"{str(path)!r} holds no LoRA.")
    pairs = {}
    for (layer, module), half in sorted(halves.items()):
        if set(half) != {"A", "B"}:
            raise ConvertError(f"{str(path)!r} has only one of the two matrices for {module!r} of layer {layer}.")
        a, b = half["A"], half["B"]
        if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1]:
            raise ConvertError(f"{a.name!r} and {b.name!r} of {str(path)!r} do not fit: {a.shape} and {b.shape}.")
        pairs[layer, module] = Pair(a, b, _scale(config, f"model.layers.{layer}.{module}", a.shape[0]))
    return pairs


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What PEFT multiplies ``B @ A`` with; a pattern's key is the end of a module's name, or an expression for it."""
    alpha = float(config["lora_alpha"])
    for key, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({key})", module):
            alpha = float(value)
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _refuse_other_base(lora: Lora, base: Checkpoint, decoder: Decoder) -> None:
    shape = Shape.of(base.config)
    where = f"The LoRA in {str(lora.folder)!r} was made for another base than {str(base.folder)!r}"
    wanted = lora.training.get("base_sha256")
    if wanted is not None and wanted != base.sha256():
        raise ConvertError(f"{where}: that has the weights {wanted}, this {base.sha256()}.")
    for (layer, module), pair in lora.pairs.items():
        rows, columns = shape.linear(module)
        if layer >= shape.layers:
            raise ConvertError(f"{where}: it changes layer {layer}, and {decoder.name} here has {shape.layers} layers.")
        if (pair.b.shape[0], pair.a.shape[1]) != (rows, columns):
            raise ConvertError(
                f"{where}: {module!r} of layer {layer} is {(rows, columns)} there, and the LoRA is for"
                f" {(pair.b.shape[0], pair.a.shape[1])}."
            )


def trained_from(lora: Lora, base: Checkpoint) -> dict[str, Any]:
    """``memr1.json`` of the adapted model: the LoRA's own, and which base it stands on."""
    sha256 = lora.training.get("base_sha256") or base.sha256()  # read_lora has refused another one
    return {**lora.training, "base_model": lora.base_name or base.folder.resolve().name, "base_sha256": sha256}


def text_of(training: Mapping[str, Any]) -> str:
    """``memr1.json`` as text."""
    return json.dumps(training, indent=2, ensure_ascii=False) + "\n"
