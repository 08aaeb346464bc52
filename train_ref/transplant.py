"""A trained model in another shape: under another tokenizer, or with more heads of keys and values.

Under another tokenizer its blocks stay as they are, and its embeddings are found anew by the tokens' texts.

A token that both vocabularies hold keeps its row. A new one that is a whole word gets the row that its word vector
predicts (:func:`train_ref.word_prior.fitted`), any other the mean of the pieces it replaces.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from train_ref.model import ModelConfig, Transformer
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


def with_heads(old: Transformer, kv_heads: int) -> Transformer:
    """``old`` with ``kv_heads`` heads of keys and values, each a copy of the one that served its queries so far.

    The same function at first. What one head copies has to pass through its few dimensions (here 64), so more of them
    tell more tokens apart.
    """
    c: ModelConfig = old.config
    if kv_heads % c.num_key_value_heads or c.num_attention_heads % kv_heads:
        raise ValueError(f"{c.num_key_value_heads} heads of keys and values can't become {kv_heads}")
    state = old.state_dict()
    for name, value in state.items():
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            heads = value.view(c.num_key_value_heads, c.head_dim, c.hidden_size)
            state[name] = heads.repeat_interleave(kv_heads // c.num_key_value_heads, dim=0).flatten(0, 1)
    model = Transformer(replace(c, num_key_value_heads=kv_heads))
    model.load_state_dict(state)
    return model
