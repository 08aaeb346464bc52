"""The benchmarks of two LoRAs and of mem0, on a tiny model: what they compare is what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gguf_maker import make_adapter, make_gguf

from benchmarks import adapters, mem0_remember


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    base = make_gguf(folder / "base", chatml=True)
    for name in ("base.gguf", "other.gguf"):
        (folder / name).write_bytes(base.read_bytes())
    for number in range(2):
        make_adapter(folder / f"lora-{number}.gguf", seed=number)
    return folder


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read as Linux tells it")
def test_one_base_says_what_two_models_say_and_the_loras_differ(folder, capsys):
    found = {}
    for way in adapters.WAYS:
        adapters.child(way, folder, 512, 2, 1)
        found[way] = json.loads(capsys.readouterr().out)
    one, shared, two = found.values()
    assert shared["digest"] == two["digest"] != one["digest"]
    assert [row["apart"] for row in found.values()] == [False, True, True]
    assert all(row["rss"] >= row["own"] > 0 for row in found.values())


def test_the_first_request_is_run_from_nothing_and_later_ones_after_it(folder):
    said = {"text": "I adopted a dog named Buddy.", "speaker": "Andrew"}
    prompts = [[5, 6, 7, 8, 9, 10], [5, 6, 7, 11, 12, 13], [5, 6, 14, 15, 16, 17]]
    turns = [mem0_remember.Turn(said, "Andrew has a dog.", 1, 1, [(prompt, [9, 9])]) for prompt in prompts]
    base = folder / "base.gguf"
    first, kept = mem0_remember.seconds_of_theirs(turns, base)
    assert min(first, *kept) > 0
    assert len(kept) == 2
    assert [mem0_remember.alike(prompts[0], prompt) for prompt in prompts] == [6, 3, 2]
    assert len(mem0_remember.seconds_of_ours(turns[:2], base, base, 1)) == 1
