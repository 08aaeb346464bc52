"""convert/: checkpoints become GGUF files that do the same, or nothing is written."""

from __future__ import annotations

import json

import gguf_maker
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, TokenType, quants
from safetensors.numpy import load_file, save_file

from convert import __main__ as command
from convert.chain import convert_all
from convert.check import check
from convert.errors import ConvertError, DriftError
from convert.gguf_header import read_gguf_header
from convert.quantize import quantize
from convert.to_gguf import to_gguf
from memr1_lite.llama import LlamaModel
from memr1_lite.llm import Segment

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return gguf_maker.make_checkpoint(tmp_path_factory.mktemp("source") / "checkpoint", role="manager")


@pytest.fixture
def copy(checkpoint, tmp_path):
    """A checkpoint to spoil."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("chatml", [False, True])
def test_f32_does_what_torch_does(tmp_path, chatml):
    path = gguf_maker.make_gguf(tmp_path, chatml=chatml)
    agreement = check(tmp_path / "checkpoint", path)
    assert agreement.largest < 1e-4
    assert agreement.top == 1.0
    assert agreement.greedy > 50


def test_f16_does_nearly_what_torch_does(checkpoint, tmp_path):
    to_gguf(checkpoint, tmp_path / "half.gguf", outtype="F16")
    agreement = check(checkpoint, tmp_path / "half.gguf")
    assert 0 < agreement.largest < 2e-2
    assert agreement.greedy > 50


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint, tmp_path):
    to_gguf(checkpoint, tmp_path / "one.gguf")
    to_gguf(checkpoint, tmp_path / "two.gguf")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()


def test_a_checkpoint_in_bfloat16_is_read(checkpoint, copy, tmp_path):
    from safetensors.torch import save_file as save_torch_file

    weights = load_file(copy / "model.safetensors")
    rounded = {name: torch.from_numpy(values).bfloat16() for name, values in weights.items()}
    save_torch_file(rounded, copy / "model.safetensors")
    to_gguf(copy, tmp_path / "a.gguf", outtype="F32")
    save_file({name: value.float().numpy() for name, value in rounded.items()}, copy / "model.safetensors")
    to_gguf(copy, tmp_path / "b.gguf", outtype="F32")
    with LlamaModel.load(tmp_path / "a.gguf") as a, LlamaModel.load(tmp_path / "b.gguf") as b:
        assert np.array_equal(a.logits([1, 2, 3]), b.logits([1, 2, 3]))


def test_the_whole_chain_leaves_one_quantised_file(checkpoint, tmp_path):
    # "full" is what the file in between was once called.
    exact, quantised = convert_all(checkpoint, tmp_path / "full.gguf", quant="Q8_0")
    assert exact.largest < quantised.largest < 1
    assert [file.name for file in tmp_path.iterdir()] == ["full.gguf"]
    with LlamaModel.load(tmp_path / "full.gguf", role="manager") as model:
        assert model.name == "tiny manager"
        assert len(model.tokenize(Segment("UPDATE[12]", trusted=True))) == 2


@pytest.mark.parametrize("quant", ["Q6_K", "Q4_K_M", "Q4_0"])
def test_smaller_types_are_smaller_and_load(checkpoint, tmp_path, quant):
    to_gguf(checkpoint, tmp_path / "full.gguf", outtype="F16")
    quantize(tmp_path / "full.gguf", tmp_path / "small.gguf", quant=quant)
    assert (tmp_path / "small.gguf").stat().st_size < (tmp_path / "full.gguf").stat().st_size
    with LlamaModel.load(tmp_path / "small.gguf") as model:
        assert np.isfinite(model.logits(list(range(40)))).all()


def test_an_importance_matrix_moves_the_errors_to_where_they_matter_less(checkpoint, tmp_path):
    to_gguf(checkpoint, tmp_path / "full.gguf", outtype="F32")
    name = "blk.0.ffn_up.weight"
    tensor = next(tensor for tensor in read_gguf_header(tmp_path / "full.gguf").tensors if tensor.name == name)
    weights = np.fromfile(tmp_path / "full.gguf", np.float32, tensor.elements, offset=tensor.start)
    important = np.arange(tensor.shape[1]) < 8
    errors = []
    for importance in (None, {name: np.where(important, 1e4, 1e-4)}):
        path = tmp_path / f"{importance is None}.gguf"
        quantize(tmp_path / "full.gguf", path, quant="Q4_0", importance=importance)
        (data,) = (tensor.data for tensor in GGUFReader(path).tensors if tensor.name == name)
        error = quants.dequantize(data, GGMLQuantizationType.Q4_0) - weights.reshape(tensor.shape)
        errors.append((error[:, important] ** 2).mean())
    assert errors[1] < 0.9 * errors[0]


def test_the_header_says_where_the_tensors_lie_and_reads_the_vocabulary_when_asked(checkpoint, tmp_path):
    to_gguf(checkpoint, tmp_path / "agent.gguf")
    path, reader = tmp_path / "agent.gguf", GGUFReader(tmp_path / "agent.gguf")
    header = read_gguf_header(path, arrays=True)
    assert [tensor.start for tensor in header.tensors] == [tensor.data_offset for tensor in reader.tensors]
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert tokens == reader.fields["tokenizer.ggml.tokens"].contents()
    assert read_gguf_header(path).metadata["tokenizer.ggml.tokens"] == range(len(tokens))


def test_what_looks_like_a_control_token_is_one_even_where_the_tokenizer_does_not_call_it_special(copy, tmp_path):
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    (pad,) = (added for added in tokenizer["added_tokens"] if added["content"] == "<|pad|>")
    pad["special"] = False
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    to_gguf(copy, tmp_path / "agent.gguf", outtype="F32")
    kinds = read_gguf_header(tmp_path / "agent.gguf", arrays=True).metadata["tokenizer.ggml.token_type"]
    assert kinds[pad["id"]] == TokenType.CONTROL
    check(copy, tmp_path / "agent.gguf")


def test_a_changed_weight_is_noticed(copy, tmp_path):
    to_gguf(copy, tmp_path / "agent.gguf", outtype="F32")
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.1.self_attn.q_norm.weight"] *= 1.5
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(DriftError, match="logits differ"):
        check(copy, tmp_path / "agent.gguf")


def test_a_changed_merge_is_noticed(copy, tmp_path):
    to_gguf(copy, tmp_path / "agent.gguf", outtype="F32")
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    del tokenizer["model"]["merges"][3:20]
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(DriftError, match="tokenisers differ"):
        check(copy, tmp_path / "agent.gguf")


def test_nothing_is_overwritten_without_force(checkpoint, tmp_path):
    target = tmp_path / "agent.gguf"
    target.write_bytes(b"precious")
    for convert in (to_gguf, convert_all):
        with pytest.raises(ConvertError, match="exists already"):
            convert(checkpoint, target)
    assert target.read_bytes() == b"precious"
    to_gguf(checkpoint, target, force=True)
    with pytest.raises(ConvertError, match="onto itself"):
        quantize(target, target, force=True)
    with pytest.raises(ConvertError, match="exists already"):
        quantize(target, checkpoint / "config.json")
    assert target.read_bytes()[:4] == b"GGUF"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        ({"eos_token_id": None}, "eos_token_id"),
        ({"vocab_size": 100}, "shape"),
        ({"hidden_size": 128}, "shape"),
        ({"num_hidden_layers": 3}, "lacks"),
        ({"num_hidden_layers": 1}, "has not"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_and_nothing_is_written(copy, tmp_path, values, words):
    change(copy / "config.json", **values)
    with pytest.raises(ConvertError, match=words):
        to_gguf(copy, tmp_path / "agent.gguf")
    assert [file.name for file in tmp_path.iterdir()] == ["copy"]


def test_a_value_too_large_for_f16_is_refused(copy, tmp_path):
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(ConvertError, match="not finite"):
        to_gguf(copy, tmp_path / "agent.gguf", outtype="F16")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_a_missing_or_broken_file_is_named(copy, tmp_path, name):
    for spoil in (lambda path: path.write_bytes(path.read_bytes()[:50]), lambda path: path.unlink()):
        spoil(copy / name)
        with pytest.raises(ConvertError, match=name):
            to_gguf(copy, tmp_path / "agent.gguf")


def test_another_split_is_refused(copy, tmp_path):
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "\\s+"}
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ConvertError, match="split"):
        to_gguf(copy, tmp_path / "agent.gguf")


def test_the_command_line_says_one_line_and_exits_with_one(checkpoint, tmp_path, capsys):
    full, small = str(tmp_path / "full.gguf"), str(tmp_path / "small.gguf")
    assert command.main(["to-gguf", str(checkpoint), full, "--outtype", "F32"]) == 0
    assert command.main(["quantize", full, small, "--quant", "Q8_0"]) == 0
    assert command.main(["check", str(checkpoint), full]) == 0
    assert "greedy tokens equal" in capsys.readouterr().out
    assert command.main(["quantize", str(checkpoint / "config.json"), str(tmp_path / "x.gguf")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "x.gguf").exists()
