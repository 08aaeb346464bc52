"""convert/ refuses what it cannot convert: naming the file, the tensor and what was expected, and leaving nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gguf_maker
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from convert.chain import convert_all
from convert.check import check
from convert.errors import ConvertError, DriftError
from convert.quantize import quantize
from convert.to_gguf import to_gguf

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """A checkpoint in three shards, to spoil."""
    folder = gguf_maker.make_checkpoint(tmp_path / "checkpoint", role="manager")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    homes = {}
    for number, names in enumerate((list(weights)[:8], list(weights)[8:16], list(weights)[16:]), 1):
        file = f"model-{number:05}-of-00003.safetensors"
        save_file({name: weights[name] for name in names}, str(folder / file))
        homes |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    return folder


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_tensor(folder, function, name="model.layers.0.mlp.up_proj.weight"):
    shard = folder / json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][name]
    weights = load_file(shard)
    weights[name] = function(weights[name])
    save_file(weights, str(shard))
    return shard.name


def refused(folder, *words):
    """Every verb that writes refuses with all of ``words``, and nothing is there that was not there before."""
    before = sorted(folder.parent.iterdir())
    for convert in (to_gguf, convert_all):
        with pytest.raises(ConvertError) as caught:
            convert(folder, folder.parent / "out.gguf")
        for word in words:
            assert word in str(caught.value)
    assert sorted(folder.parent.iterdir()) == before


def test_shards_are_read_like_one_file(folder, tmp_path):
    to_gguf(folder, tmp_path / "out.gguf")
    assert check(folder, tmp_path / "out.gguf").positions > 0


def test_a_missing_shard_is_named(folder):
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused(folder, "model-00002-of-00003.safetensors", "cannot be read")


def test_a_cut_shard_is_named_with_what_it_lacks(folder):
    shard = folder / "model-00003-of-00003.safetensors"
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(folder, shard.name, "cut off", f"{size} bytes are needed", str(size - 100))


def test_a_shard_that_is_no_safetensors_file_is_named(folder):
    (folder / "model-00001-of-00003.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    refused(folder, "model-00001-of-00003.safetensors", "not a whole safetensors file")


def test_an_index_that_does_not_fit_its_shards_is_refused(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    homes = index["weight_map"]
    homes["model.norm.weight"] = next(file for file in homes.values() if file != homes["model.norm.weight"])
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "model.safetensors.index.json", "model.norm.weight")


def test_a_header_that_lies_about_sizes_is_refused(folder):
    shard = folder / "model-00001-of-00003.safetensors"
    data = shard.read_bytes()
    assert b'"shape":[64,128]' in data or b'"shape":[64]' in data
    shard.write_bytes(data.replace(b'"shape":[64]', b'"shape":[65]', 1))
    refused(folder, shard.name, "damaged", "(65,)")


@pytest.mark.parametrize(("value", "says"), [(np.nan, "not finite"), (np.inf, "not finite"), (1e6, "not finite")])
def test_what_is_no_number_in_the_files_type_is_named(folder, value, says):
    def spoil(values):
        values[3, 5] = value
        return values

    change_tensor(folder, spoil)
    refused(folder, "model.layers.0.mlp.up_proj.weight", says, "F16")


def test_a_shape_that_does_not_fit_is_named_with_the_one_expected(folder):
    shard = change_tensor(folder, lambda values: np.ascontiguousarray(values[:90]))
    refused(folder, "model.layers.0.mlp.up_proj.weight", shard, "(90, 64)", "(96, 64)")


def test_numbers_of_another_type_are_refused(folder):
    change_tensor(folder, lambda values: values.astype(np.int32))
    refused(folder, "model.layers.0.mlp.up_proj.weight", "I32")


def test_an_unknown_architecture_is_named_with_the_known_ones(folder):
    change(folder / "config.json", model_type="mamba")
    refused(folder, "config.json", "mamba", "llama", "qwen2", "qwen3")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda t: t["model"].update(type="Unigram"), "Unigram"),
        (lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"\w+"}), "split"),
        (lambda t: t["model"].update(ignore_merges=True), "ignore_merges"),
        (lambda t: t.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda t: t["added_tokens"][0].update(lstrip=True), "lstrip"),
        (lambda t: t["added_tokens"][-1].update(id=9999), "9999"),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_not_reproduce_is_refused(folder, spoil, word):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    spoil(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused(folder, word)


def test_a_model_that_nobody_can_talk_to_is_refused(folder):
    (folder / "tokenizer_config.json").write_text("{}")
    refused(folder, "chat template")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"role": "poet"}, "poet"),
        ({"prompt_version": ""}, "prompt_version"),
        ({"role": "both"}, "two"),
    ],
)
def test_a_role_without_its_prompts_is_refused(folder, values, word):
    change(folder / "memr1.json", **values)
    refused(folder, "memr1.json", word)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "factor"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"use_sliding_window": True}, "use_sliding_window"),
    ],
)
def test_a_setting_that_the_file_cannot_say_is_refused(folder, values, word):
    change(folder / "config.json", **values)
    refused(folder, word)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from convert.errors import ConvertError
{imports}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    {call}
except ConvertError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from convert.to_gguf import to_gguf", "to_gguf(Path(sys.argv[1]), Path(sys.argv[2]))"),
        ("from convert.quantize import quantize", "quantize(Path(sys.argv[3]), Path(sys.argv[2]))"),
    ],
)
def test_where_the_disk_takes_no_more_nothing_is_left(folder, tmp_path, imports, call):
    full = tmp_path / "full.gguf"
    to_gguf(folder, full, outtype="F32")
    before = sorted(tmp_path.iterdir())
    code = LIMITED.format(imports=imports, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "out.gguf"), str(full)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 3, done.stderr
    assert "out.gguf" in done.stdout or "full.gguf" in done.stdout
    assert sorted(tmp_path.iterdir()) == before


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_written(folder, monkeypatch):
    import shutil

    free = shutil.disk_usage(folder)._replace(free=1000)
    monkeypatch.setattr("convert.output.shutil.disk_usage", lambda path: free)
    refused(folder, "1,000 bytes free", "make room")


def test_a_folder_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(ConvertError, match="no folder"):
        to_gguf(folder, tmp_path / "nowhere" / "out.gguf")
    with pytest.raises(ConvertError, match="no checkpoint folder"):
        to_gguf(tmp_path / "nothing", tmp_path / "out.gguf")


def test_a_quantised_file_is_not_quantised_again(folder, tmp_path):
    to_gguf(folder, tmp_path / "full.gguf")
    quantize(tmp_path / "full.gguf", tmp_path / "small.gguf", quant="Q4_0")
    with pytest.raises(ConvertError, match="cannot quantise"):
        quantize(tmp_path / "small.gguf", tmp_path / "again.gguf", quant="Q8_0")
    assert not (tmp_path / "again.gguf").exists()


def test_the_check_of_a_damaged_or_foreign_file_is_an_error(folder, tmp_path):
    to_gguf(folder, tmp_path / "full.gguf", outtype="F32")
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "full.gguf").read_bytes()[:30_000])
    with pytest.raises(ConvertError, match=r"cut\.gguf"):
        check(folder, tmp_path / "cut.gguf")
    (tmp_path / "text.gguf").write_bytes(b"hello")
    with pytest.raises(ConvertError, match="not a GGUF file"):
        check(folder, tmp_path / "text.gguf")
    gguf_maker.make_checkpoint(tmp_path / "other", chatml=True)
    with pytest.raises(DriftError, match="tokenisers differ"):
        check(tmp_path / "other", tmp_path / "full.gguf")
