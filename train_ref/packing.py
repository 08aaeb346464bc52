"""From examples to batches: one shared list, several independent branches over it, in one row.

Every branch sees the shared prefix and itself, never another branch, and its positions go on from the prefix: to the
model it is exactly the prompt that it will get alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from memr1_lite.answer_agent import AnswerTemplate, answer_prompt
from memr1_lite.llm import OutputTemplate, Segment
from memr1_lite.memory_manager import ManagerTemplate, manager_prompt
from train_ref.tokenizer import ASSISTANT, USER, AgentTokenizer
from train_ref.world.episodes import AnswererExample, ManagerExample, answerer_example, manager_example
from train_ref.world.words import Split

Role = Literal["manager", "answerer"]
PADDING = 10_000
"""The branch of padding, which nothing looks at; the others count from 1."""
NOISY_BRANCHES, NOISY_TOKENS = 0.4, 0.12
"""Share of the branches whose words are disturbed, and of their words: no phrase is to be learned by heart."""
SPLIT_TOKENS = 0.3
"""Share of a row's tokens that are spelt anew, most of them in pieces."""
KEPT = (" I", " my", " My", " not", " no", "'t", " or", " and")
"""Small words that turn the meaning."""


@dataclass(frozen=True)
class Row:
    """One packed example. ``targets`` is -1 where nothing is learned; ``branch`` is 0 in the shared prefix."""

    ids: list[int]
    positions: list[int]
    branch: list[int]
    targets: list[int]


@dataclass(frozen=True)
class Batch:
    """Rows padded to (B, T)."""

    ids_BT: Tensor
    positions_BT: Tensor
    branch_BT: Tensor
    targets_BT: Tensor

    def mask_BTT(self) -> Tensor:
        """True where a position may look: backwards, at the shared prefix or within its own branch."""
        T = self.ids_BT.shape[1]
        mine, theirs = self.branch_BT[:, :, None], self.branch_BT[:, None, :]
        causal = torch.ones(T, T, dtype=torch.bool).tril()
        return causal & ((theirs == 0) | (theirs == mine))


def branches(
    example: ManagerExample | AnswererExample,
) -> tuple[list[tuple[Sequence[Segment], tuple[str, ...]]], int, OutputTemplate]:
    """The whole prompt and right values of every branch, how many segments they share, and their template."""
    if isinstance(example, ManagerExample):
        prompts = [(manager_prompt(message, example.shown), values) for message, values in example.turns]
        return prompts, 3 * len(example.shown), ManagerTemplate(len(example.shown))
    prompts = [(answer_prompt(question, example.candidates), values) for question, values in example.turns]
    return prompts, 3 * len(example.candidates), AnswerTemplate(len(example.candidates))


def disturbed(ids: list[int], kept: set[int], tokenizer: AgentTokenizer, rng: random.Random) -> list[int]:
    """``ids`` with some of those not in ``kept`` left out, or exchanged for any other token."""
    noisy: list[int] = []
    for token in ids:
        if token in kept or rng.random() > NOISY_TOKENS:
            noisy.append(token)
        elif rng.random() < 0.5:
            noisy.append(rng.randrange(tokenizer.eos))  # control tokens come last in the vocabulary
    return noisy


def splitter(ids: Iterable[int], tokenizer: AgentTokenizer, rng: random.Random) -> dict[int, tuple[int, ...]]:
    """Some of the tokens in ``ids``, each with smaller ones that spell it.

    Words that training never shows come in pieces, and pieces are rare where most words are one token. So in every row
    some words are taken to pieces, the same wherever they stand: what is copied must look alike.
    """
    chosen = [token for token in sorted(set(ids)) if token < tokenizer.eos and rng.random() < SPLIT_TOKENS]
    return {token: tokenizer.pieces(token, rng) for token in chosen}


def pack(
    example: ManagerExample | AnswererExample,
    tokenizer: AgentTokenizer,
    length: int,
    noise: random.Random | None = None,
) -> Row | None:
    """Pack as many branches as fit into ``length``; None where not even one does.

    With ``noise``, words of some messages and questions that are neither shown nor to be said are disturbed, and words
    anywhere are taken to pieces.
    """
    prompts, shared, template = branches(example)
    if not prompts:
        return None
    prefix = [*tokenizer.encode(USER, True), *tokenizer.prompt(prompts[0][0][:shared])]
    spelt: dict[int, tuple[int, ...]] = {}
    if noise is not None:
        said = (token for _, values in prompts for token in tokenizer.output(values, template))
        spelt = splitter([*prefix, *said], tokenizer, noise)

    def respelt(ids: Iterable[int]) -> list[int]:
        return [piece for token in ids for piece in spelt.get(token, (token,))]

    prefix = respelt(prefix)
    row = Row(list(prefix), list(range(len(prefix))), [0] * len(prefix), [-1] * len(prefix))
    for number, (segments, values) in enumerate(prompts, start=1):
        output = respelt(tokenizer.output(values, template))
        mark, text, *rest = segments[shared:]
        ids = respelt(tokenizer.prompt([text]))
        if noise is not None and noise.random() < NOISY_BRANCHES:
            kept = {*prefix, *output, *(token for word in KEPT for token in tokenizer.encode(word, False))}
            ids = disturbed(ids, kept, tokenizer, noise)
        question = [*tokenizer.prompt([mark]), *ids, *tokenizer.prompt(rest), *tokenizer.encode(ASSISTANT, True)]
        ids = question + output[:-1]  # the last token is only ever predicted
        if len(row.ids) + len(ids) > length:
            break
        row.ids.extend(ids)
        row.positions.extend(range(len(prefix), len(prefix) + len(ids)))
        row.branch.extend([number] * len(ids))
        row.targets.extend([-1] * (len(question) - 1) + output)
    return row if row.branch[-1] else None


def collate(rows: Sequence[Row], length: int, pad: int) -> Batch:
    """Pad ``rows`` to ``length``."""

    def padded(values: list[int], fill: int) -> list[int]:
        return values + [fill] * (length - len(values))

    return Batch(
        torch.tensor([padded(row.ids, pad) for row in rows]),
        torch.tensor([padded(row.positions, 0) for row in rows]),
        torch.tensor([padded(row.branch, PADDING) for row in rows]),
        torch.tensor([padded(row.targets, -1) for row in rows]),
    )


Source = Callable[[], ManagerExample | AnswererExample]


def source(role: Role, rng: random.Random, split: Split, entries: int, length: int) -> Source:
    """A generator of examples with at most ``entries`` entries that about fill ``length``."""
    if role == "manager":
        return lambda: manager_example(rng, split, length // 38, entries)
    return lambda: answerer_example(rng, split, length // 18, rng.choice((entries, rng.randint(1, entries))))


def relabelled(row: Row, tokenizer: AgentTokenizer, rng: random.Random) -> Row:
    """``row`` with its ordinals exchanged for others, any of the 64: a short list then teaches all of them."""
    ordinals = tokenizer.ordinals
    new = dict(zip(ordinals, rng.sample(ordinals, len(ordinals)), strict=True))
    return replace(
        row, ids=[new.get(token, token) for token in row.ids], targets=[new.get(token, token) for token in row.targets]
    )


def batch(
    make: Source,
    tokenizer: AgentTokenizer,
    rows: int,
    length: int,
    relabel: random.Random | None = None,
    noise: random.Random | None = None,
) -> Batch:
    """``rows`` packed examples of ``length``, with ordinals exchanged and words disturbed where asked for."""
    packed: list[Row] = []
    while len(packed) < rows:
        row = pack(make(), tokenizer, length, noise)
        if row is not None:
            packed.append(row if relabel is None else relabelled(row, tokenizer, relabel))
    return collate(packed, length, tokenizer.pad)
