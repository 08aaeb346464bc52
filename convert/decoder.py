"""Decoder-only language models of the Llama kind: RMSNorm, rotary positions, grouped queries, a SwiGLU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter

from convert.checkpoint import Checkpoint
from convert.errors import ConvertError
from convert.rope import rope_of
from convert.tensor_spec import TensorSpec

LINEAR = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""The matrices of a layer, and what GGUF calls them."""


@dataclass(frozen=True)
class Shape:
    """The sizes that ``config.json`` gives."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read them; transformers leaves out what follows from the rest."""
        heads = config["num_attention_heads"]
        return cls(
            vocabulary=config["vocab_size"],
            hidden=config["hidden_size"],
            inner=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head=config.get("head_dim") or config["hidden_size"] // heads,
        )

    def linear(self, name: str) -> tuple[int, int]:
        """Rows and columns of the matrix ``name``, a key of :data:`LINEAR`."""
        q, kv = self.heads * self.head, self.kv_heads * self.head
        return {
            "self_attn.q_proj": (q, self.hidden),
            "self_attn.k_proj": (kv, self.hidden),
            "self_attn.v_proj": (kv, self.hidden),
            "self_attn.o_proj": (self.hidden, q),
            "mlp.gate_proj": (self.inner, self.hidden),
            "mlp.up_proj": (self.inner, self.hidden),
            "mlp.down_proj": (self.hidden, self.inner),
        }[name]


@dataclass(frozen=True)
class Decoder:
    """One architecture; the fields are what sets it apart.

    ``paired_rope``: llama.cpp turns neighbouring pairs of a head where the checkpoint turns its two halves.
    ``biases`` are the projections that always have one, ``biased`` the setting that gives one to q, k, v and o.
    ``refused`` are settings that change the model and that its file cannot say.
    """

    name: str
    paired_rope: bool = False
    head_norms: bool = False
    biases: tuple[str, ...] = ()
    biased: str = ""
    refused: tuple[str, ...] = ()

    def add_parameters(self, writer: GGUFWriter, checkpoint: Checkpoint) -> None:
        """Write the shape of the model."""
        config = checkpoint.config
        for setting in self.refused:
            if config.get(setting):
                raise ConvertError(
                    f"config.json sets {setting!r} to {config[setting]!r}: not supported for {self.name}."
                )
        if config.get("hidden_act", "silu") != "silu":
            raise ConvertError(f"config.json sets 'hidden_act' to {config['hidden_act']!r}; only 'silu' is supported.")
        shape = Shape.of(config)
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(shape.hidden)
        writer.add_block_count(shape.layers)
        writer.add_feed_forward_length(shape.inner)
        writer.add_head_count(shape.heads)
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_key_length(shape.head)
        writer.add_value_length(shape.head)
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_freq_base(rope_of(config, shape.head).theta)
        writer.add_rope_dimension_count(shape.head)
        writer.add_vocab_size(shape.vocabulary)

    def tensors(self, config: Mapping[str, Any]) -> list[TensorSpec]:
        """Embedding, layers, output; the output matrix only where it is not the embedding."""
        shape = Shape.of(config)
        vocabulary = (shape.vocabulary, shape.hidden)
        specs = [TensorSpec("token_embd.weight", "model.embed_tokens.weight", vocabulary)]
        factors = rope_of(config, shape.head).factors
        if factors is not None:
            specs.append(TensorSpec("rope_freqs.weight", "", factors.shape, values=factors))
        for layer in range(shape.layers):
            specs += self._layer(config, shape, layer)
        specs.append(TensorSpec("output_norm.weight", "model.norm.weight", (shape.hidden,)))
        # Tied: llama.cpp takes the embedding for the output where there is no output tensor.
        if not config.get("tie_word_embeddings", False):
            specs.append(TensorSpec("output.weight", "lm_head.weight", vocabulary))
        return specs

    def is_unused(self, name: str, config: Mapping[str, Any]) -> bool:
        """A stored copy of the tied output matrix, and the rope frequencies that old checkpoints hold."""
        return name == "lm_head.weight" or name.endswith("rotary_emb.inv_freq")

    def row_order(self, module: str, config: Mapping[str, Any]) -> npt.NDArray[np.intp] | None:
        """Which row of the checkpoint's projection stands in each row of the file's; None where nothing moves."""
        shape = Shape.of(config)
        heads = {"self_attn.q_proj": shape.heads, "self_attn.k_proj": shape.kv_heads}.get(module)
        if heads is None or not self.paired_rope:
            return None
        # The halves (0..n/2, n/2..n) of every head become pairs (0, n/2, 1, n/2 + 1, ...).
        return np.arange(heads * shape.head).reshape(heads, 2, shape.head // 2).swapaxes(1, 2).reshape(-1)

    def has_bias(self, module: str, config: Mapping[str, Any]) -> bool:
        """Whether the projection ``module`` adds a bias."""
        last = module.rpartition(".")[2]
        return last in self.biases or bool(self.biased and config.get(self.biased) and module.startswith("self_attn."))

    def _layer(self, config: Mapping[str, Any], shape: Shape, layer: int) -> list[TensorSpec]:
        theirs, ours = f"model.layers.{layer}.", f"blk.{layer}."
        norms = {"input_layernorm": ("attn_norm", shape.hidden), "post_attention_layernorm": ("ffn_norm", shape.hidden)}
        if self.head_norms:
            norms |= {
                "self_attn.q_norm": ("attn_q_norm", shape.head),
                "self_attn.k_norm": ("attn_k_norm", shape.head),
            }
        specs = [
            TensorSpec(f"{ours}{name}.weight", f"{theirs}{module}.weight", (size,))
            for module, (name, size) in norms.items()
        ]
        for module, name in LINEAR.items():
            size, order = shape.linear(module), self.row_order(module, config)
            specs.append(TensorSpec(f"{ours}{name}.weight", f"{theirs}{module}.weight", size, order))
            if self.has_bias(module, config):
                specs.append(TensorSpec(f"{ours}{name}.bias", f"{theirs}{module}.bias", size[:1], order))
        return specs
