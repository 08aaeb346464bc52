"""Small models with random weights, made by transformers and saved as anybody's fine-tune would be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from gguf_maker import CHATML, make_tokenizer
from tokenizers import Tokenizer, processors
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from convert.tokenizer import LLAMA3_PATTERN

KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA_SPECIAL = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"]
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    # As much smaller than the real 8192 as these heads are smaller: short, blended and long waves all occur.
    "original_max_position_embeddings": 64,
}


def make_tokenizer_files(folder: Path, kind: str) -> Tokenizer:
    """``tokenizer.json`` and ``tokenizer_config.json`` of a small tokenizer of the model family's own kind."""
    if kind == "llama":
        tokenizer = make_tokenizer(LLAMA_SPECIAL, [], LLAMA3_PATTERN)
        begin = LLAMA_SPECIAL[0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
        )
        settings = {"bos_token": begin, "eos_token": "<|eot_id|>", "chat_template": LLAMA_TEMPLATE}
    else:
        tokenizer = make_tokenizer(QWEN_SPECIAL, ["<think>", "</think>"])
        settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML}
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def make_model(
    folder: Path,
    kind: str,
    *,
    seed: int = 0,
    shard: str = "1GB",
    dtype: str = "float32",
    depth: float = 1.0,
    **how: Any,
) -> Any:
    """Save a model of 2 layers with its tokenizer into ``folder``, and return it, in float32.

    :param shard: the largest size of one safetensors file
    :param depth: how loud the layers are; where they are quiet a model repeats itself, whatever is rounded
    :param how: settings of its configuration
    """
    tokenizer = make_tokenizer_files(folder, kind)
    shape: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size() + 5,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.token_to_id("<|eot_id|>" if kind == "llama" else "<|im_end|>"),
        "bos_token_id": tokenizer.token_to_id("<|begin_of_text|>"),
    }
    if kind == "qwen3":
        shape["head_dim"] = 32
    config_class, model_class = KINDS[kind]
    torch.manual_seed(seed)
    model = model_class(config_class(**shape | how)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                # Norms near one and biases near nothing, but no two the same: what transformers leaves at 1 or 0.
                parameter.normal_(float(name.endswith("norm.weight")), 0.2)
            else:
                loud = depth if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                parameter.normal_(0, loud * parameter.shape[1] ** -0.5)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=shard)
    return model.float()


def logits(model: Any, ids: list[int]) -> Any:
    """What transformers computes, shape ``(len(ids), vocabulary)``."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()
