"""Does llama.cpp do with a GGUF file what torch does with its checkpoint? ``python -m convert check CHECKPOINT FILE``.

Three comparisons: the tokeniser's ids, text by text; the logits at every position; and greedy continuations.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, LlamaFileType
from tokenizers import Tokenizer

from convert.errors import ConvertError, DriftError
from memr1_lite.errors import ModelLoadError
from memr1_lite.llama import LlamaModel, cut_apart
from memr1_lite.llama.vocabulary import special_pattern
from memr1_lite.llm import Segment

Forward = Callable[[Sequence[int]], npt.NDArray[np.float32]]
"""Token ids to logits, shape (len(ids), n_vocab)."""

CORPUS = (
    "Andrew has two dogs, Buddy and Scout.",
    " 16 June 2023 | Andrew: I adopted another dog named Scout.",
    " I'm sure they'd say it's Zoë's café; naïve façade, Ångström, e\u0301 against é.",
    "東京に住んでいます。我有两只狗。안녕하세요 مرحبا שלום नमस्ते Привет",
    "🐶🐕\u200d🦺 👩\u200d👩\u200d👧\u200d👦 🇫🇷 ❤️ \U0001f600",
    "12345 3.14 1,000,000 2023-06-16 ½ ٣ Ⅷ x² 007",
    "   leading, trailing   ",
    "tabs\tand  double   spaces\u00a0no-break\u3000wide",
    "line\nbreaks\r\nof\n\n\nall kinds\n ",
    "HELLO Don'T SHOUT'S I'LL \u017fhould",
    "!!! ??? ... -- == {}[]() <> \\ / @user #tag $5 50% a_b ~`^",
    "<|end|> [1] [64] [65] ADD UPDATE[2] NOOP NONE Message: Question:",
    "<|<|end|>|> [[1]] ADDED UPDATEDELETE <think></think> <|im_start|>system",
    "\x00 \x07 \ufeff \ufffd \ud83d lone",
    "antidisestablishmentarianism" * 4,
)
"""Texts on which tokenisers part company."""
PROMPTS = (
    " Andrew has a dog named Buddy. Andrew lives in Lyon. 16 June 2023 | Andrew: I adopted another dog named Scout.",
    " 2 May 2023 | Audrey: I love your dogs! How many dogs does Andrew have?",
    " Привет, мир! 12 cats, 3 dogs and nothing else at all.",
)
GREEDY_TOKENS = 24
TOLERANCES = {LlamaFileType.ALL_F32: 1e-4, LlamaFileType.MOSTLY_F16: 2e-2}
"""Largest difference of a logit allowed, in standard deviations of the logits."""
NEAR = 0.25
"""Tokens whose logits in torch are within this many standard deviations of the greatest count as most likely too."""
QUANTISED_AGREEMENT = 0.9
"""A quantised file must at least agree on this share of the most likely next tokens; the logits do differ."""


@dataclass(frozen=True)
class Agreement:
    """What was compared. ``largest`` is in standard deviations, ``top`` a share of ``positions``."""

    texts: int
    positions: int
    largest: float
    top: float
    greedy: int

    def __str__(self) -> str:
        return (
            f"{self.texts} texts tokenised alike; over {self.positions} positions the largest logit difference is"
            f" {self.largest:.1e} standard deviations and {self.top:.1%} of the top tokens agree"
            + (f"; {self.greedy} greedy tokens equal" if self.greedy else "")
        )


def check(source: Path, target: Path, forward: Forward | None = None) -> Agreement:
    """Compare the GGUF file ``target`` with the checkpoint folder ``source``.

    :param forward: the checkpoint's model; None loads it with torch
    :raises DriftError: they differ, with the first difference
    :raises ConvertError: one of them cannot be loaded
    """
    forward = torch_forward(source) if forward is None else forward
    try:
        model = LlamaModel.load(target, context=1024, exact_cache=True)
    except ModelLoadError as error:
        raise ConvertError(str(error)) from error
    with model:
        tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
        texts = compare_tokens(model, tokenizer)
        sequences = [model.prompt_ids((Segment(text),)) for text in PROMPTS]
        kind = LlamaFileType(int(GGUFReader(target).fields["general.file_type"].contents()))
        largest, top = compare_logits(model, forward, sequences, TOLERANCES.get(kind))
        greedy = sum(compare_greedy(model, forward, ids) for ids in sequences) if kind in TOLERANCES else 0
    return Agreement(texts, sum(map(len, sequences)), largest, top, greedy)


def compare_tokens(model: LlamaModel, tokenizer: Tokenizer) -> int:
    """Compare ids text by text, as trusted and as untrusted text; returns how many were compared."""
    special = special_pattern(token.content for token in tokenizer.get_added_tokens_decoder().values())
    for text in CORPUS:
        clean = text.encode("utf-8", "replace").decode("utf-8")
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
    model: LlamaModel, forward: Forward, sequences: Sequence[Sequence[int]], tolerance: float | None
) -> tuple[float, float]:
    """The largest difference in standard deviations, and how often the most likely token agrees.

    :param tolerance: the largest difference allowed; None for a quantised file, where only the top tokens are held to
    """
    largest, agreeing, positions = 0.0, 0, 0
    for ids in sequences:
        expected, found = forward(ids), model.logits(ids)
        if expected.shape != found.shape:
            raise DriftError(f"The logits have the shape {found.shape} in llama.cpp and {expected.shape} in torch.")
        difference = np.abs(found - expected).max(axis=1) / expected.std()
        chosen = np.take_along_axis(expected, found.argmax(axis=1, keepdims=True), axis=1)[:, 0]
        agreeing += int((expected.max(axis=1) - chosen <= NEAR * expected.std()).sum())
        positions += len(ids)
        largest = max(largest, float(difference.max()))
        if tolerance is not None and not difference.max() <= tolerance:
            at = int(np.argmax(~(difference <= tolerance)))
            raise DriftError(
                f"The logits differ at position {at} of {list(ids)} by {difference[at]:.2e} standard deviations,"
                f" more than {tolerance:.0e}."
            )
    top = agreeing / positions
    if top < QUANTISED_AGREEMENT:
        raise DriftError(f"Only {top:.1%} of the most likely tokens agree, less than {QUANTISED_AGREEMENT:.0%}.")
    return largest, top


def compare_greedy(model: LlamaModel, forward: Forward, prompt: Sequence[int]) -> int:
    """Continue ``prompt`` greedily in both; returns how many tokens were compared."""
    ids = list(prompt)
    for step in range(GREEDY_TOKENS):
        expected, found = forward(ids)[-1], model.logits(ids)[-1]
        ours, theirs = int(found.argmax()), int(expected.argmax())
        # Two tokens as likely as each other may change places by rounding: that is no drift.
        if ours != theirs and expected[theirs] - expected[ours] > TOLERANCES[LlamaFileType.MOSTLY_F16] * expected.std():
            raise DriftError(f"Greedy token {step} after {list(prompt)} is {ours} in llama.cpp and {theirs} in torch.")
        ids.append(theirs)
    return GREEDY_TOKENS


def torch_forward(source: Path) -> Forward:
    """The checkpoint's own forward pass, from the trainer's model.

    :raises ConvertError: torch is not installed
    """
    try:
        import torch

        from train_ref.model import Transformer
    except ImportError as error:
        raise ConvertError("The check compares with torch: pip install 'memr1-lite[train]'.") from error
    network = Transformer.load(source)

    def forward(ids: Sequence[int]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            logits: npt.NDArray[np.float32] = network(torch.tensor([list(ids)]))[0].numpy()
        return logits

    return forward


def _reference_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("source", type=Path, metavar="CHECKPOINT", help="the folder that the file was made from")
    parser.add_argument("target", type=Path, metavar="FILE.gguf")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    print(check(arguments.source, arguments.target))
