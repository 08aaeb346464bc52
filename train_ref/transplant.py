"""A trained model under another tokenizer: its blocks as they are, its embeddings found anew by the tokens' texts.

A token that both vocabularies hold keeps its row. A new one that is a whole word gets the row that its word vector
predicts (:func:`train_ref.word_prior.fitted`), any other the mean of the pieces it replaces.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from train_ref.model import Transformer
from train_ref.tokenizer import AgentTokenizer
from train_ref.word_prior import fitted

NOISE = 0.5
"""Length of a new row's random part, as a share of a usual row's: words of like meaning must still differ."""


def transplanted(old: Transformer, before: AgentTokenizer, after: AgentTokenizer, vectors: torch.Tensor) -> Transformer:
    """``old`` with the vocabulary of ``after``.

    :param vectors: word vectors (V, E) of the tokens of ``after``, zero rows for those that are no words
    """
    table = old.embed_tokens.weight.detach()
    texts = {before.decode([token]): token for token in range(before.vocab_size)}
    size = table[: before.eos].norm(dim=1).median()
    new = torch.zeros(after.vocab_size, table.shape[1])
    kept = torch.zeros(after.vocab_size, dtype=torch.bool)
    for token in range(after.vocab_size):
        row = texts.get(after.decode([token]))
        if row is not None and (token >= after.eos) == (row >= before.eos):
            new[token], kept[token] = table[row], True
    words = vectors.norm(dim=1) > 0
    predicted = vectors @ fitted(vectors, new, kept & words)
    generator = torch.Generator().manual_seed(1)
    for token in torch.nonzero(~kept).flatten().tolist():
        base = predicted[token]
        if not words[token]:
            base = table[list(before.encode(after.decode([token]), False))].mean(0)
        stray = torch.randn(table.shape[1], generator=generator)
        new[token] = base + NOISE * size * stray / stray.norm()
    model = Transformer(replace(old.config, vocab_size=after.vocab_size))
    state = {**old.state_dict(), "embed_tokens.weight": new}
    model.load_state_dict(state)
    return model
