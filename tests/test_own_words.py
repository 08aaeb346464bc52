from __future__ import annotations

import random

import pytest

from memr1_lite.llama.wording import WORD, words_of
from memr1_lite.llm import FreeText
from train_ref import own_words
from train_ref.packing import branches, source


@pytest.mark.parametrize("role", ["manager", "answerer"])
def test_nearly_every_right_text_can_be_written_with_what_was_read_and_own_words(role, monkeypatch):
    monkeypatch.setattr(own_words, "EXAMPLES", 400)
    monkeypatch.setattr(own_words, "SEEN_AT_LEAST", 3)
    own = {word.encode() for word in own_words.own_words(role)}
    assert len(own) < 80
    make = source(role, random.Random(8), "heldout", 8, 512)
    sayable, texts = 0, 0
    for _ in range(60):
        prompts, _, template = branches(make())
        for segments, values in prompts:
            read = words_of(" ".join(segment.text for segment in segments if not segment.trusted))
            for index, value in enumerate(values):
                if isinstance(template.next_step(values[:index]), FreeText):
                    texts += 1
                    sayable += set(WORD.findall(value.encode())) <= read | own
    assert texts > 200
    assert sayable / texts > 0.985
