"""A byte-level BPE ``tokenizer.json`` in GGUF's terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gguf import GGUFWriter, TokenType

from convert.checkpoint import Checkpoint
from convert.errors import ConvertError

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2, Qwen2.5 and Qwen3 split text before merging: digits one by one."""
LLAMA3_PATTERN = QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""How Llama 3 splits it: digits by threes."""
SPLITS = {QWEN2_PATTERN: ("qwen2", False), LLAMA3_PATTERN: ("llama-bpe", True)}
"""What llama.cpp calls a split, and whether it then takes a whole word that is in the vocabulary without merging."""


def add_tokenizer(writer: GGUFWriter, checkpoint: Checkpoint) -> None:
    """Write vocabulary, merges, the ids with a meaning and the chat template.

    :raises ConvertError: another kind of tokenizer, ids that do not fit together, or no chat template
    """
    tokenizer, config = checkpoint.tokenizer, checkpoint.config
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise ConvertError(f"tokenizer.json holds a {model.get('type')!r} model; only byte-level BPE can be converted.")
    split = _split(tokenizer)
    texts: dict[int, str] = {token: text for text, token in model["vocab"].items()}
    kinds = dict.fromkeys(texts, TokenType.NORMAL)
    for added in tokenizer.get("added_tokens", []):
        for flag in ("lstrip", "rstrip", "single_word"):
            if added.get(flag):
                raise ConvertError(
                    f"tokenizer.json sets {flag!r} for {added['content']!r}, which llama.cpp does not do."
                )
        texts[added["id"]] = added["content"]
        # Qwen's "<|fim_prefix|>" and its like are not called special there; no user's text shall yield them either.
        control = added["special"] or (added["content"].startswith("<|") and added["content"].endswith("|>"))
        kinds[added["id"]] = TokenType.CONTROL if control else TokenType.USER_DEFINED
    size = config["vocab_size"]
    if max(texts) >= size:
        raise ConvertError(f"tokenizer.json has the id {max(texts)}; the model's vocabulary ends at {size - 1}.")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list([texts.get(token, f"[PAD{token}]") for token in range(size)])
    writer.add_token_types([kinds.get(token, TokenType.UNUSED) for token in range(size)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    ids = {text: token for token, text in texts.items()}
    # Without an end token in the file llama.cpp takes token 11 for it, silently.
    eos = _meaning(checkpoint, ids, "eos")
    if eos is None:
        raise ConvertError("config.json names no 'eos_token_id': without it a text would never end.")
    writer.add_eos_token_id(eos)
    for name, add in (("bos", writer.add_bos_token_id), ("pad", writer.add_pad_token_id)):
        token = _meaning(checkpoint, ids, name)
        if token is not None:
            add(token)
    writer.add_add_bos_token(_begins_with_special(tokenizer.get("post_processor") or {}))
    if checkpoint.chat_template is None:
        raise ConvertError(
            f"{str(checkpoint.folder)!r} has no chat template in tokenizer_config.json or chat_template.jinja; an agent"
            " needs one."
        )
    writer.add_chat_template(checkpoint.chat_template)


def _meaning(checkpoint: Checkpoint, ids: Mapping[str, int], name: str) -> int | None:
    """The id of the end, beginning or padding token; the tokenizer names one where config.json may list many.

    :raises ConvertError: it names a token that is not there
    """
    token = checkpoint.tokenizer_config.get(f"{name}_token")
    text = token.get("content") if isinstance(token, dict) else token
    if isinstance(text, str):
        if text not in ids:
            raise ConvertError(f"tokenizer_config.json names {text!r} as '{name}_token'; tokenizer.json has it not.")
        return ids[text]
    value = checkpoint.config.get(f"{name}_token_id")
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, int) else None


def _begins_with_special(processor: Mapping[str, Any]) -> bool:
    """Whether every text gets a beginning token before it."""
    steps = processor.get("processors", [processor])
    return any("SpecialToken" in piece for step in steps for piece in step.get("single", [])[:1])


def _split(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name of the split; any other than the known ones would give other ids, silently."""
    normalizer = tokenizer.get("normalizer") or {"type": None}
    if normalizer["type"] not in (None, "NFC"):
        raise ConvertError(f"The tokenizer normalises text by {normalizer['type']!r}, which llama.cpp does not.")
    steps = (tokenizer.get("pre_tokenizer") or {}).get("pretokenizers", [])
    patterns = [step["pattern"].get("Regex") for step in steps if step["type"] == "Split"]
    if [step["type"] for step in steps] != ["Split", "ByteLevel"] or patterns[0] not in SPLITS:
        raise ConvertError("The tokenizer does not split text as Qwen2 or Llama 3 do; no other split is supported.")
    if steps[1].get("add_prefix_space") or steps[1].get("use_regex", True):
        raise ConvertError("The tokenizer's ByteLevel step must neither add a space nor split again.")
    name, whole_words = SPLITS[patterns[0]]
    if bool(tokenizer["model"].get("ignore_merges")) != whole_words:
        raise ConvertError(
            f"The tokenizer splits as {name!r} but has ignore_merges {not whole_words}; llama.cpp does the opposite."
        )
    return name
