"""A tiny BERT sentence encoder with random weights, in the layout of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from convert import arch_bert

WORDS = "andrew has two dogs buddy and scout how many does have the cafe a b c d e s in on ?".split()


def make_encoder(folder: Path, *, positions: int = 64, length: int = 32, seed: int = 0) -> Path:
    """Write the folder: 2 layers of width 32, texts of at most ``length`` tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {text: token for token, text in enumerate([*special, *WORDS, *(f"##{letter}" for letter in "abcdefgs")])}
    config = {
        "model_type": "bert", "vocab_size": len(vocab), "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": positions,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    }  # fmt: skip
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": vocab[text], "content": text, "special": True, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False} for text in special
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [],
            "special_tokens": {
                text: {"id": text, "ids": [vocab[text]], "tokens": [text]} for text in ("[CLS]", "[SEP]")
            },
        },
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    }  # fmt: skip
    (folder / "1_Pooling").mkdir(parents=True)
    for name, content in (
        ("config.json", config),
        ("tokenizer.json", tokenizer),
        ("sentence_bert_config.json", {"max_seq_length": length}),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}),
    ):
        (folder / name).write_text(json.dumps(content))
    random, shapes = np.random.default_rng(seed), arch_bert.tensor_shapes(config)
    weights = {}
    for name, renamed in arch_bert.tensor_names(config).items():
        *_, room, part = renamed.split(".")
        shape = shapes[room] if part == "weight" else shapes[room][:1]
        weights[name] = (random.standard_normal(shape) / 4 + (len(shapes[room]) == 1 and part == "weight")).astype("f4")
    save_file(weights, str(folder / "model.safetensors"))
    return folder
