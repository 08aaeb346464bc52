from __future__ import annotations

import json

import pytest
import torch

from train_ref import average
from train_ref.model import ModelConfig, Transformer


def checkpoint(folder, seed, *, width=64, **card):
    torch.manual_seed(seed)
    Transformer(ModelConfig(300, width, 1, 1, 1, 64, 96)).save(folder, eos=298, pad=299)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    known = {
        "role": "manager",
        "prompt_version": "manager-1",
        "own_words": ["is", f"word{seed}"],
        "figures": {"em": seed},
    }
    known |= {"training": {"kind": "supervised", "seed": seed}} | card
    (folder / "memr1.json").write_text(json.dumps(known))
    return folder


def test_every_weight_is_the_mean_and_the_card_says_of_what(tmp_path):
    parts = [checkpoint(tmp_path / str(seed), seed) for seed in range(3)]
    average.main([*map(str, parts), "--out", str(tmp_path / "mean")])
    weights = [Transformer.load(folder).state_dict() for folder in (*parts, tmp_path / "mean")]
    for name, mean in weights[-1].items():
        torch.testing.assert_close(mean, (weights[0][name] + weights[1][name] + weights[2][name]) / 3)
    card = json.loads((tmp_path / "mean" / "memr1.json").read_text())
    assert card["own_words"] == ["is", "word0", "word1", "word2"]
    assert [part["seed"] for part in card["training"]["of"]] == [0, 1, 2]
    assert "figures" not in card


@pytest.mark.parametrize(
    ("other", "reason"),
    [({"width": 128}, "config.json"), ({"role": "answerer"}, "different roles"), (None, "at least two")],
    ids=["shape", "role", "alone"],
)
def test_what_does_not_add_up_is_refused_and_nothing_written(tmp_path, capsys, other, reason):
    parts = [checkpoint(tmp_path / "one", 0)]
    if other is not None:
        parts.append(checkpoint(tmp_path / "other", 1, **other))
    with pytest.raises(SystemExit):
        average.main([*map(str, parts), "--out", str(tmp_path / "mean")])
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
