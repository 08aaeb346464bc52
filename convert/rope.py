"""Rotary positions as a ``config.json`` says them, in the words of transformers 4 and of transformers 5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.errors import ConvertError


@dataclass(frozen=True)
class Rope:
    """``theta`` is the base; pair i of a head turns by ``theta ** (-2i / dimension) / factors[i]`` per position."""

    theta: float
    factors: npt.NDArray[np.float32] | None


def rope_of(config: Mapping[str, Any], dimension: int) -> Rope:
    """Read the rotary settings.

    :param dimension: of a head
    :raises ConvertError: a kind of scaling other than none and ``llama3``
    """
    settings = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = settings.get("rope_theta") or config.get("rope_theta")
    if theta is None:
        raise ConvertError("config.json names no 'rope_theta'.")
    for part in (config.get("partial_rotary_factor"), settings.get("partial_rotary_factor")):
        if part not in (None, 1, 1.0):
            raise ConvertError(f"config.json turns only {part} of each head (partial_rotary_factor): not supported.")
    kind = settings.get("rope_type") or settings.get("type") or "default"
    if kind == "default":
        return Rope(float(theta), None)
    if kind != "llama3":
        raise ConvertError(f"config.json asks for rope_scaling of the type {kind!r}; known are 'default' and 'llama3'.")
    return Rope(float(theta), _llama3_factors(float(theta), dimension, settings, config))


def _llama3_factors(
    theta: float, dimension: int, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> npt.NDArray[np.float32]:
    """Long waves are stretched by ``factor``, short ones left alone, those between are blended; shape (dimension / 2,).

    A wave is short or long by how often it fits into the context that the model was first trained on.
    """
    try:
        factor, low, high = (float(settings[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
        trained = settings.get("original_max_position_embeddings") or config["original_max_position_embeddings"]
    except KeyError as error:
        raise ConvertError(f"The llama3 rope_scaling of config.json does not say {error}.") from error
    waves = 2 * math.pi * theta ** (np.arange(0, dimension, 2, dtype=np.float64) / dimension)
    turns = float(trained) / waves
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - blend) / factor + blend)).astype(np.float32)
