"""Model files, LoRAs and sentence encoders with one thing wrong, read by llama.cpp in a child process."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import encoder_maker
import gguf_maker
import numpy as np

from convert import encoder
from memr1_lite import Agents, BankConfig, MemoryBank
from memr1_lite.errors import EngineCrashedError, MalformedOutputError, MemR1Error, ModelLoadError
from memr1_lite.llama.embedding import LlamaEmbedder
from memr1_lite.store import Store
from torture.agents import Obedient
from torture.children import Child

KINDS = ("header", "length", "data", "end")
TURN = "I have a dog named Buddy."
SAID = "set buddy two dogs"
"""What :class:`~torture.agents.Obedient` understands."""
PATIENCE = 60.0


def damaged_files(folder: Path, count: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """What came of banks whose Manager is one of ``count`` damaged files, every fifth a LoRA, and what was lost.

    A loss is an error that is not ours, and a turn that is not kept and found whatever became of the model.
    """
    files = [gguf_maker.make_gguf(folder / "whole", chatml=True), gguf_maker.make_adapter(folder / "lora.gguf")]
    whole = [file.read_bytes() for file in files]
    counts: Counter[str] = Counter()
    lost = []
    for number in range(count):
        is_lora = number % 5 == 4
        kind = KINDS[(number // 5 if is_lora else number) % len(KINDS)]
        path = folder / "damaged.gguf"
        path.write_bytes(damaged(whole[is_lora], kind, np.random.default_rng([seed, number])))
        agents = Agents(base=files[0], manager_lora=path) if is_lora else Agents(manager=path)
        name = f"{'LoRA' if is_lora else 'model'} {number} ({kind})"
        try:
            counts[f"{'LoRAs' if is_lora else 'models'} {_outcome(agents)}"] += 1
        except Exception as error:  # noqa: BLE001 - exactly these are looked for
            lost.append(f"{name}: {type(error).__name__}: {error}")
    return dict(sorted(counts.items())), lost


def damaged_encoders(folder: Path, count: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """What came of banks whose sentence encoder is one of ``count`` damaged files, and what was lost.

    It runs in the process of the bank, here a child of this one. So a deadly file ends that process, and the bank must
    open all the same. A loss is an error that is not ours, a call without end, and a turn that is not kept or not found
    by its words where an error of ours was raised.
    """
    encoder.to_gguf(encoder_maker.make_encoder(folder / "encoder"), folder / "encoder.gguf", outtype="F32")
    whole = (folder / "encoder.gguf").read_bytes()
    counts: Counter[str] = Counter()
    lost = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        path, bank = folder / "damaged.gguf", folder / f"encoded{number}.db"
        path.write_bytes(damaged(whole, kind, np.random.default_rng([seed, number])))
        child = Child(lambda say, path=path, bank=bank: say(_encoded(path, bank)))
        began = time.monotonic()
        child.hear(PATIENCE)
        hung = time.monotonic() - began > PATIENCE
        said = child.kill()
        name = f"encoder {number} ({kind})"
        if hung or any("failed" in line for line in said):
            lost.append(f"{name}: {'it has no end' if hung else said[-1]['failed']}")
            continue
        counts[said[0]["outcome"] if said else "deadly"] += 1
        if bank.exists():
            with Store.as_made(bank) as store:
                lost += [f"{name}: {found}" for found in store.check()]
    return dict(sorted(counts.items())), lost


def damaged(whole: bytes, kind: str, random: np.random.Generator) -> bytes:
    """A copy of ``whole`` with one thing wrong: a bit of its header, a length, some of its numbers, or its end."""
    data = bytearray(whole)
    header = whole.rfind(b".weight") + 45  # its last part, after all metadata, lists the tensors
    if kind == "header":
        data[random.integers(header)] ^= 1 << int(random.integers(8))
    elif kind == "length":
        place = int(random.integers(8, header))
        data[place : place + 8] = (0, 2**64 - 1, 2**63, 2**32, 10**6)[random.integers(5)].to_bytes(8, "little")
    elif kind == "data":
        data[-1000:] = random.bytes(1000)
        for place in random.integers(len(whole) // 2, len(whole), size=50):
            data[place] = int(random.integers(256))
    else:
        del data[int(random.integers(len(whole))) :]
    return bytes(data)


def _outcome(agents: Agents) -> str:
    config = BankConfig(engine="process", threads=1)
    with MemoryBank.open(":memory:", agents=agents, config=config) as bank:
        outcome = "that worked"
        try:
            bank.remember(TURN, speaker="Andrew")
        except ModelLoadError as error:
            outcome = "deadly" if isinstance(error.__cause__, EngineCrashedError) else "refused"
        except EngineCrashedError:
            outcome = "deadly"
        except MalformedOutputError:  # random weights seldom end a text
            pass
        except MemR1Error:
            outcome = "that failed later"
        waits = [turn.text for turn in bank.pending()] == [TURN]
        if waits == bool(bank.history()) or not bank.search("dog Buddy") or bank.check():
            raise AssertionError("the turn is not kept, or not found")
    return outcome


def _encoded(path: Path, bank_path: Path) -> dict[str, str]:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where a dying llama.cpp says why
    try:
        embedder = LlamaEmbedder.load(path)
    except ModelLoadError:
        return {"outcome": "refused"}
    outcome = "that worked"
    with embedder, MemoryBank.open(bank_path, embedder=embedder, memory_manager=Obedient()) as bank:
        try:
            bank.remember(SAID)
            bank.search("buddy")
        except ModelLoadError:
            outcome = "refused"
        except MemR1Error:
            outcome = "that failed later"
        if not bank.search("buddy", legs="words") or bank.check():
            raise AssertionError("the turn is not kept, or not found")
    return {"outcome": outcome}
