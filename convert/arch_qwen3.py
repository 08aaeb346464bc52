"""Qwen3, dense: grouped-query attention with q/k norms, no biases. llama.cpp reads its weights as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gguf import GGUFWriter

from convert.errors import ConvertError

NAME = "qwen3"
BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def add_parameters(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    """Write the shape of the model.

    :raises ConvertError: a setting that this architecture's file cannot say
    """
    for unsupported in ("attention_bias", "use_sliding_window", "rope_scaling"):
        if config.get(unsupported):
            raise ConvertError(
                f"config.json sets {unsupported!r} to {config[unsupported]!r}: not supported for {NAME}."
            )
    theta = config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta")
    if theta is None:
        raise ConvertError("config.json names no 'rope_theta'.")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(theta))
    writer.add_vocab_size(config["vocab_size"])


def tensor_names(config: Mapping[str, Any]) -> dict[str, str]:
    """The checkpoint's tensors and what GGUF calls them, in the order they are written."""
    names = {"model.embed_tokens.weight": "token_embd.weight"}
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in BLOCK.items():
            names[f"model.layers.{layer}.{theirs}.weight"] = f"blk.{layer}.{ours}.weight"
    names["model.norm.weight"] = "output_norm.weight"
    # Tied: llama.cpp takes the embedding for the output where there is no output tensor.
    if not config["tie_word_embeddings"]:
        names["lm_head.weight"] = "output.weight"
    return names


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape that each GGUF tensor of a block must have, by the last part of its name, and the embedding's."""
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return {
        "token_embd": (config["vocab_size"], hidden),
        "output": (config["vocab_size"], hidden),
        "output_norm": (hidden,),
        "attn_norm": (hidden,),
        "ffn_norm": (hidden,),
        "attn_q": (q, hidden),
        "attn_k": (kv, hidden),
        "attn_v": (kv, hidden),
        "attn_output": (hidden, q),
        "attn_q_norm": (head,),
        "attn_k_norm": (head,),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }
