"""A checkpoint folder's tokenizer, with the frame, the ends and the words that inference gives it.

It does with ``tokenizer.json`` what :mod:`memr1_lite.llama` does with the vocabulary of a GGUF file, so that the same
prompt is the same ids in training and in use, and free text may hold the same tokens.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from memr1_lite.llama.chat import render_frame
from memr1_lite.llama.vocabulary import NOT_TEXT, cut_apart, special_pattern
from memr1_lite.llama.wording import TokenForms, Wording, words_of
from memr1_lite.llm import END, Segment

Mask = npt.NDArray[np.bool_]


def byte_letters() -> dict[str, int]:
    """The letters that byte-level BPE writes bytes as: printable ones as they are, the others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


class AgentVocabulary:
    """Text to ids and ids to bytes of the checkpoint in ``folder``; ``size`` is the model's, which may be larger."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        tokens = json.loads((folder / "tokenizer_config.json").read_text())
        self._folder = folder
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.size: int = config["vocab_size"]
        added = self._tokenizer.get_added_tokens_decoder()
        self._special_ids = frozenset(added)
        self._special = special_pattern(token.content for token in added.values())
        self.tokenize = lru_cache(maxsize=50_000)(self._tokenize)
        ends = config["eos_token_id"]
        self.ends: frozenset[int] = frozenset(ends if isinstance(ends, list) else [ends])
        """Every id that ends a turn; a model may have several."""
        texts = {token: item.content for token, item in added.items()}
        template = tokens.get("chat_template") or (folder / "chat_template.jinja").read_text()
        written = [token for token in sorted(self.ends) if texts.get(token) and texts[token] in template]
        self.end = written[0] if written else min(self.ends)
        """The one that the chat template writes after a turn: the one that outputs are trained to end with."""
        pad = config.get("pad_token_id")
        self.pad: int = self.end if pad is None else pad
        """Fills up rows; nothing ever looks at it."""
        before, after = render_frame(
            template, bos=texts.get(config.get("bos_token_id"), ""), eos=texts.get(self.end, ""), path=str(folder)
        )
        self._before = self.tokenize(Segment(before, trusted=True))
        self._after = self.tokenize(Segment(after, trusted=True))
        card = folder / "memr1.json"
        own = json.loads(card.read_text()).get("own_words") if card.exists() else None
        self.own_words = None if own is None else frozenset(word.encode() for word in own)

    def _tokenize(self, segment: Segment) -> tuple[int, ...]:
        if segment.trusted:
            return (self.end,) if segment.text == END else self._ids(segment.text)
        return tuple(token for part in cut_apart(segment.text, self._special) for token in self._ids(part))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt_ids(self, prompt: Sequence[Segment]) -> tuple[int, ...]:
        """The ids that a model reads for ``prompt``, its frame included."""
        inner = (token for segment in prompt for token in self.tokenize(segment))
        return (*self._before, *inner, *self._after)

    def copy_files(self, folder: Path) -> None:
        """Put the tokenizer's own files into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            if (self._folder / name).exists() and folder.resolve() != self._folder.resolve():
                shutil.copyfile(self._folder / name, folder / name)

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` writes; none for a control token."""
        return self.free_pieces.get(token, b"")

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens included: to read, never to encode again."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    @cached_property
    def free_pieces(self) -> dict[int, bytes]:
        """The tokens that free text may hold, with their bytes."""
        letters = byte_letters()
        pieces: dict[int, bytes] = {}
        for text, token in self._tokenizer.get_vocab(with_added_tokens=False).items():
            if token in self._special_ids or token in self.ends:
                continue
            piece = bytes(letters[letter] for letter in text)
            if piece and not NOT_TEXT.search(piece):
                pieces[token] = piece
        return pieces

    @cached_property
    def free_text(self) -> Mask:
        """Which tokens free text may hold. (size,)."""
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[list(self.free_pieces)] = True
        return mask

    @cached_property
    def _forms(self) -> TokenForms:
        return TokenForms(self.free_pieces, self.size)

    def wording(self, prompt: Sequence[Segment]) -> Wording | None:
        """The restriction to words read and own words, where this agent's file names its own."""
        if self.own_words is None:
            return None
        read = " ".join(segment.text for segment in prompt if not segment.trusted)
        return Wording(self._forms, words_of(read) | self.own_words)
