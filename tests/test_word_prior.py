from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from train_ref import tokenizer as tokenizers
from train_ref.model import ModelConfig, Transformer
from train_ref.tokenizer import AgentTokenizer
from train_ref.transplant import transplanted, with_heads
from train_ref.word_prior import TABLE, add_prior, fitted, plain_state, shrink_free, word_vectors
from train_ref.world.words import ENGLISH


def small(tokenizer):
    torch.manual_seed(0)
    return Transformer(ModelConfig(tokenizer.vocab_size, 64, 2, 2, 1, 32, 128)).eval()


def tokenizer_of(folder, size):
    tokenizers.train(folder, vocab_size=size, examples=60)
    return AgentTokenizer(folder)


def encoder(folder, words):
    """A folder as a sentence encoder's, in which the first two words are nearly one."""
    torch.manual_seed(1)
    table = torch.randn(len(words), 24)
    table[2] = table[1] + 0.1 * torch.randn(24)
    (folder / "vocab.txt").write_text("\n".join(words))
    save_file({TABLE: table}, folder / "model.safetensors")
    return folder


def test_words_of_like_meaning_have_like_vectors_and_pieces_and_controls_have_none(tmp_path):
    tokenizer = tokenizer_of(tmp_path, 3000)
    whole = [word for word in ENGLISH if len(tokenizer.encode(f" {word}", False)) == 1][:12]
    vectors = word_vectors(encoder(tmp_path, ["[PAD]", *whole, "##ing"]), tokenizer)
    one, like, other = (tokenizer.encode(f" {word}", False)[0] for word in whole[:3])
    assert vectors[one] @ vectors[like] > 0.9 > vectors[one] @ vectors[other]
    assert torch.allclose(vectors[other].norm(), torch.tensor(1.0), atol=1e-3)
    assert not vectors[tokenizer.eos :].any()
    assert not vectors[tokenizer.encode("ing", False)[0]].any()


def test_a_trained_table_stays_as_it_is_under_the_prior_and_is_saved_as_a_plain_one(tmp_path):
    tokenizer = tokenizer_of(tmp_path, 900)
    model = small(tokenizer)
    before = model.embed_tokens.weight.detach().clone()
    add_prior(model.embed_tokens, torch.randn(tokenizer.vocab_size, 24), trained=True)
    assert torch.allclose(model.embed_tokens.weight, before, atol=1e-5)
    model.save(tmp_path, eos=tokenizer.eos, pad=tokenizer.pad)
    assert torch.allclose(Transformer.load(tmp_path).embed_tokens.weight, before, atol=1e-5)
    assert set(plain_state(model)) == set(small(tokenizer).state_dict())


def test_an_unseen_word_follows_the_one_that_means_the_same():
    vectors = torch.eye(4).repeat_interleave(2, 0)  # tokens 2k and 2k+1 mean the same
    embedding = nn.Embedding(8, 4)
    add_prior(embedding, vectors, trained=False)
    optimiser = torch.optim.SGD(embedding.parameters(), lr=0.1)
    goal = torch.tensor([1.0, -2.0, 3.0, 0.5])
    for _ in range(200):
        (embedding.weight[0] - goal).pow(2).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        shrink_free(embedding, 0.05)
    assert (embedding.weight[1] - goal).norm() < 0.3
    assert (embedding.weight[3] - goal).norm() > 1


def test_a_transplanted_model_says_the_same_of_text_that_both_tokenizers_split_alike(tmp_path):
    folders = [tmp_path / "old", tmp_path / "new"]
    old, new = (tokenizer_of(folder, size) for folder, size in zip(folders, (900, 1400), strict=True))
    model = small(old)
    grown = transplanted(model, old, new, torch.zeros(new.vocab_size, 3))
    ids = [(*tokenizer.encode(" a.", False), tokenizer.eos) for tokenizer in (old, new)]
    assert [old.decode([i]) for i in ids[0]] == [new.decode([i]) for i in ids[1]]
    before, after = model(torch.tensor([ids[0]])), grown(torch.tensor([ids[1]]))
    assert torch.allclose(before[..., ids[0]], after[..., ids[1]], atol=1e-4)
    assert grown.embed_tokens.weight.norm(dim=1).min() > 0


def test_more_heads_of_keys_and_values_say_the_same_at_first_and_then_learn_apart():
    torch.manual_seed(0)
    model = Transformer(ModelConfig(300, 64, 2, 4, 2, 16, 128))
    wide = with_heads(model, 4)
    ids = torch.randint(0, 300, (2, 24))
    torch.testing.assert_close(wide(ids), model(ids))

    wide(ids)[0].logsumexp(-1).sum().backward()
    values = wide.layers[0].self_attn.v_proj.weight
    one, other = values.grad.view(4, 16, 64)[:2]
    assert torch.equal(values.view(4, 16, 64)[0], values.view(4, 16, 64)[1])
    assert not torch.allclose(one, other)
    with pytest.raises(ValueError, match="can't become 3"):
        with_heads(model, 3)


def test_the_projection_is_that_of_least_squares():
    torch.manual_seed(0)
    vectors, projection = torch.randn(50, 6), torch.randn(6, 3)
    table = vectors @ projection
    table[40:] = 9.0
    found = fitted(vectors, table, torch.arange(50) < 40, ridge=1e-6)
    assert torch.allclose(found, projection, atol=1e-3)
