"""What words mean, from outside: the word vectors of a sentence encoder as a prior of the token embeddings.

A tiny model that has read a few thousand phrases knows nothing of the words that none of them held. So the embedding of
a token that is a whole English word is ``free + vector @ projection``: the vector is that of the word in an encoder's
own embedding table (all-MiniLM-L6-v2, Apache-2.0) and never changes, ``projection`` and ``free`` are learned. Words
that training never shows move along with those of like meaning. What is saved is the sum, a plain table.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.utils import parametrize

from train_ref.tokenizer import AgentTokenizer

SPREAD = 0.02
"""Standard deviation of a new projection's entries, as that of a new embedding's."""
TABLE = "embeddings.word_embeddings.weight"


def word_vectors(folder: Path, tokenizer: AgentTokenizer) -> Tensor:
    """Unit vectors (V, E) of the tokens that are whole words of the encoder in ``folder``; zero for all others.

    :param folder: an encoder's Hugging Face folder, with ``vocab.txt`` and ``model.safetensors``
    """
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    rows = {word: row for row, word in enumerate(words) if word.isalpha() and len(word) > 1}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        table = file.get_tensor(TABLE).float()
    table -= table[list(rows.values())].mean(0)  # what all words share tells none apart
    table /= table.norm(dim=1, keepdim=True) + 1e-6
    vectors = torch.zeros(tokenizer.vocab_size, table.shape[1])
    for token in range(tokenizer.eos):  # control tokens come last in the vocabulary
        text = tokenizer.decode([token])
        row = rows.get(text.strip().lower())
        if row is not None and (text.startswith(" ") or text[:1].isupper()):
            vectors[token] = table[row]
    return vectors


class WordPrior(nn.Module):
    """The parametrisation ``free + vectors @ projection`` of an embedding table (V, C)."""

    def __init__(self, vectors: Tensor, projection: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)
        self.projection = nn.Parameter(projection)

    def forward(self, free: Tensor) -> Tensor:
        """The table."""
        return free + self.vectors @ self.projection

    def right_inverse(self, table: Tensor) -> Tensor:
        """The free part of a given table."""
        return table - self.vectors @ self.projection


def fitted(vectors: Tensor, table: Tensor, known: Tensor, ridge: float = 1.0) -> Tensor:
    """The projection (E, C) that best gives the ``known`` rows of ``table`` (ridge regression)."""
    A, B = vectors[known], table[known]
    return torch.linalg.solve(A.T @ A + ridge * torch.eye(A.shape[1]), A.T @ B)


def add_prior(embedding: nn.Embedding, vectors: Tensor, *, trained: bool) -> None:
    """Make the table of ``embedding`` free rows plus projected ``vectors``; one that is ``trained`` stays as it is."""
    table = embedding.weight.detach()
    known = vectors.norm(dim=1) > 0
    spread = torch.randn(vectors.shape[1], table.shape[1]) * SPREAD
    projection = fitted(vectors, table, known) if trained else spread
    if not trained:
        embedding.weight.data += vectors @ projection
    parametrize.register_parametrization(embedding, "weight", WordPrior(vectors, projection))


@torch.no_grad()
def shrink_free(embedding: nn.Embedding, share: float) -> None:
    """Shrink the free rows of words by ``share``: what a word does is to be told by its vector, as far as it can be."""
    if parametrize.is_parametrized(embedding):
        parameters = embedding.parametrizations.weight
        words = parameters[0].vectors.norm(dim=1, keepdim=True) > 0
        parameters.original.mul_(torch.where(words, 1 - share, 1.0))


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of ``model`` with every table as the sum that it stands for."""
    state = {name: value for name, value in model.state_dict().items() if ".parametrizations." not in name}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            state[f"{name}.weight"] = module.weight.detach()
    return state
