from __future__ import annotations

import json

import pytest
import torch

from train_ref import sft
from train_ref.model import Transformer

SMALL = ["--eager", "--width", "64", "--layers", "1", "--vocab", "700", "--every", "2"]


@pytest.fixture
def few_tokens(monkeypatch):
    monkeypatch.setattr(sft, "TOKENS", 1024)
    monkeypatch.setattr("train_ref.own_words.EXAMPLES", 30)
    monkeypatch.setattr(sft, "CURRICULUM", {"manager": [(0.0, 3, 256), (0.5, 5, 256)], "answerer": [(0.0, 3, 256)]})


@pytest.mark.usefixtures("few_tokens")
def test_a_resumed_run_ends_in_the_same_weights_as_an_uninterrupted_one(tmp_path, monkeypatch):
    sft.main(["manager", "--out", str(tmp_path / "whole"), "--steps", "4", *SMALL])

    class Interrupted(Exception):
        pass

    report = sft.Run.report

    def report_once(run, loss):
        report(run, loss)
        raise Interrupted

    monkeypatch.setattr(sft.Run, "report", report_once)
    with pytest.raises(Interrupted):
        sft.main(["manager", "--out", str(tmp_path / "halves"), "--steps", "4", *SMALL])
    monkeypatch.setattr(sft.Run, "report", report)
    sft.main(["manager", "--out", str(tmp_path / "halves"), "--steps", "4", *SMALL])
    whole, halves = (Transformer.load(tmp_path / name).state_dict() for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


@pytest.mark.usefixtures("few_tokens")
def test_a_run_learns_and_leaves_what_convert_reads(tmp_path):
    sft.main(["answerer", "--out", str(tmp_path), "--steps", "30", *SMALL[:-1], "10"])
    card = json.loads((tmp_path / "memr1.json").read_text())
    assert card["role"] == "answerer"
    assert {"yes", "no"} <= set(card["own_words"])
    assert card["prompt_version"] == "answerer-1"
    log = torch.load(tmp_path / "state.pt", weights_only=False)["log"]
    assert log[-1]["loss"] < log[0]["loss"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "curve.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
