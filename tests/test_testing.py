from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from memr1_lite.answer_agent import AnswerAgent, AnswerTemplate
from memr1_lite.errors import ClosedError, MalformedOutputError, ModelError
from memr1_lite.llm import END, Choice, Embedder, Forced, FreeText, LanguageModel, Segment
from memr1_lite.memory_manager import ManagerTemplate, MemoryManager, parse_operations
from memr1_lite.records import Add, Candidate, Memory, Message, Update
from memr1_lite.testing import HashEmbedder, ScriptedModel

MESSAGE = Message(id=1, speaker="Andrew", text="I adopted another dog named Scout.")
BUDDY = Memory(id=7, text="Andrew has a dog named Buddy.", version=3)
PROMPT = (Segment("Question:", trusted=True), Segment(" who?"))


def test_it_is_a_language_model_and_the_other_an_embedder():
    model: LanguageModel = ScriptedModel()
    embedder: Embedder = HashEmbedder()
    assert (model.name, embedder.name) == ("scripted", "hash-32")


def test_the_agents_speak_through_it():
    model = ScriptedModel(
        [("UPDATE", "[1]", " Andrew has two dogs.", "ADD", " Scout is new.", END), ("[1]", ":", " two"), ("NONE",)]
    )
    decision = MemoryManager(model).decide(MESSAGE, [BUDDY])
    assert decision.operations == (
        Update(op="UPDATE", memory_id=7, version=3, text="Andrew has two dogs.", confidence=1.0),
        Add(op="ADD", text="Scout is new.", confidence=1.0),
    )
    shown = [Candidate(kind="memory", id=7, text=BUDDY.text)]
    assert AnswerAgent(model).answer("How many dogs?", shown).text == "two"
    assert not AnswerAgent(model).answer("How many cats?", shown).known
    assert model.prompts[0].startswith("[1] Andrew has a dog named Buddy.\nMessage: no date | Andrew: I adopted")
    assert model.prompts[2].endswith("Question: How many cats?\n")


def test_an_operation_is_as_sure_as_its_choices_together_and_texts_do_not_count():
    values = ("UPDATE", "[1]", " Andrew has two dogs.", "ADD", " Scout is new.", "DELETE", "[2]", END)
    tea = Memory(id=9, text="Andrew likes tea.")
    said = parse_operations(values, [BUDDY, tea], (0.5, 0.5, 0.01, 0.75, 0.02, 0.25, 0.5, 0.9))
    assert [operation.confidence for operation in said] == [0.25, 0.75, 0.125]
    assert [operation.confidence for operation in parse_operations(("NOOP",), [], (0.5,))] == [0.5]
    assert {operation.confidence for operation in parse_operations(values, [BUDDY, tea])} == {None}


@pytest.mark.parametrize(
    ("reply", "template"),
    [
        (("REMOVE",), ManagerTemplate(1)),
        (("UPDATE", "[2]", " x", END), ManagerTemplate(1)),
        (("ADD", "  ", END), ManagerTemplate(0)),
        (("ADD", " two\nlines", END), ManagerTemplate(0)),
        (("ADD", " two\u2028lines", END), ManagerTemplate(0)),
        (("ADD", " never ends"), ManagerTemplate(0)),
        (("NOOP", "ADD"), ManagerTemplate(0)),
        (("NONE", ":"), AnswerTemplate(2)),
        (("[1]", ":", f" no{END}"), AnswerTemplate(2)),
        ((), AnswerTemplate(2)),
    ],
)
def test_a_reply_that_the_template_does_not_allow_is_malformed(reply, template):
    with pytest.raises(MalformedOutputError) as caught:
        ScriptedModel([reply]).complete(PROMPT, template)
    assert caught.value.raw == "".join(reply)


def test_forced_text_says_itself():
    steps = [Forced("{"), Choice(("a", "b")), Forced(": "), FreeText(stop="}", max_tokens=4)]

    class Template:
        def next_step(self, values):
            return steps[len(values)] if len(values) < len(steps) else None

    completion = ScriptedModel([("b", "x")]).complete(PROMPT, Template())
    assert completion.values == ("{", "b", ": ", "x")
    assert completion.confidences == (1.0, 1.0, 1.0, 1.0)


def test_running_out_of_replies_names_the_prompt():
    model = ScriptedModel([("NONE",)])
    model.complete(PROMPT, AnswerTemplate(0))
    with pytest.raises(ModelError, match=r"asked 2 times.*Question: who\?"):
        model.complete(PROMPT, AnswerTemplate(0))


def test_a_closed_model_says_nothing_more():
    model = ScriptedModel([("NONE",)])
    model.close()
    model.close()
    with pytest.raises(ClosedError, match="scripted"):
        model.complete(PROMPT, AnswerTemplate(0))
    assert model.prompts == []


def test_the_hash_embedder_knows_words_and_nothing_else():
    rows = HashEmbedder(64).embed(["red dog", "Dog RED", "dog", "cat", ""])
    assert rows.shape == (5, 64)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)
    assert rows[0] @ rows[1] == pytest.approx(1.0, abs=1e-6)
    assert rows[0] @ rows[2] > 0.5 > abs(rows[2] @ rows[3])
    assert np.array_equal(rows, HashEmbedder(64).embed(["red dog", "Dog RED", "dog", "cat", ""]))
    assert HashEmbedder().embed([]).shape == (0, 32)


def test_the_doubles_load_no_engine():
    program = "import sys, memr1_lite.testing; sys.exit(bool({'llama_cpp', 'hnswlib', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
