"""What a conversion takes, ours beside llama.cpp's: ``python -m benchmarks.conversion [--shapes ...]``

Checkpoints of the real shapes in bfloat16, with random weights, Qwen2's own tokenizer and shards of at most 4 GB, are
written into a temporary folder and deleted afterwards (a 3B takes 13 GB there, the file made of it included). Both
converters run in processes of their own, one after the other, ``--rounds`` times in turns; the best time counts.
Memory is the most that was resident, pages of mapped files included. One line per file, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.llamacpp import CACHE, their_command
from benchmarks.real_tokenizers import real_tokenizer
from convert import arch_qwen2
from convert.safetensors_file import StoredTensor, write

SHAPES = {  # layers, hidden, heads, key/value heads, feed-forward
    "qwen2.5-0.5b": (24, 896, 14, 2, 4864),
    "qwen2.5-3b": (36, 2048, 16, 2, 11008),
}
SHARD_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Spent:
    """By one process: seconds on the clock and of the processor, and the most memory, in MiB."""

    seconds: float
    processor: float
    memory: float


def checkpoint(folder: Path, shape: str, tokenizer: Path) -> None:
    """Write a checkpoint of ``shape``; the same four million random numbers over and over, no two rows alike."""
    layers, hidden, heads, kv_heads, inner = SHAPES[shape]
    config = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "intermediate_size": inner, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "tie_word_embeddings": True, "eos_token_id": 151_645, "hidden_act": "silu", "torch_dtype": "bfloat16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    for file in tokenizer.iterdir():
        shutil.copy(file, folder)
    tensors = [
        StoredTensor(spec.source, folder, "BF16", spec.shape, 0) for spec in arch_qwen2.ARCHITECTURE.tensors(config)
    ]
    shards: list[list[StoredTensor]] = [[]]
    for tensor in tensors:
        if sum(one.nbytes for one in shards[-1]) + tensor.nbytes > SHARD_BYTES:
            shards.append([])
        shards[-1].append(tensor)
    normal = np.random.default_rng(0).standard_normal((1 << 22) + 1, dtype=np.float32) / 50
    noise = (normal.view(np.uint32) >> 16).astype(np.uint16)
    homes = {}
    for number, shard in enumerate(shards):
        name = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        write(folder / name, shard, _noise(noise, shard))
        homes |= {tensor.name: name for tensor in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))


def _noise(noise: npt.NDArray[np.uint16], tensors: Sequence[StoredTensor]) -> Iterator[npt.NDArray[np.uint16]]:
    for tensor in tensors:
        left = tensor.nbytes // 2
        while left:
            yield noise[: min(left, noise.size)]
            left -= min(left, noise.size)


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Spent:
    """Run a process to its end."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{log.read()[-3000:].decode('utf-8', 'replace')}")
    return Spent(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(
    shape: str, outtypes: Sequence[str], cache: Path, rounds: int, scratch: Path | None
) -> list[dict[str, Any]]:
    """Rows for one shape, one for each type."""
    rows = []
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name) / shape
        folder.mkdir()
        checkpoint(folder, shape, real_tokenizer(cache, "qwen2"))
        target = Path(name) / "out.gguf"
        for outtype in outtypes:
            spent: dict[str, list[Spent]] = {"ours": [], "llama.cpp": []}
            ours = [sys.executable, "-m", "convert", "to-gguf", str(folder), str(target), "--outtype", outtype]
            for _ in range(rounds):
                spent["ours"].append(run(ours))
                size = target.stat().st_size
                target.unlink()
                spent["llama.cpp"].append(run(*their_command(cache, "convert_hf_to_gguf.py", folder, target, outtype)))
                target.unlink()
            best = {
                who: Spent(
                    *(min(getattr(one, field) for one in all_of) for field in ("seconds", "processor", "memory"))
                )
                for who, all_of in spent.items()
            }
            rows.append({"shape": shape, "type": outtype, "gb": size / 1e9, "best": best})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| shape, type | file | seconds, ours / llama.cpp's | of the processor | MiB at most, ours / llama.cpp's |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = row["best"]["ours"], row["best"]["llama.cpp"]
        pairs = [
            f"{getattr(ours, field):,.{digits}f} / {getattr(theirs, field):,.{digits}f}"
            f" ({getattr(ours, field) / getattr(theirs, field):.2f})"
            for field, digits in (("seconds", 1), ("processor", 1), ("memory", 0))
        ]
        lines.append(f"| {row['shape']}, {row['type']} | {row['gb']:.1f} GB | {' | '.join(pairs)} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--types", nargs="+", choices=("F16", "BF16", "F32", "Q8_0"), default=["F16", "Q8_0"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--scratch", type=Path, help="where the temporary folder is made")
    args = parser.parse_args()
    rows = []
    for shape in args.shapes:
        rows += measure(shape, args.types, args.cache, args.rounds, args.scratch)
    print(table(rows))


if __name__ == "__main__":
    main()
