"""LoRAs of PEFT: as GGUF adapters, merged, and as two agents on one base; real peft, real llama.cpp."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from convert import __main__ as command
from convert import safetensors_file
from convert.check import check
from convert.errors import ConvertError, DriftError
from convert.gguf_header import read_gguf_header
from convert.lora_to_gguf import lora_to_gguf
from convert.merge import merge
from convert.to_gguf import to_gguf
from memr1_lite.config import Agents, BankConfig
from memr1_lite.errors import ModelLoadError
from memr1_lite.file_agents import FileAgents
from memr1_lite.llama import LlamaModel
from memr1_lite.llm import END, Choice, Segment
from memr1_lite.memory_manager import PROMPT_VERSION

hf_maker = pytest.importorskip("hf_maker")
peft = pytest.importorskip("peft")

# peft asks transformers a question by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = list(range(20, 90))
CASES = {
    "everything": {"target_modules": EVERYWHERE, "r": 4, "lora_alpha": 8},
    "q and v, rank-stabilised": {"target_modules": ["q_proj", "v_proj"], "r": 8, "lora_alpha": 4, "use_rslora": True},
    "ranks and scales by pattern": {
        "target_modules": EVERYWHERE,
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 8},
        "alpha_pattern": {"k_proj": 3, "layers.0.self_attn.o_proj": 32},
    },
}


def make_lora(folder, kind, lora, seed=1, size=0.15, **how):
    """A base and a LoRA for it in ``folder``; returns the adapted model."""
    model = hf_maker.make_model(folder / "base", kind, **how)
    hf_maker.torch.manual_seed(seed)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **lora))
    with hf_maker.torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, size)
    adapted.save_pretrained(str(folder / "lora"))
    return adapted.eval()


def difference(expected, path, **how):
    with LlamaModel.load(path, context=512, exact_cache=True, **how) as model:
        return np.abs(model.logits(IDS) - expected).max()


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("case", CASES)
def test_adapter_and_merged_model_both_do_what_peft_does(tmp_path, kind, case):
    expected = hf_maker.logits(make_lora(tmp_path, kind, CASES[case]), IDS)
    to_gguf(tmp_path / "base", tmp_path / "base.gguf", outtype="F32")
    lora_to_gguf(tmp_path / "lora", tmp_path / "lora.gguf", base=tmp_path / "base", outtype="F32")
    assert difference(expected, tmp_path / "base.gguf") > 0.1
    assert difference(expected, tmp_path / "base.gguf", adapter=tmp_path / "lora.gguf") < 1e-4
    merge(tmp_path / "base", tmp_path / "lora", tmp_path / "merged")
    to_gguf(tmp_path / "merged", tmp_path / "merged.gguf", outtype="F32")
    assert difference(expected, tmp_path / "merged.gguf") < 1e-4


def test_a_merged_bfloat16_base_stays_bfloat16_and_passes_the_check(tmp_path):
    make_lora(tmp_path, "qwen2", CASES["everything"], dtype="bfloat16")
    merge(tmp_path / "base", tmp_path / "lora", tmp_path / "merged", role="manager")
    to_gguf(tmp_path / "merged", tmp_path / "merged.gguf", outtype="BF16")
    check(tmp_path / "merged", tmp_path / "merged.gguf")
    assert {
        tensor.kind.name for tensor in read_gguf_header(tmp_path / "merged.gguf").tensors if len(tensor.shape) > 1
    } == {"BF16"}


def test_weights_that_take_many_blocks_come_out_as_those_that_take_one(tmp_path, monkeypatch):
    make_lora(tmp_path, "qwen2", CASES["everything"])
    for name, size in (("one", safetensors_file.BLOCK_BYTES), ("many", 1_000)):
        monkeypatch.setattr(safetensors_file, "BLOCK_BYTES", size)
        merged = tmp_path / name / "merged"  # the file says its folder's name
        merged.parent.mkdir()
        merge(tmp_path / "base", tmp_path / "lora", merged, role="manager")
        to_gguf(merged, tmp_path / name / "merged.gguf")
        check(merged, tmp_path / name / "merged.gguf")  # its reference reads in blocks too
    for name in ("merged/model.safetensors", "merged.gguf"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((5, 100), [(0, 2), (2, 4), (4, 5)]),
        ((4, 999), [(0, 1), (1, 2), (2, 3), (3, 4)]),
        ((300,), [(0, 250), (250, 300)]),
    ],
)
def test_a_block_is_as_many_rows_as_its_bytes_hold_and_one_at_least(monkeypatch, tmp_path, shape, blocks):
    monkeypatch.setattr(safetensors_file, "BLOCK_BYTES", 1_000)
    tensor = safetensors_file.StoredTensor("t", tmp_path, "BF16", shape, 0)
    assert list(tensor.blocks()) == blocks


def test_the_adapter_says_its_role_its_prompts_and_its_base(tmp_path):
    make_lora(tmp_path, "qwen2", CASES["everything"])
    card = {"name": "nora", "training_run": "run 7", "figures": {"exact_match": 0.5}, "licence": "mit"}
    (tmp_path / "lora" / "memr1.json").write_text(json.dumps(card))
    lora_to_gguf(tmp_path / "lora", tmp_path / "lora.gguf", base=tmp_path / "base", role="manager")
    to_gguf(tmp_path / "base", tmp_path / "base.gguf")
    metadata = read_gguf_header(tmp_path / "lora.gguf").metadata
    assert metadata["memr1.role"] == "manager"
    assert metadata["memr1.prompt_version"] == PROMPT_VERSION
    assert metadata["general.name"] == "nora"
    assert metadata["general.license"] == "mit"
    assert metadata["memr1.training_run"] == "run 7"
    assert json.loads(metadata["memr1.figures"]) == {"exact_match": 0.5}
    base = read_gguf_header(tmp_path / "base.gguf").metadata
    assert metadata["memr1.base_sha256"] == base["memr1.checkpoint_sha256"]
    with LlamaModel.load(tmp_path / "base.gguf", adapter=tmp_path / "lora.gguf", role="manager") as model:
        assert (model.trained_role, model.name) == ("manager", "nora")
    with pytest.raises(ModelLoadError, match=r"lora\.gguf.*manager"):
        LlamaModel.load(tmp_path / "base.gguf", adapter=tmp_path / "lora.gguf", role="answerer")


@pytest.fixture(scope="module")
def two_agents(tmp_path_factory):
    """One base, a LoRA for each role, and the two merged models, all as GGUF files."""
    folder = tmp_path_factory.mktemp("agents")
    for seed, role in enumerate(("manager", "answerer")):
        make_lora(folder / role, "qwen2", CASES["everything"], seed=seed)
        merge(folder / role / "base", folder / role / "lora", folder / role / "merged", role=role)
        to_gguf(folder / role / "merged", folder / f"{role}.gguf", outtype="F32")
        base = folder / role / "base"
        lora_to_gguf(folder / role / "lora", folder / f"{role}-lora.gguf", base=base, outtype="F32", role=role)
    to_gguf(folder / "manager" / "base", folder / "base.gguf", outtype="F32")
    return folder


def one_base(folder):
    return Agents(
        base=folder / "base.gguf",
        manager_lora=folder / "manager-lora.gguf",
        answerer_lora=folder / "answerer-lora.gguf",
    )


@pytest.mark.parametrize("engine", ["thread", "process"])
def test_two_agents_on_one_base_decide_like_two_merged_models(two_agents, engine):
    config = BankConfig(engine=engine, threads=1)
    apart = Agents(manager=two_agents / "manager.gguf", answerer=two_agents / "answerer.gguf")
    said = []
    for agents in (one_base(two_agents), apart):
        loaded = FileAgents(agents, config)
        models = [loaded._loaded_manager().model, loaded._loaded_answerer().model]
        # One choice after another: random weights never end a text.
        prompts = [(Segment(f"{number} dogs and {number} cats"),) for number in range(12)]
        said.append([model.complete(prompt, Ten()) for prompt in prompts for model in models])
        loaded.close()
    first, second = ([completion.values for completion in completions] for completions in said)
    assert first == second
    assert len(set(first)) > 2
    confidences = [[value for one in completions for value in one.confidences] for completions in said]
    assert np.allclose(*confidences, atol=1e-3)


class Ten:
    """Ten choices out of ten."""

    def next_step(self, values):
        return Choice((END,)) if len(values) == 10 else None if len(values) > 10 else Choice(tuple("0123456789"))


def test_the_weights_are_loaded_once_and_freed_with_the_last_agent(two_agents):
    agents = FileAgents(one_base(two_agents))
    manager, answerer = agents._loaded_manager().model, agents._loaded_answerer().model
    assert manager._native.weights is answerer._native.weights
    before = answerer.logits(IDS)
    manager.close()
    assert np.array_equal(answerer.logits(IDS), before)
    agents.close()
    assert manager._native.weights.shared() is None


def test_a_base_without_a_lora_plays_the_role_itself_and_is_told_how(two_agents):
    agents = FileAgents(Agents(base=two_agents / "base.gguf", manager_lora=two_agents / "manager-lora.gguf"))
    assert agents._loaded_manager().instructions is None
    assert agents._loaded_answerer().instructions is not None
    agents.close()


def test_agents_are_given_in_one_way(two_agents):
    with pytest.raises(ValueError, match="base"):
        Agents(manager_lora=two_agents / "manager-lora.gguf")
    with pytest.raises(ValueError, match="base"):
        Agents(base=two_agents / "base.gguf", manager=two_agents / "manager.gguf")


def test_an_adapter_that_does_not_fit_is_a_clear_error_and_no_crash(two_agents, tmp_path):
    base = two_agents / "base.gguf"
    with pytest.raises(ModelLoadError, match="no model file"):
        LlamaModel.load(base, adapter=tmp_path / "missing.gguf")
    with pytest.raises(ModelLoadError, match="no LoRA"):
        LlamaModel.load(base, adapter=two_agents / "manager.gguf")
    (tmp_path / "cut.gguf").write_bytes((two_agents / "manager-lora.gguf").read_bytes()[:20_000])
    with pytest.raises(ModelLoadError, match="incomplete"):
        LlamaModel.load(base, adapter=tmp_path / "cut.gguf")
    make_lora(tmp_path / "llama", "llama", CASES["everything"])
    lora_to_gguf(tmp_path / "llama" / "lora", tmp_path / "other.gguf", base=tmp_path / "llama" / "base")
    with pytest.raises(ModelLoadError, match="no LoRA"):
        LlamaModel.load(base, adapter=tmp_path / "other.gguf")
    make_lora(tmp_path / "same shape", "qwen2", CASES["everything"])
    hf_maker.make_model(tmp_path / "other base", "qwen2", seed=9)
    lora_to_gguf(tmp_path / "same shape" / "lora", tmp_path / "twin.gguf", base=tmp_path / "other base")
    with pytest.raises(ModelLoadError, match="another base"):
        LlamaModel.load(base, adapter=tmp_path / "twin.gguf")
    with pytest.raises(ModelLoadError, match="SHA-256"):
        LlamaModel.load(base, adapter=two_agents / "manager-lora.gguf", adapter_sha256="0" * 64)


@pytest.fixture
def pair(tmp_path):
    """A base and a LoRA to spoil."""
    make_lora(tmp_path, "qwen2", CASES["everything"])
    return tmp_path


def refused(folder, words):
    """Both ways refuse, and leave nothing behind."""
    before = sorted(path.name for path in folder.iterdir())
    for convert in (
        lambda: lora_to_gguf(folder / "lora", folder / "out.gguf", base=folder / "base"),
        lambda: merge(folder / "base", folder / "lora", folder / "out"),
    ):
        with pytest.raises(ConvertError, match=words):
            convert()
    assert sorted(path.name for path in folder.iterdir()) == before


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "IA3"}, "no|not"),
        ({"lora_alpha": "much"}, "lora_alpha"),
    ],
)
def test_a_lora_of_another_kind_is_refused(pair, values, words):
    change(pair / "lora" / "adapter_config.json", **values)
    refused(pair, words)


def test_a_lora_for_another_base_is_refused_naming_what_differs(pair):
    weights = load_file(pair / "lora" / "adapter_model.safetensors")
    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file(weights | {first: np.zeros((4, 128), np.float32)}, str(pair / "lora" / "adapter_model.safetensors"))
    refused(pair, r"self_attn\.q_proj.*\(64, 64\).*\(64, 128\)")
    moved = {name.replace("layers.0.", "layers.5."): values for name, values in weights.items()}
    save_file(moved, str(pair / "lora" / "adapter_model.safetensors"))
    refused(pair, "layer 5")
    save_file(weights, str(pair / "lora" / "adapter_model.safetensors"))
    (pair / "lora" / "memr1.json").write_text(json.dumps({"base_sha256": "0" * 64}))
    refused(pair, "0000")


def test_a_damaged_lora_is_refused(pair):
    file = pair / "lora" / "adapter_model.safetensors"
    weights = load_file(file)
    first, *_ = [name for name in weights if name.endswith("q_proj.lora_B.weight")]
    save_file({name: values for name, values in weights.items() if name != first}, str(file))
    refused(pair, "only one")
    save_file(weights | {first: np.full_like(weights[first], np.nan)}, str(file))
    refused(pair, "not finite")
    save_file(weights | {"base_model.model.lm_head.lora_A.weight": np.zeros((4, 64), np.float32)}, str(file))
    refused(pair, "lm_head")
    file.write_bytes(file.read_bytes()[:-100])
    refused(pair, "cut off")
    file.unlink()
    refused(pair, "adapter_model")
    shutil.rmtree(pair / "lora")
    refused(pair, "no LoRA folder")


def test_nothing_is_overwritten(pair):
    (pair / "out").mkdir()
    (pair / "out.gguf").write_bytes(b"precious")
    refused(pair, "exists already")
    assert (pair / "out.gguf").read_bytes() == b"precious"


def test_the_command_line_makes_an_adapter_and_a_merged_folder(pair, capsys):
    base, lora = str(pair / "base"), str(pair / "lora")
    assert command.main(["lora-to-gguf", lora, str(pair / "a.gguf"), "--base", base, "--role", "answerer"]) == 0
    assert command.main(["merge", base, lora, str(pair / "merged"), "--role", "answerer"]) == 0
    assert "bits/weight" in capsys.readouterr().out
    assert json.loads((pair / "merged" / "memr1.json").read_text())["role"] == "answerer"
    assert command.main(["merge", base, lora, str(pair / "merged")]) == 1


def test_the_recipe_of_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    text = (Path(command.__file__).parent / "README.md").read_text(encoding="utf-8")
    recipe = text.split("two agents on one base")[1]
    for seed, role in enumerate(("manager", "answerer")):
        # As wide as a block of a K-quant, and quiet: four bits change much of what loud random layers say.
        shape = {"hidden_size": 256, "intermediate_size": 256, "depth": 0.2}
        make_lora(tmp_path / role, "qwen2", CASES["everything"], seed, size=0.02, dtype="bfloat16", **shape)
        (tmp_path / role / "lora").rename(tmp_path / f"{role}-lora")
    (tmp_path / "manager" / "base").rename(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^python -m convert (.*)$", recipe, re.MULTILINE)
    assert len(commands) == 7
    for line in commands:
        assert command.main(line.split()) == 0, capsys.readouterr().err
    exec(compile(re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)[0], "README.md", "exec"), {})
    loaded = FileAgents(Agents(base="base.Q4_K_M.gguf", manager_lora="manager-lora.gguf"))
    assert loaded._loaded_manager().model.trained_role == "manager"
    loaded.close()


def test_the_check_notices_the_wrong_adapter(two_agents):
    base = two_agents / "manager" / "base"
    how = {"lora": two_agents / "manager" / "lora"}
    check(base, two_agents / "base.gguf", adapter=two_agents / "manager-lora.gguf", **how)
    with pytest.raises(DriftError, match="logits differ"):
        check(base, two_agents / "base.gguf", adapter=two_agents / "answerer-lora.gguf", **how)
    with pytest.raises(ConvertError, match="both --lora and --adapter"):
        check(base, two_agents / "base.gguf", **how)
