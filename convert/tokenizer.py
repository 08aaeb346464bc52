"""A byte-level BPE ``tokenizer.json`` in GGUF's terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gguf import GGUFWriter, TokenType

from convert.errors import ConvertError

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is split before merging; llama.cpp knows it as ``qwen2``."""


def add_tokenizer(writer: GGUFWriter, tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write vocabulary, merges and the ids with a meaning.

    :raises ConvertError: another kind of tokenizer, or ids that do not fit together
    """
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise ConvertError(f"tokenizer.json holds a {model.get('type')!r} model; only byte-level BPE can be converted.")
    _check_split(tokenizer)
    texts: dict[int, str] = {token: text for text, token in model["vocab"].items()}
    kinds = dict.fromkeys(texts, TokenType.NORMAL)
    for added in tokenizer.get("added_tokens", []):
        texts[added["id"]] = added["content"]
        kinds[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    size = config["vocab_size"]
    if max(texts) >= size:
        raise ConvertError(f"tokenizer.json has the id {max(texts)}; the model's vocabulary ends at {size - 1}.")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([texts.get(token, f"[PAD{token}]") for token in range(size)])
    writer.add_token_types([kinds.get(token, TokenType.UNUSED) for token in range(size)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    # Without an end token in the file llama.cpp takes token 11 for it, silently.
    eos = _only_id(config, "eos_token_id")
    if eos is None:
        raise ConvertError("config.json names no 'eos_token_id': without it a text would never end.")
    writer.add_eos_token_id(eos)
    for value, add in (
        (_only_id(config, "bos_token_id"), writer.add_bos_token_id),
        (_only_id(config, "pad_token_id"), writer.add_pad_token_id),
    ):
        if value is not None:
            add(value)
    writer.add_add_bos_token(False)


def _only_id(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, int) else None


def _check_split(tokenizer: Mapping[str, Any]) -> None:
    """Only the one split that the file will name: any other would give other ids, silently."""
    normalizer = tokenizer.get("normalizer") or {"type": None}
    if normalizer["type"] not in (None, "NFC"):
        raise ConvertError(f"The tokenizer normalises text by {normalizer['type']!r}, which llama.cpp does not.")
    steps = (tokenizer.get("pre_tokenizer") or {}).get("pretokenizers", [])
    patterns = [step["pattern"].get("Regex") for step in steps if step["type"] == "Split"]
    if [step["type"] for step in steps] != ["Split", "ByteLevel"] or patterns != [QWEN2_PATTERN]:
        raise ConvertError("The tokenizer does not split text as Qwen2 does; no other split is supported yet.")
    if steps[1].get("add_prefix_space") or steps[1].get("use_regex", True):
        raise ConvertError("The tokenizer's ByteLevel step must neither add a space nor split again.")
