"""The agents in the package are what their trainer's model makes of the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import rl_parts
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

from convert.decoder import LINEAR
from memr1_lite.file_agents import bundled_agent
from memr1_lite.llama import LlamaModel
from train_ref.model import ModelConfig, Transformer

PROMPTS = {"manager": rl_parts.manager_prompts, "answerer": rl_parts.answerer_prompts}
OUTSIDE = {"token_embd": "embed_tokens", "output_norm": "norm"}
INSIDE = {ours: theirs for theirs, ours in LINEAR.items()} | {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}


def read_back(path):
    """The trainer's model with the weights that a GGUF file holds, as full numbers again."""
    reader, weights = GGUFReader(path), {}
    for tensor in reader.tensors:
        *block, part, _ = tensor.name.split(".")
        name = f"layers.{block[1]}.{INSIDE[part]}.weight" if block else f"{OUTSIDE[part]}.weight"
        weights[name] = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), np.float32))
    said = {name.removeprefix("qwen3."): field.contents() for name, field in reader.fields.items() if "qwen3." in name}
    config = ModelConfig(
        vocab_size=len(weights["embed_tokens.weight"]),
        hidden_size=said["embedding_length"],
        num_hidden_layers=said["block_count"],
        num_attention_heads=said["attention.head_count"],
        num_key_value_heads=said["attention.head_count_kv"],
        head_dim=said["attention.key_length"],
        intermediate_size=said["feed_forward_length"],
        rms_norm_eps=said["attention.layer_norm_rms_epsilon"],
        rope_theta=said["rope.freq_base"],
    )
    model = Transformer(config)
    model.load_state_dict(weights)
    return model.eval()


@pytest.mark.parametrize("role", PROMPTS)
def test_llama_cpp_and_torch_make_the_same_of_the_files_that_ship(role):
    model, gaps, same = read_back(bundled_agent(role)), [], []
    with LlamaModel.load(bundled_agent(role), role=role) as ours:
        for prompt in PROMPTS[role](8, seed=3):
            ids = ours.prompt_ids(prompt.segments)
            ours_TV = torch.from_numpy(ours.logits(ids))
            with torch.no_grad():
                theirs_TV = model(torch.tensor([ids]))[0]
            gaps.append(((ours_TV - theirs_TV).abs().mean() / theirs_TV.std()).item())
            same += (ours_TV.argmax(-1) == theirs_TV.argmax(-1)).tolist()
    # llama.cpp rounds what goes into a product to eight bits, as it does the weights; torch rounds nothing.
    assert max(gaps) < 0.02
    assert len(same) > 300
    assert sum(same) / len(same) > 0.97
