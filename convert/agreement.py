"""Compares a language model in llama.cpp with its checkpoint: the ids of texts, the logits, greedy continuations."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import LlamaFileType
from tokenizers import Tokenizer

from convert.checkpoint import Checkpoint
from convert.decoder import Decoder
from convert.errors import ConvertError, DriftError
from convert.gguf_header import read_gguf_header
from convert.prompts import agent_prompts
from convert.reference import Array, Reference
from memr1_lite.errors import ModelLoadError
from memr1_lite.llama import LlamaModel, cut_apart
from memr1_lite.llama.vocabulary import special_pattern
from memr1_lite.llm import Segment

CORPUS = (
    "Andrew has two dogs, Buddy and Scout.",
    " 16 June 2023 | Andrew: I adopted another dog named Scout.",
    " I'm sure they'd say it's Zoë's café; naïve façade, Ångström, e\u0301 against é.",
    "東京に住んでいます。我有两只狗。안녕하세요 مرحبا שלום नमस्ते Привет",
    "🐶🐕\u200d🦺 👩\u200d👩\u200d👧\u200d👦 🇫🇷 ❤️ \U0001f600",
    "12345 3.14 1,000,000 2023-06-16 ½ ٣ Ⅷ x² 007 1234567",
    "   leading, trailing   ",
    "tabs\tand  double   spaces\u00a0no-break\u3000wide",
    "line\nbreaks\r\nof\n\n\nall kinds\n ",
    "HELLO Don'T SHOUT'S I'LL \u017fhould",
    "!!! ??? ... -- == {}[]() <> \\ / @user #tag $5 50% a_b ~`^",
    "<|end|> [1] [64] [65] ADD UPDATE[2] NOOP NONE Message: Question:",
    "<|<|end|>|> [[1]] ADDED UPDATEDELETE <think></think> <|im_start|>system <|eot_id|><|begin_of_text|>",
    "\x00 \x07 \ufeff \ufffd \ud83d lone",
    "antidisestablishmentarianism" * 4,
)
"""Texts on which tokenisers part company."""
CONTEXT = 2048
PROMPTS = 4
"""So many of the agents' prompts, spread over all of them, are continued."""
GREEDY_TOKENS = 24
TOLERANCES = {
    LlamaFileType.ALL_F32: 1e-4,
    LlamaFileType.MOSTLY_F16: 2e-2,
    LlamaFileType.MOSTLY_BF16: 1e-1,
}
"""Largest difference of a logit allowed, in standard deviations of the logits. Other types are quantised."""
TIE = 2e-2
"""Tokens this near to each other, in the same unit, may change places by rounding."""
NEAR = 0.25
"""In a quantised file tokens this near to the most likely one count as most likely too."""
QUANTISED_AGREEMENT = 0.9
"""A quantised file must at least agree on this share of the most likely next tokens; the logits do differ."""


@dataclass(frozen=True)
class Agreement:
    """What was compared. ``largest`` is in standard deviations of the logits, ``divergence`` in nats per position.

    ``top`` is the share of ``positions`` whose most likely token is the same, ``likely`` the share where llama.cpp's is
    at least nearly as likely to the checkpoint; ``greedy`` counts the tokens of the continuations that were the same.
    """

    texts: int
    positions: int
    largest: float
    divergence: float
    top: float
    likely: float
    greedy: int

    def __str__(self) -> str:
        return (
            f"{self.texts} texts tokenised alike; over {self.positions} positions the largest logit difference is"
            f" {self.largest:.1e} standard deviations, the Kullback-Leibler divergence {self.divergence:.1e} nats, and"
            f" {self.top:.1%} of the top tokens agree ({self.likely:.1%} but for near ties);"
            f" {self.greedy} greedy tokens equal"
        )


