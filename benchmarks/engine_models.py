"""GGUF files of real shapes, with real vocabularies and random weights: what an engine costs needs no trained model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFWriter, LlamaFileType

from benchmarks.llamacpp import CACHE, CHATML, vocabulary_file
from convert.output import whole_file
from convert.quantize import quantize

SHAPES = {  # layers, hidden, heads, key/value heads, feed-forward
    "qwen2.5-0.5b": (24, 896, 14, 2, 4864),
    "qwen2.5-1.5b": (28, 1536, 12, 2, 8960),
    "tiny": (2, 256, 4, 2, 512),  # where only tokens are counted
}


def random_model(cache: Path, shape: str, quant: str) -> Path:
    """A model of ``shape`` with Qwen2's vocabulary and random weights of type ``quant``, made once."""
    target = cache / f"random-{shape}.{quant}.gguf"
    if not target.exists():
        wide = cache / f"random-{shape}.F16.gguf"
        if not wide.exists():
            print(f"Making {wide.name} ...", file=sys.stderr)
            cache.mkdir(parents=True, exist_ok=True)
            vocabulary = GGUFReader(vocabulary_file(CACHE, "qwen2"))
            with whole_file(wide, force=False) as temporary:
                _write(temporary, vocabulary, shape)
        quantize(wide, target, quant=quant, threads=1)
    return target


def _write(target: Path, vocabulary: GGUFReader, shape: str) -> None:
    layers, hidden, heads, kv_heads, inner = SHAPES[shape]
    writer = GGUFWriter(target, "qwen2")
    writer.add_name(f"random {shape}")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_context_length(32_768)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    tokens = vocabulary.fields["tokenizer.ggml.tokens"].contents()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(vocabulary.fields["tokenizer.ggml.token_type"].contents())
    writer.add_token_merges(vocabulary.fields["tokenizer.ggml.merges"].contents())
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_chat_template(CHATML)
    random = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = random.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)
        writer.add_tensor(f"{name}.weight", values.astype(np.float16))

    def vector(name: str, size: int, middle: float) -> None:
        values = middle + 0.1 * random.standard_normal(size, dtype=np.float32)
        writer.add_tensor(name, values.astype(np.float32))

    matrix("token_embd", len(tokens), hidden)
    vector("output_norm.weight", hidden, 1)
    kv = hidden // heads * kv_heads
    for layer in range(layers):
        block = f"blk.{layer}."
        vector(block + "attn_norm.weight", hidden, 1)
        vector(block + "ffn_norm.weight", hidden, 1)
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            matrix(f"{block}attn_{name}", rows, hidden)
            vector(f"{block}attn_{name}.bias", rows, 0)
        matrix(block + "attn_output", hidden, hidden)
        matrix(block + "ffn_gate", inner, hidden)
        matrix(block + "ffn_up", inner, hidden)
        matrix(block + "ffn_down", hidden, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
