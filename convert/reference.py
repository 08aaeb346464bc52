"""The checkpoint's own arithmetic in numpy: what llama.cpp is compared with, also where no torch is installed.

It keeps the names and the conventions of Hugging Face throughout, so that it shares nothing with the file that it
judges. The tests hold it against transformers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.checkpoint import Checkpoint
from convert.decoder import Decoder, Shape
from convert.rope import rope_of

Array = npt.NDArray[np.float32]
Observer = Callable[[int, str, Array], None]
"""Called with a layer, the name of a projection and what it reads, shape (positions, columns)."""


class Reference:
    """Runs several token sequences in one sweep over the weights, one matrix in memory at a time."""

    def __init__(self, checkpoint: Checkpoint, decoder: Decoder) -> None:
        self._checkpoint = checkpoint
        self._config: Any = checkpoint.config
        self._decoder = decoder
        self._shape = Shape.of(checkpoint.config)

    def logits(self, sequences: Sequence[Sequence[int]], observe: Observer | None = None) -> list[Array]:
        """The logits after every token, one array of the shape (len(ids), vocabulary) for each sequence."""
        states = self._embed([token for ids in sequences for token in ids])
        bounds = np.cumsum([0, *map(len, sequences)])
        spans = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        angles = self._angles(max(map(len, sequences)))
        for layer in range(self._shape.layers):
            states = self._layer(layer, states, spans, angles, observe)
        states = self._norm("model.norm", states)
        tied = self._config.get("tie_word_embeddings", False)
        return self._output("model.embed_tokens.weight" if tied else "lm_head.weight", states, spans)

    def _embed(self, ids: Sequence[int]) -> Array:
        stored = self._checkpoint.tensors["model.embed_tokens.weight"]
        rows = {token: stored.rows(token, token + 1)[0] for token in set(ids)}
        return np.stack([rows[token] for token in ids])

    def _output(self, name: str, states: Array, spans: Sequence[slice]) -> list[Array]:
        stored = self._checkpoint.tensors[name]
        logits = np.empty((len(states), self._shape.vocabulary), dtype=np.float32)
        for start, stop in stored.blocks():
            logits[:, start:stop] = states @ stored.rows(start, stop).T
        return [logits[span] for span in spans]

    def _layer(
        self, layer: int, states: Array, spans: Sequence[slice], angles: Array, observe: Observer | None
    ) -> Array:
        prefix, shape = f"model.layers.{layer}.", self._shape

        def project(module: str, values: Array) -> Array:
            if observe is not None:
                observe(layer, module, values)
            result: Array = values @ self._checkpoint.read(f"{prefix}{module}.weight").T
            if self._decoder.has_bias(module, self._config):
                result += self._checkpoint.read(f"{prefix}{module}.bias")
            return result

        def heads(module: str, count: int) -> Array:
            result = project(f"self_attn.{module}_proj", inner).reshape(len(states), count, shape.head)
            if self._decoder.head_norms and module != "v":
                result = self._norm(f"{prefix}self_attn.{module}_norm", result)
            return result

        inner = self._norm(f"{prefix}input_layernorm", states)
        q, k, v = heads("q", shape.heads), heads("k", shape.kv_heads), heads("v", shape.kv_heads)
        mixed = np.concatenate([_attend(_turn(q[s], angles), _turn(k[s], angles), v[s]) for s in spans])
        states = states + project("self_attn.o_proj", mixed)
        inner = self._norm(f"{prefix}post_attention_layernorm", states)
        gate = project("mlp.gate_proj", inner)
        # Large negative values overflow in exp, and the quotient is then the 0 that it should be.
        with np.errstate(over="ignore"):
            gate /= 1 + np.exp(-gate)
        return states + project("mlp.down_proj", gate * project("mlp.up_proj", inner))

    def _norm(self, module: str, values: Array) -> Array:
        scale = np.sqrt((values**2).mean(axis=-1, keepdims=True) + np.float32(self._config["rms_norm_eps"]))
        return values / scale * self._checkpoint.read(f"{module}.weight")

    def _angles(self, positions: int) -> Array:
        """Shape (positions, half a head)."""
        rope = rope_of(self._config, self._shape.head)
        steps = rope.theta ** -(np.arange(0, self._shape.head, 2) / self._shape.head)
        if rope.factors is not None:
            steps = steps / rope.factors
        return np.outer(np.arange(positions), steps).astype(np.float32)


def _turn(values: Array, angles: Array) -> Array:
    """Turn (positions, heads, head): the first half of a head against its second half."""
    cos, sin = (function(angles[: len(values)])[:, None] for function in (np.cos, np.sin))
    a, b = np.split(values, 2, axis=-1)
    return np.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)


def _attend(q: Array, k: Array, v: Array) -> Array:
    """Causal attention of (positions, heads, head) with fewer k and v heads; shape (positions, heads * head)."""
    count, heads, size = q.shape
    groups = heads // k.shape[1]
    k, v = (np.repeat(values, groups, axis=1) for values in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k, optimize=True) / np.float32(np.sqrt(size))
    scores[:, np.triu(np.ones((count, count), dtype=bool), 1)] = -np.inf
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", scores, v, optimize=True).reshape(count, heads * size)
