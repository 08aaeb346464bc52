"""A model's vocabulary: text to ids, ids to bytes, and which ids a free text may hold."""

from __future__ import annotations

import ctypes
import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from memr1_lite.errors import ModelError
from memr1_lite.llama.wording import TokenForms
from memr1_lite.llm import Segment

UNKNOWN, UNUSED, CONTROL, USER_DEFINED = 1 << 0, 1 << 1, 1 << 3, 1 << 4
"""Bits of a token's attributes (``llama_token_attr``)."""
RECOGNISED = UNKNOWN | CONTROL | USER_DEFINED
"""Tokens that the tokeniser may recognise as a whole in a text."""
REMEMBERED = 1024
"""Trusted texts whose ids are kept."""
NOT_TEXT = re.compile(rb"[\x00-\x08\x0a-\x1f]")
"""Line breaks and control characters; a tab is text."""


def special_pattern(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Finds every place where one of ``texts`` begins, also where they overlap; None when there is none to find.

    Texts of one character are left out: they cannot be cut, and are read as that character.
    """
    longest_first = sorted({text for text in texts if len(text) > 1}, key=len, reverse=True)
    if not longest_first:
        return None
    # The class of first letters is there for speed: most places of a text begin no special text.
    first = "".join(sorted({re.escape(text[0]) for text in longest_first}))
    return re.compile(f"(?=[{first}])(?={'|'.join(re.escape(text) for text in longest_first)})")


def cut_apart(text: str, special: re.Pattern[str] | None) -> list[str]:
    """Cut ``text`` one character inside every special text; the parts joined are ``text`` again.

    No part holds a special text, so that none can be recognised in it however it is tokenised.
    """
    if special is None:
        return [text]
    cuts = [match.start() + 1 for match in special.finditer(text)]
    bounds = [0, *cuts, len(text)]
    return [text[start:end] for start, end in itertools.pairwise(bounds) if start < end]


class Vocabulary:
    """Wraps a native vocabulary, which must outlive it. Not guarded: the model that owns it is."""

    def __init__(self, library: Any, handle: Any) -> None:  # noqa: ANN401 - ctypes
        self._library = library
        self._handle = handle
        self.size: int = library.llama_vocab_n_tokens(handle)
        self.bos: int = library.llama_vocab_bos(handle)
        self.eos: int = library.llama_vocab_eos(handle)
        self.adds_bos: bool = library.llama_vocab_get_add_bos(handle)
        attributes = [library.llama_vocab_get_attr(handle, token) for token in range(self.size)]
        self._attributes = np.array(attributes, dtype=np.int32)
        marked = np.flatnonzero(self._attributes & RECOGNISED)
        self.special_texts = {int(token): self.text(int(token)) for token in marked}
        self._special = special_pattern(self.special_texts.values())
        self._pieces: dict[int, bytes] = {}
        self._trusted: dict[str, list[int]] = {}

    def text(self, token: int) -> str:
        """The text of a token as the vocabulary writes it (byte-level letters where it is of that kind)."""
        text: bytes = self._library.llama_vocab_get_text(self._handle, token)
        return text.decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends a generation."""
        return bool(self._library.llama_vocab_is_eog(self._handle, token))

    def tokenize(self, segment: Segment) -> list[int]:
        """The ids of ``segment``, by itself; of untrusted text never one that stands for more than its letters."""
        if segment.trusted:
            return self._trusted_ids(segment.text)
        return [
            token for part in cut_apart(segment.text, self._special) for token in self._ids(part, parse_special=False)
        ]

    def piece(self, token: int) -> bytes:
        """The bytes that ``token`` writes; none for a control token."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._native_piece(token)
        return piece

    def _native_piece(self, token: int) -> bytes:
        for size in (32, 4096):
            buffer = ctypes.create_string_buffer(size)
            length: int = self._library.llama_token_to_piece(self._handle, token, buffer, size, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            # A negative length asks for that much room; some vocabularies hold words of hundreds of bytes.
        buffer = ctypes.create_string_buffer(-length)
        length = self._library.llama_token_to_piece(self._handle, token, buffer, -length, 0, False)
        return buffer.raw[: max(length, 0)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text that ``tokens`` write; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.piece(token) for token in tokens).decode("utf-8", "replace")

    @functools.cached_property
    def free_text_pieces(self) -> dict[int, bytes]:
        """The tokens that free text may hold, with the bytes they write."""
        free = {}
        for token in range(self.size):
            if self._attributes[token] & (RECOGNISED | UNUSED) or self.is_end(token):
                continue
            piece = self._native_piece(token)
            if piece and not NOT_TEXT.search(piece):
                free[token] = piece
        return free

    @functools.cached_property
    def token_forms(self) -> TokenForms:
        """The same tokens by what they do to a word."""
        return TokenForms(self.free_text_pieces, self.size)

    @functools.cached_property
    def free_text_bias(self) -> npt.NDArray[np.float32]:
        """What to add to the logits in free text: 0 where a token is allowed, minus infinity elsewhere. (size,)."""
        bias = np.full(self.size, -np.inf, dtype=np.float32)
        bias[list(self.free_text_pieces)] = 0.0
        return bias

    def _trusted_ids(self, text: str) -> list[int]:
        ids = self._trusted.get(text)
        if ids is None:
            ids = self._ids(text, parse_special=True)
            # Prompts and templates are made of few texts, again and again; somebody else's need not be.
            if len(self._trusted) < REMEMBERED:
                self._trusted[text] = ids
        return list(ids)

    def _ids(self, text: str, *, parse_special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        if not data:
            return []
        room = len(data) + 8
        while True:
            ids = (ctypes.c_int32 * room)()
            count: int = self._library.llama_tokenize(self._handle, data, len(data), ids, room, False, parse_special)
            if count >= 0:
                return ids[:count]
            if -count <= room:
                raise ModelError(f"llama.cpp cannot tokenise a text of {len(data)} bytes.")
            room = -count


def end_of_turn(vocabulary: Vocabulary, template: str) -> int:
    """The end token that the chat template writes after a turn; the vocabulary's own where it writes none by name."""
    named = [
        token
        for token, text in vocabulary.special_texts.items()
        if text and text in template and vocabulary.is_end(token)
    ]
    return vocabulary.eos if not named or vocabulary.eos in named else named[0]
