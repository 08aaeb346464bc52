"""Model files with one thing wrong, read by llama.cpp in a child process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import gguf_maker
import numpy as np

from memr1_lite.errors import EngineCrashedError, MalformedOutputError, MemR1Error, ModelLoadError
from memr1_lite.llama import ProcessModel
from memr1_lite.llm import END, Choice, FreeText, Segment

KINDS = ("header", "length", "data", "end")
PROMPT = (Segment("Message:", trusted=True), Segment(" Andrew has a dog named Buddy."), Segment("\n", trusted=True))


class Steps:
    """A choice, then free text."""

    def next_step(self, values):
        return (Choice(("ADD", "NOOP", END)), FreeText(END, 8), None)[len(values)]


def damaged_files(folder: Path, count: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """What came of ``count`` damaged files, and where it was not an error of ours."""
    whole = gguf_maker.make_gguf(folder / "whole", role="manager").read_bytes()
    counts: Counter[str] = Counter(refused=0, worked=0, deadly=0, failed=0)
    lost = []
    for number in range(count):
        path = folder / "damaged.gguf"
        path.write_bytes(damaged(whole, KINDS[number % len(KINDS)], np.random.default_rng([seed, number])))
        try:
            counts[_outcome(path)] += 1
        except Exception as error:  # noqa: BLE001 - exactly these are looked for
            lost.append(f"file {number} ({KINDS[number % len(KINDS)]}): {type(error).__name__}: {error}")
    return dict(counts), lost


def damaged(whole: bytes, kind: str, random: np.random.Generator) -> bytes:
    """A copy of ``whole`` with one thing wrong: a bit of its header, a length, some of its numbers, or its end."""
    data = bytearray(whole)
    header = whole.find(b"blk.0.")  # the last part of the header, after all metadata, lists the tensors
    if kind == "header":
        data[random.integers(header + 2000)] ^= 1 << int(random.integers(8))
    elif kind == "length":
        place = int(random.integers(8, header + 2000))
        data[place : place + 8] = (0, 2**64 - 1, 2**63, 2**32, 10**6)[random.integers(5)].to_bytes(8, "little")
    elif kind == "data":
        data[-1000:] = random.bytes(1000)
        for place in random.integers(len(whole) // 2, len(whole), size=50):
            data[place] = int(random.integers(256))
    else:
        del data[int(random.integers(len(whole))) :]
    return bytes(data)


def _outcome(path: Path) -> str:
    try:
        with ProcessModel.load(path, threads=1, context=512) as model:
            model.complete(PROMPT, Steps())
    except ModelLoadError as error:
        return "deadly" if isinstance(error.__cause__, EngineCrashedError) else "refused"
    except EngineCrashedError:
        return "deadly"
    except MalformedOutputError:
        return "worked"
    except MemR1Error:
        return "failed"
    return "worked"
