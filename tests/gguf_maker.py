"""Tiny checkpoints with random weights, and the GGUF files made from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from convert.to_gguf import to_gguf
from convert.tokenizer import QWEN2_PATTERN
from memr1_lite import answer_agent, memory_manager

OURS = ["<|end|>", "<|pad|>", "<|user|>", "<|assistant|>", *(f"[{n}]" for n in range(1, 65))]
OURS += ["ADD", "UPDATE", "DELETE", "NOOP", "NONE", "Message:", "Question:"]
OUR_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SENTENCES = [
    "Andrew has two dogs, Buddy and Scout.",
    "Audrey moved to Lyon in March 2023 and works as a nurse.",
    "On 16 June 2023 I adopted another dog; it's the third one we've had.",
    "How many dogs does Andrew have? Where does Audrey live now?",
    "She doesn't like coffee, but he'll drink three cups a day.",
    "=" * 128,
]


def make_tokenizer(special: list[str], user_defined: list[str], pattern: str = QWEN2_PATTERN) -> Tokenizer:
    """A byte-level BPE tokenizer that splits as Qwen2 or Llama 3 do, trained on a handful of sentences."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pattern != QWEN2_PATTERN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in user_defined])
    return tokenizer


def make_checkpoint(folder: Path, *, role: str | None = None, chatml: bool = False, seed: int = 0) -> Path:
    """Write a checkpoint of 2 layers; an agent of ours for ``role``, or a stranger with a ChatML template."""
    folder.mkdir(parents=True)
    special = ["<|im_end|>", "<|im_start|>", "<|endoftext|>"] if chatml else OURS
    tokenizer = make_tokenizer(special, ["<think>", "</think>"] if chatml else [])
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(special[0])
    template = CHATML if chatml else OUR_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": tokenizer.get_vocab_size() + 3,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 96,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": tokenizer.token_to_id("<|endoftext|>" if chatml else "<|pad|>"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    if role is not None:
        versions = {"manager": memory_manager.PROMPT_VERSION, "answerer": answer_agent.PROMPT_VERSION}
        versions["both"] = " ".join(versions.values())
        training = {
            "role": role,
            "prompt_version": versions[role],
            "name": f"tiny {role}",
            "training_data": "none: random weights",
            "figures": {"exact_match": 0.0},
            "licence": "apache-2.0",
        }
        (folder / "memr1.json").write_text(json.dumps(training))
    weights = random_weights(config, seed)
    # Random models hardly ever stop; louder end tokens make them.
    weights["model.embed_tokens.weight"][[end, tokenizer.token_to_id("Ċ")]] *= 3
    save_file(weights, str(folder / "model.safetensors"))
    return folder


def random_weights(config: dict, seed: int) -> dict[str, np.ndarray]:
    """Weights large enough for the logits to disagree with each other."""
    random = np.random.default_rng(seed)
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def vector(size: int) -> np.ndarray:
        return (1 + 0.1 * random.standard_normal(size)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": matrix(config["vocab_size"], hidden),
        "model.norm.weight": vector(hidden),
    }
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        weights |= {
            block + "input_layernorm.weight": vector(hidden),
            block + "post_attention_layernorm.weight": vector(hidden),
            block + "self_attn.q_norm.weight": vector(head),
            block + "self_attn.k_norm.weight": vector(head),
            block + "self_attn.q_proj.weight": matrix(q, hidden),
            block + "self_attn.k_proj.weight": matrix(kv, hidden),
            block + "self_attn.v_proj.weight": matrix(kv, hidden),
            block + "self_attn.o_proj.weight": matrix(hidden, q),
            block + "mlp.gate_proj.weight": matrix(inner, hidden),
            block + "mlp.up_proj.weight": matrix(inner, hidden),
            block + "mlp.down_proj.weight": matrix(hidden, inner),
        }
    return weights


def make_gguf(folder: Path, **how: object) -> Path:
    """A GGUF file in F32 with its checkpoint beside it, in ``folder / "checkpoint"``."""
    checkpoint = make_checkpoint(folder / "checkpoint", **how)  # type: ignore[arg-type]
    to_gguf(checkpoint, folder / "tiny.gguf", outtype="F32")
    return folder / "tiny.gguf"


def make_adapter(
    path: Path,
    *,
    arch: str = "qwen3",
    width: int = 64,
    layers: int = 2,
    rank: int = 4,
    seed: int = 0,
    tensors: dict[str, np.ndarray] | None = None,
    **metadata: str,
) -> Path:
    """A LoRA of random numbers on the queries and the way down, as a GGUF file: by itself for what ``make_gguf`` makes.

    :param tensors: instead of these or beside them, by name
    """
    random = np.random.default_rng(seed)
    writer = GGUFWriter(path, arch)
    writer.add_type("adapter")
    for key, value in {"adapter.type": "lora", **metadata}.items():
        writer.add_string(key, value)
    writer.add_float32("adapter.lora.alpha", 2.0 * rank)
    written: dict[str, np.ndarray] = {}
    for layer in range(layers):
        for name, rows, columns in (("attn_q", 128, width), ("ffn_down", width, 96)):
            for half, shape in (("a", (rank, columns)), ("b", (rows, rank))):
                values = random.standard_normal(shape) / np.sqrt(shape[1])
                written[f"blk.{layer}.{name}.weight.lora_{half}"] = values.astype(np.float32)
    for name, values in (written | (tensors or {})).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
