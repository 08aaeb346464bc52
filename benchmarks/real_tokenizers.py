"""The tokenizers of Qwen2 and of Llama 3, and the ids llama.cpp gives on them: ``python -m benchmarks.real_tokenizers``

They are made of the vocabularies in llama.cpp's sources, as Hugging Face files. Their token lists and merges are
complete there; how text is split, normalised and begun is what the two families' own files say. llama.cpp's converter,
which knows a tokenizer by the ids it gives, takes them for the real ones, and they give the ids that llama.cpp's own
tests expect. A model around each, converted by us, is compared on awkward texts. ``--fetch`` only fetches them, as
``make test`` does, so that the tests on them are not skipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, TokenType
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from benchmarks.llamacpp import CACHE, CHATML, vocabulary_file
from convert import arch_llama, arch_qwen2
from convert.agreement import compare_tokens
from convert.errors import DriftError
from convert.output import whole_folder
from convert.to_gguf import to_gguf
from convert.tokenizer import LLAMA3_PATTERN, QWEN2_PATTERN
from memr1_lite.llama import LlamaModel

LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
BEGIN = "<|begin_of_text|>"
SETTINGS = {
    "qwen2": {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHATML,
    },
    "llama-bpe": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": "<|eot_id|>",
        "chat_template": LLAMA_TEMPLATE,
    },
}


def real_tokenizer(cache: Path, name: str) -> Path:
    """A folder with ``tokenizer.json`` and ``tokenizer_config.json`` of ``qwen2`` or ``llama-bpe``, made once."""
    folder = cache / f"tokenizer-{name}"
    if not folder.exists():
        made = json.dumps(_tokenizer(name, vocabulary_file(cache, name)), ensure_ascii=False)
        with whole_folder(folder) as temporary:
            (temporary / "tokenizer.json").write_text(made, "utf-8")
            (temporary / "tokenizer_config.json").write_text(json.dumps(SETTINGS[name]), "utf-8")
    return folder


def fetched(cache: Path) -> bool:
    """Have both tokenizers in ``cache``; False, with pip's reason on standard error, where they cannot be had."""
    try:
        for name in SETTINGS:
            real_tokenizer(cache, name)
    except subprocess.CalledProcessError as error:
        print(f"The vocabularies of Qwen2 and Llama 3 cannot be fetched: {error}", file=sys.stderr)
        return False
    return True


def _tokenizer(name: str, path: Path) -> dict[str, Any]:
    fields = GGUFReader(path).fields
    texts = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    llama = name == "llama-bpe"
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokens = list(zip(range(len(texts)), texts, kinds, strict=True))
    post: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    if llama:
        begin = {"SpecialToken": {"id": BEGIN, "type_id": 0}}
        single, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
        template = {
            "type": "TemplateProcessing",
            "single": [begin, single],
            "pair": [begin, single, {"SpecialToken": {"id": BEGIN, "type_id": 1}}, second],
            "special_tokens": {BEGIN: {"id": BEGIN, "ids": [texts.index(BEGIN)], "tokens": [BEGIN]}},
        }
        post = {"type": "Sequence", "processors": [post, template]}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": text, **flags} for i, text, kind in tokens if kind == TokenType.CONTROL],
        "normalizer": None if llama else {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": LLAMA3_PATTERN if llama else QWEN2_PATTERN},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            ],
        },
        "post_processor": post,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "" if not llama else None,
            "end_of_word_suffix": "" if not llama else None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": llama,
            "vocab": {text: i for i, text, kind in tokens if kind == TokenType.NORMAL},
            "merges": [merge.split(" ", 1) for merge in fields["tokenizer.ggml.merges"].contents()],
        },
    }


def compared(cache: Path, name: str, scratch: Path) -> int:
    """Convert a model around the tokenizer ``name``, and compare ids; returns how many texts gave the same ones.

    :raises DriftError: one did not
    """
    folder, settings = scratch / name, SETTINGS[name]
    shutil.copytree(real_tokenizer(cache, name), folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = _expected(cache, name)
    for text, ids in expected:
        if (found := tokenizer.encode(text, add_special_tokens=False).ids) != ids:
            raise DriftError(f"The tokenizer {name} gives {found} for {text!r}, and llama.cpp's tests expect {ids}.")
    kind = "llama" if name == "llama-bpe" else "qwen2"
    config = {
        "model_type": kind, "vocab_size": 128_256 if kind == "llama" else 151_936, "hidden_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 512, "rope_theta": 1e4, "tie_word_embeddings": True,
        "eos_token_id": tokenizer.token_to_id(settings["eos_token"]),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    decoder = (arch_llama if kind == "llama" else arch_qwen2).ARCHITECTURE
    save_file(
        {spec.source: np.ones(spec.shape, np.float32) for spec in decoder.tensors(config)},
        str(folder / "model.safetensors"),
    )
    to_gguf(folder, scratch / f"{name}.gguf")
    with LlamaModel.load(scratch / f"{name}.gguf", context=512) as model:
        return len(expected) + compare_tokens(model, tokenizer)


def _expected(cache: Path, name: str) -> list[tuple[str, list[int]]]:
    """The texts and ids of llama.cpp's own tests; Llama 3's begin without a beginning token."""
    path = vocabulary_file(cache, name)
    texts = Path(f"{path}.inp").read_bytes().decode("utf-8").split("\n__ggml_vocab_test__\n")
    lines = Path(f"{path}.out").read_text("utf-8").splitlines()
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, lines, strict=False)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--fetch", action="store_true", help="only have them in the cache; none to be had is no error")
    args = parser.parse_args()
    if args.fetch:
        fetched(args.cache)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in SETTINGS:
            print(f"{name}: {compared(args.cache, name, Path(folder))} texts give the same ids")


if __name__ == "__main__":
    main()
