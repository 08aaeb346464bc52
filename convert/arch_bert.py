"""BERT as a sentence encoder: absolute positions, layer norms after each half, pooling; WordPiece tokens.

The folder is one of sentence-transformers: its ``1_Pooling/config.json`` says how a text's vectors become one, and
``sentence_bert_config.json`` how many tokens of a text are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, PoolingType, TokenType

from convert.checkpoint import read_json
from convert.errors import ConvertError

NAME = "bert"
BLOCK = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
UNUSED = frozenset({"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"})
"""What no sentence vector is made of."""
POOLINGS = {"pooling_mode_mean_tokens": PoolingType.MEAN, "pooling_mode_cls_token": PoolingType.CLS}
WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"
"""llama.cpp marks where a word begins, and WordPiece where it goes on."""


def add_parameters(writer: GGUFWriter, config: Mapping[str, Any], folder: Path) -> None:
    """Write the shape of the model, how it pools, and how many tokens of a text it reads.

    :raises ConvertError: a setting that this architecture's file cannot say
    """
    for key, only in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(key, only) != only:
            raise ConvertError(f"config.json sets {key!r} to {config[key]!r}: only {only!r} is supported for {NAME}.")
    writer.add_context_length(text_length(config, folder))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling(folder))


def text_length(config: Mapping[str, Any], folder: Path) -> int:
    """How many tokens of a text the encoder reads, which may be fewer than it has positions for."""
    length: int = config["max_position_embeddings"]
    if (folder / "sentence_bert_config.json").exists():
        length = min(length, read_json(folder / "sentence_bert_config.json").get("max_seq_length") or length)
    return length


def pooling(folder: Path) -> PoolingType:
    """How the vectors of a text's tokens become one.

    :raises ConvertError: in a way that llama.cpp does not know
    """
    modes = read_json(folder / "1_Pooling" / "config.json")
    chosen = [mode for mode, on in modes.items() if mode.startswith("pooling_mode_") and on]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise ConvertError(f"1_Pooling/config.json pools by {chosen}; known is one of {list(POOLINGS)}.")
    return POOLINGS[chosen[0]]


def add_tokenizer(writer: GGUFWriter, tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write the WordPiece vocabulary and the ids with a meaning.

    :raises ConvertError: another kind of tokenizer, or one that treats text as llama.cpp does not
    """
    model, normalizer = tokenizer["model"], tokenizer.get("normalizer") or {}
    if model.get("type", "WordPiece") != "WordPiece" or model.get("continuing_subword_prefix") != "##":
        raise ConvertError(f"tokenizer.json holds a {model.get('type')!r} model; {NAME} needs WordPiece with '##'.")
    if normalizer.get("type") != "BertNormalizer" or not normalizer.get("lowercase"):
        raise ConvertError("The tokenizer does not lower-case text; llama.cpp's WordPiece always does.")
    texts: dict[int, str] = {token: text for text, token in model["vocab"].items()}
    special = {added["content"]: added["id"] for added in tokenizer.get("added_tokens", []) if added["special"]}
    size = config["vocab_size"]
    if max(texts) >= size:
        raise ConvertError(f"tokenizer.json has the id {max(texts)}; the model's vocabulary ends at {size - 1}.")
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(config["type_vocab_size"])
    writer.add_token_list(
        [_marked(texts[token], special) if token in texts else f"[PAD{token}]" for token in range(size)]
    )
    writer.add_token_types([_kind(texts.get(token), special) for token in range(size)])
    for text, add in (
        ("[CLS]", writer.add_bos_token_id),
        ("[SEP]", writer.add_sep_token_id),
        ("[UNK]", writer.add_unk_token_id),
        ("[PAD]", writer.add_pad_token_id),
        ("[MASK]", writer.add_mask_token_id),
    ):
        if text not in special:
            raise ConvertError(f"tokenizer.json has no special token {text!r}.")
        add(special[text])
    writer.add_eos_token_id(special["[SEP]"])


def _marked(text: str, special: Mapping[str, int]) -> str:
    if text in special:
        return text
    return text[2:] if text.startswith("##") else WORD_START + text


def _kind(text: str | None, special: Mapping[str, int]) -> TokenType:
    if text is None:
        return TokenType.UNUSED
    return TokenType.CONTROL if text in special else TokenType.NORMAL


def tensor_names(config: Mapping[str, Any]) -> dict[str, str]:
    """The checkpoint's tensors and what GGUF calls them, in the order they are written."""
    names = {
        "embeddings.word_embeddings.weight": "token_embd.weight",
        "embeddings.position_embeddings.weight": "position_embd.weight",
        "embeddings.token_type_embeddings.weight": "token_types.weight",
        "embeddings.LayerNorm.weight": "token_embd_norm.weight",
        "embeddings.LayerNorm.bias": "token_embd_norm.bias",
    }
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in BLOCK.items():
            for part in ("weight", "bias"):
                names[f"encoder.layer.{layer}.{theirs}.{part}"] = f"blk.{layer}.{ours}.{part}"
    return names


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape that each weight must have, by the last part of its name; a bias is as long as its weight is high."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    square = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (hidden, hidden))
    norms = dict.fromkeys(("token_embd_norm", "attn_output_norm", "layer_output_norm"), (hidden,))
    return {
        "token_embd": (config["vocab_size"], hidden),
        "position_embd": (config["max_position_embeddings"], hidden),
        "token_types": (config["type_vocab_size"], hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
        **square,
        **norms,
    }
