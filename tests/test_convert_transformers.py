"""convert/ beside transformers: the same small models, the same logits, tokens and texts; real llama.cpp."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from gguf import GGUFReader
from tokenizers import Tokenizer, normalizers

from convert.agreement import CORPUS, compare_tokens
from convert.architectures import architecture_of
from convert.check import check
from convert.checkpoint import read_checkpoint
from convert.reference import Reference
from convert.to_gguf import to_gguf
from memr1_lite.llama import LlamaModel

hf_maker = pytest.importorskip("hf_maker")

CASES = {
    "llama, tied, llama3 rope": ("llama", {"rope_parameters": hf_maker.LLAMA3_ROPE}),
    "llama, untied, all heads of their own": ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "llama with attention biases": ("llama", {"attention_bias": True}),
    "llama, one head of keys": ("llama", {"num_key_value_heads": 1, "head_dim": 32}),
    "qwen2, tied": ("qwen2", {}),
    "qwen2, untied": ("qwen2", {"tie_word_embeddings": False, "num_attention_heads": 8}),
    "qwen3, tied": ("qwen3", {}),
    "qwen3, untied, wide heads": ("qwen3", {"tie_word_embeddings": False, "head_dim": 64, "num_key_value_heads": 1}),
}
SEQUENCES = 2
TOKENS = 100


@pytest.fixture(scope="module", params=CASES)
def made(request, tmp_path_factory):
    """A folder with a model, the model, and some ids for it to read."""
    kind, how = CASES[request.param]
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    model = hf_maker.make_model(folder, kind, **how)
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, (SEQUENCES, TOKENS)).tolist()
    return folder, model, ids


@pytest.mark.parametrize(("outtype", "most"), [("F32", 1e-4), ("F16", 1e-2), ("BF16", 2e-1)])
def test_llama_cpp_computes_what_transformers_computes(made, tmp_path, outtype, most):
    folder, model, sequences = made
    to_gguf(folder, tmp_path / "model.gguf", outtype=outtype)
    # Weights in F16 are other weights, and llama.cpp rounds what it multiplies them with; the next test separates both.
    with LlamaModel.load(tmp_path / "model.gguf", context=1024, exact_cache=True) as converted:
        for ids in sequences:
            assert np.abs(converted.logits(ids) - hf_maker.logits(model, ids)).max() < most


def test_what_f16_adds_is_the_rounding_of_weights_and_of_what_they_are_multiplied_with(made, tmp_path):
    folder, model, sequences = made
    to_gguf(folder, tmp_path / "half.gguf", outtype="F16")
    rounded = copy.deepcopy(model)
    with hf_maker.torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.half().float())
    for module in rounded.modules():
        if isinstance(module, hf_maker.torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, given: (given[0].half().float(),))
    with LlamaModel.load(tmp_path / "half.gguf", context=1024, exact_cache=True) as converted:
        for ids in sequences:
            difference = np.abs(converted.logits(ids) - hf_maker.logits(rounded, ids))
            # A value that stands between two numbers of F16 may be rounded either way: few do, and little follows.
            assert np.quantile(difference, 0.9) < 1e-3
            assert difference[0].max() < 1e-3


def test_greedy_text_is_the_same_token_by_token(made, tmp_path):
    folder, model, sequences = made
    to_gguf(folder, tmp_path / "model.gguf", outtype="F32")
    with LlamaModel.load(tmp_path / "model.gguf", context=1024, exact_cache=True) as converted:
        for ids in sequences:
            said = list(ids)
            for _ in range(20):
                said.append(int(hf_maker.logits(model, said)[-1].argmax()))
            assert converted.greedy(ids, 20) == said[len(ids) :]


def test_the_check_stands_on_what_transformers_computes(made):
    folder, model, sequences = made
    checkpoint = read_checkpoint(folder)
    computed = Reference(checkpoint, architecture_of(checkpoint)).logits(sequences)
    for ids, ours in zip(sequences, computed, strict=True):
        assert np.abs(ours - hf_maker.logits(model, ids)).max() < 1e-4


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_the_whole_check_passes_and_looks_at_all_of_it(kind, tmp_path):
    hf_maker.make_model(tmp_path / "model", kind)
    to_gguf(tmp_path / "model", tmp_path / "model.gguf", outtype="F32")
    agreement = check(tmp_path / "model", tmp_path / "model.gguf")
    assert agreement.texts == 2 * len(CORPUS)
    assert agreement.largest < 1e-4
    assert agreement.divergence < 1e-8
    assert agreement.greedy > 50


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_shards_give_the_same_file_as_one(tmp_path, kind):
    hf_maker.make_model(tmp_path / "one", kind, tie_word_embeddings=False)
    hf_maker.make_model(tmp_path / "many", kind, tie_word_embeddings=False, shard="100KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    (tmp_path / "many").rename(tmp_path / "gone")
    files = []
    for name in ("one", "gone"):
        (tmp_path / name).rename(tmp_path / "model")
        to_gguf(tmp_path / "model", tmp_path / f"{name}.gguf")
        (tmp_path / "model").rename(tmp_path / name)
        files.append((tmp_path / f"{name}.gguf").read_bytes())
    assert files[0] == files[1]


def test_bfloat16_comes_through_bit_by_bit(tmp_path):
    model = hf_maker.make_model(tmp_path / "model", "qwen2", dtype="bfloat16")
    to_gguf(tmp_path / "model", tmp_path / "model.gguf", outtype="BF16")
    with LlamaModel.load(tmp_path / "model.gguf", context=512, exact_cache=True) as converted:
        # llama.cpp rounds what flows through a BF16 matrix too, so even equal weights give nearly equal logits only.
        ids = list(range(40))
        assert np.abs(converted.logits(ids) - hf_maker.logits(model, ids)).max() < 1e-1
    stored = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    raw = model.model.layers[0].mlp.up_proj.weight.bfloat16().view(hf_maker.torch.int16).numpy()
    assert stored["blk.0.ffn_up.weight"].tobytes() == raw.tobytes()


def test_composed_text_is_compared_where_the_tokenizer_composes_it(tmp_path):
    hf_maker.make_model(tmp_path / "model", "qwen2")
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    to_gguf(tmp_path / "model", tmp_path / "model.gguf")
    with LlamaModel.load(tmp_path / "model.gguf") as model:
        assert compare_tokens(model, tokenizer) == 2 * len(CORPUS)
