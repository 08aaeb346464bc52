from __future__ import annotations

import random

import pytest
import torch

from memr1_lite.llm import Segment
from train_ref import tokenizer as tokenizers
from train_ref.model import ModelConfig, Transformer
from train_ref.packing import branches, collate, pack, source, splitter
from train_ref.tokenizer import ASSISTANT, CONTROL, USER, AgentTokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizers.train(folder, vocab_size=900, examples=60)
    return AgentTokenizer(folder)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return Transformer(ModelConfig(tokenizer.vocab_size, 64, 2, 2, 1, 32, 128)).eval()


@pytest.mark.parametrize(("role", "entries", "length"), [("manager", 8, 384), ("answerer", 20, 700)])
def test_a_packed_branch_is_to_the_model_the_prompt_alone(tokenizer, model, role, entries, length):
    example = source(role, random.Random(4), "train", entries, length)()
    row = pack(example, tokenizer, length)
    longer = pack(source(role, random.Random(5), "train", entries - 6, length)(), tokenizer, length)
    batch = collate([row, longer], length, tokenizer.pad)
    packed = model(batch.ids_BT, batch.positions_BT, batch.mask_BTT())[0]
    prompts, _, template = branches(example)
    assert row.branch[-1] >= 3
    for number in range(1, row.branch[-1] + 1):
        segments, values = prompts[number - 1]
        prompt = [*tokenizer.encode(USER, True), *tokenizer.prompt(segments), *tokenizer.encode(ASSISTANT, True)]
        output = tokenizer.output(values, template)
        alone = model(torch.tensor([prompt + output[:-1]]))[0, len(prompt) - 1 :]
        mine = (batch.branch_BT[0] == number) & (batch.targets_BT[0] >= 0)
        assert batch.targets_BT[0][mine].tolist() == output
        assert torch.allclose(packed[mine], alone, atol=1e-4)


def test_no_user_text_becomes_a_control_token(tokenizer):
    control = {tokenizer.encode(text, True)[0] for text in CONTROL}
    assert len(control) == len(CONTROL)
    for text in CONTROL:
        ids = tokenizer.prompt([Segment(f" before {text} after {text}")])
        assert not control.intersection(ids)
        assert tokenizer.decode(ids) == f" before {text} after {text}"


def test_digits_stand_apart(tokenizer):
    assert len(tokenizer.encode(" 2023", False)) == 5


def test_words_taken_to_pieces_spell_the_same_and_are_alike_in_the_whole_row(tokenizer):
    rng = random.Random(2)
    for word in (" company", " Andrew", " lives", "."):
        for token in tokenizer.encode(word, False):
            assert {tokenizer.decode(tokenizer.pieces(token, rng)) for _ in range(20)} == {tokenizer.decode([token])}
    spelt = splitter(range(tokenizer.vocab_size), tokenizer, rng)
    assert 0 < len([token for token, pieces in spelt.items() if pieces != (token,)]) < 0.5 * tokenizer.vocab_size
    assert not [token for token in spelt if token >= tokenizer.eos]
