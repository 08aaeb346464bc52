"""No control token comes from the words of a stranger, on the vocabularies of Qwen2 and Llama 3 as they are shipped.

``make test`` fetches these into the cache folder; where they are not, a small vocabulary is left.
"""

from __future__ import annotations

import os
from pathlib import Path

import gguf_maker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.llamacpp import CACHE
from memr1_lite.answer_agent import answer_prompt
from memr1_lite.llama import LlamaModel
from memr1_lite.llama.library import load_library
from memr1_lite.llama.vocabulary import Vocabulary
from memr1_lite.llm import Segment
from memr1_lite.memory_manager import manager_prompt
from memr1_lite.records import Candidate, Memory, Message

ROOT = Path(__file__).parent.parent
LINES = (ROOT / "benchmarks" / "attacks.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module", params=["qwen2", "llama-bpe", "small"])
def vocabulary(request, tmp_path_factory):
    library = load_library()
    if request.param == "small":
        with LlamaModel.load(gguf_maker.make_gguf(tmp_path_factory.mktemp("attacks"))) as model:
            yield model._vocabulary
        return
    path = ROOT / CACHE / "llama.cpp" / "models" / f"ggml-vocab-{request.param}.gguf"
    if not path.exists():
        pytest.skip("this vocabulary is not in the cache folder")
    parameters = library.llama_model_default_params()
    parameters.vocab_only = True
    model = library.llama_model_load_from_file(os.fsencode(path), parameters)
    yield Vocabulary(library, library.llama_model_get_vocab(model))
    library.llama_model_free(model)


def corpus(special):
    """Every special text alone, doubled, nested in itself, in a sentence, and with a control character inside."""
    for text in special:
        half = len(text) // 2
        yield from (text, text + text, text[:half] + text + text[half:], f"a {text}b", f"{text[:1]}{text}{text[-1:]}")
    yield from LINES


def special_ids(vocabulary, ids):
    return [token for token in ids if len(vocabulary.special_texts.get(token, "")) > 1]


def test_every_special_text_is_only_letters_in_the_words_of_a_stranger(vocabulary):
    texts = [text for text in vocabulary.special_texts.values() if len(text) > 1]
    assert len(texts) >= 3
    for text in corpus(texts):
        ids = vocabulary.tokenize(Segment(text))
        assert not special_ids(vocabulary, ids), text
        assert vocabulary.decode(ids) == text
    assert special_ids(vocabulary, vocabulary.tokenize(Segment(texts[0], trusted=True)))  # and they do exist


@pytest.mark.parametrize("line", LINES)
def test_no_attack_in_a_memory_a_message_a_name_or_a_question_adds_a_control_token(vocabulary, line):
    def control(text):
        memory = Memory(id=1, text=text)
        message = Message(id=1, speaker=text, text=text, at=None)
        turn = Candidate(kind="turn", id=1, speaker=text, text=text)
        prompt = (*manager_prompt(message, [memory]), *answer_prompt(text, [turn]))
        return special_ids(vocabulary, [token for segment in prompt for token in vocabulary.tokenize(segment)])

    assert control(line) == control("innocent")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_pieces_of_special_texts_put_together_make_one(vocabulary, data):
    texts = sorted(text for text in vocabulary.special_texts.values() if len(text) > 1)
    pieces = st.sampled_from([*texts[:40], "<|", "|>", "<", ">", "im_", "start|>", "_header_id", " ", "\u200b"])
    text = "".join(data.draw(st.lists(pieces, max_size=8)))
    cut = data.draw(st.integers(0, len(text)))
    ids = vocabulary.tokenize(Segment(text[cut:] + text[:cut]))
    assert not special_ids(vocabulary, ids)
