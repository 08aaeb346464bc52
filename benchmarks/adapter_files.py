"""A base of random weights in a real shape, and two LoRAs for it, made by this repository's own verbs."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.conversion import checkpoint
from benchmarks.llamacpp import CACHE
from benchmarks.real_tokenizers import real_tokenizer
from convert.checkpoint import read_json
from convert.decoder import LINEAR, Shape
from convert.lora_to_gguf import lora_to_gguf
from convert.output import whole_folder
from convert.quantize import quantize
from convert.to_gguf import to_gguf


def files(cache: Path, shape: str, quant: str, rank: int) -> Path:
    """A folder with ``base.gguf``, ``other.gguf``, which is a copy of it, and two LoRAs; made once."""
    folder = cache / f"adapters-{shape}-{quant}-{rank}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder) as temporary, tempfile.TemporaryDirectory(dir=cache) as name:
            base, wide = Path(name) / "base", Path(name) / "wide.gguf"
            base.mkdir()
            checkpoint(base, shape, real_tokenizer(CACHE, "qwen2"))
            to_gguf(base, wide, outtype="F16")
            quantize(wide, temporary / "base.gguf", quant=quant, threads=1)
            shutil.copy(temporary / "base.gguf", temporary / "other.gguf")
            for number in range(2):
                lora = Path(name) / f"lora-{number}"
                make_lora(base, lora, rank, number)
                lora_to_gguf(lora, temporary / f"lora-{number}.gguf", base=base)
    return folder


def make_lora(base: Path, folder: Path, rank: int, seed: int) -> None:
    """Write a LoRA of random numbers on every matrix of ``base``, as PEFT lays it out."""
    folder.mkdir()
    shape, random, tensors = Shape.of(read_json(base / "config.json")), np.random.default_rng(seed), {}
    for layer in range(shape.layers):
        for module in LINEAR:
            rows, columns = shape.linear(module)
            for half, size in (("A", (rank, columns)), ("B", (rows, rank))):
                name = f"base_model.model.model.layers.{layer}.{module}.lora_{half}.weight"
                tensors[name] = (random.standard_normal(size) / columns**0.5).astype(np.float32)
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}))