def compare(checkpoint: Checkpoint, decoder: Decoder, target: Path, adapter: Path | None = None) -> Agreement:
    """Compare the GGUF file ``target``, with ``adapter`` on top of it, with ``checkpoint``.

    :raises DriftError: they differ, with the first difference
    :raises ConvertError: the file cannot be loaded
    """
    kind = LlamaFileType(read_gguf_header(target).metadata.get("general.file_type", LlamaFileType.GUESSED))
    try:
        model = LlamaModel.load(target, context=CONTEXT, exact_cache=True, adapter=adapter)
    except ModelLoadError as error:
        raise ConvertError(str(error)) from error
    with model:
        texts = compare_tokens(model, Tokenizer.from_file(str(checkpoint.folder / "tokenizer.json")))
        prompts = [model.prompt_ids(prompt) for prompt in agent_prompts(checkpoint.training)]
        prompts = [ids for ids in prompts if len(ids) + GREEDY_TOKENS <= model.context]
        chosen = prompts[:: max(1, len(prompts) // PROMPTS)][:PROMPTS]
        continued = [[*ids, *model.greedy(ids, GREEDY_TOKENS)] for ids in chosen]
        expected = Reference(checkpoint, decoder).logits(continued)
        found = [model.logits(ids) for ids in continued]
    return compare_logits(chosen, continued, expected, found, TOLERANCES.get(kind), texts)


def compare_tokens(model: LlamaModel, tokenizer: Tokenizer) -> int:
    """Compare ids text by text, as trusted and as untrusted text; returns how many were compared.

    llama.cpp has no Unicode normalisation, so where the tokenizer composes characters (NFC, as Qwen's does), texts
    are compared that are composed already.
    """
    special = special_pattern(token.content for token in tokenizer.get_added_tokens_decoder().values())
    for text in CORPUS:
        clean = text.encode("utf-8", "replace").decode("utf-8")
        if tokenizer.normalizer is not None:
            clean = text = unicodedata.normalize("NFC", clean)
        parts = cut_apart(clean, special)
        untrusted = [token for part in parts for token in _reference_ids(tokenizer, part)]
        for trusted, expected in ((True, _reference_ids(tokenizer, clean)), (False, untrusted)):
            found = model.tokenize(Segment(text, trusted=trusted))
            if found != expected:
                at = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
                kind = "trusted" if trusted else "untrusted"
                raise DriftError(
                    f"The tokenisers differ on the {kind} text {text!r} from token {at}:"
                    f" llama.cpp has {found}, tokenizer.json {expected}."
                )
    return 2 * len(CORPUS)


def compare_logits(
    prompts: Sequence[Sequence[int]],
    continued: Sequence[Sequence[int]],
    expected: Sequence[Array],
    found: Sequence[Array],
    tolerance: float | None,
    texts: int,
) -> Agreement:
    """Compare the logits of ``continued``, which begin with ``prompts`` and go on as llama.cpp does.

    :param tolerance: the largest difference allowed; None for a quantised file, where only the top tokens are held to
    """
    largest, greedy, divergence, tops, likely = 0.0, 0, [], [], []
    for prompt, ids, theirs, ours in zip(prompts, continued, expected, found, strict=True):
        if theirs.shape != ours.shape:
            raise DriftError(
                f"The logits have the shape {ours.shape} in llama.cpp and {theirs.shape} in the checkpoint."
            )
        deviation = float(theirs.std())
        difference = np.abs(ours - theirs).max(axis=1) / deviation
        behind = (theirs.max(axis=1) - np.take_along_axis(theirs, ours.argmax(axis=1)[:, None], 1)[:, 0]) / deviation
        if tolerance is not None:
            _hold(ids, len(prompt), difference, behind, tolerance, theirs)
        largest = max(largest, float(difference.max()))
        divergence.append(_divergence(theirs, ours))
        tops.append(theirs.argmax(axis=1) == ours.argmax(axis=1))
        likely.append(behind <= NEAR)
        greedy += int((theirs.argmax(axis=1)[len(prompt) - 1 : -1] == np.array(ids[len(prompt) :])).sum())
    share = float(np.concatenate(likely).mean())
    if not share >= QUANTISED_AGREEMENT:
        raise DriftError(f"Only {share:.1%} of the most likely tokens agree, less than {QUANTISED_AGREEMENT:.0%}.")
    return Agreement(
        texts=texts,
        positions=sum(map(len, continued)),
        largest=largest,
        divergence=float(np.concatenate(divergence).mean()),
        top=float(np.concatenate(tops).mean()),
        likely=share,
        greedy=greedy,
    )


def _hold(ids: Sequence[int], prompt: int, difference: Array, behind: Array, tolerance: float, expected: Array) -> None:
    if not difference.max() <= tolerance:
        at = int(np.argmax(~(difference <= tolerance)))
        raise DriftError(
            f"The logits differ at position {at} of {list(ids)} by {difference[at]:.2e} standard deviations,"
            f" more than {tolerance:.0e}."
        )
    wrong = np.flatnonzero(behind[prompt - 1 : -1] > TIE)
    if wrong.size:
        step = int(wrong[0])
        raise DriftError(
            f"Greedy token {step} after {list(ids[:prompt])} is {ids[prompt + step]} in llama.cpp and"
            f" {int(expected[prompt - 1 + step].argmax())} in the checkpoint."
        )


def _divergence(expected: Array, found: Array) -> Array:
    """Kullback-Leibler divergence of llama.cpp's next token from the checkpoint's, in nats, for each position."""

    def log_shares(logits: Array) -> Any:  # noqa: ANN401 - float64
        wide = logits.astype(np.float64)
        wide -= wide.max(axis=1, keepdims=True)
        return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))

    ours, theirs = log_shares(found), log_shares(expected)
    result: Array = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
    return result


def _reference_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids
