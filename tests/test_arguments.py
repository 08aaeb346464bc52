"""What callers get wrong: an InvalidInputError that names the argument, before anything is done."""

from __future__ import annotations

import numpy as np
import pytest

from memr1_lite.answer_agent import AnswerAgent
from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents, BankConfig
from memr1_lite.conversations import read_jsonl
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import (
    ChangeNotFoundError,
    ClosedError,
    ConversationFormatError,
    InvalidInputError,
    MemoryNotFoundError,
    MemR1Error,
    ModelError,
)
from memr1_lite.llm import END
from memr1_lite.memory_manager import MemoryManager
from memr1_lite.testing import ScriptedModel


@pytest.fixture
def bank():
    """A bank in which Andrew said, on 7 May 2023, that he has a dog."""
    manager = MemoryManager(ScriptedModel([("ADD", " Andrew has a dog.", END)]))
    reader = AnswerAgent(ScriptedModel([("[1]", ":", " Buddy")]))
    with MemoryBank.open(":memory:", embedder=LexicalEmbedder(), memory_manager=manager, answer_agent=reader) as opened:
        opened.remember("I have a dog.", speaker="Andrew", at="2023-05-07")
        yield opened


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda bank: bank.record("Hi there", at="soon"), r"^at='soon' is not a date"),
        (lambda bank: bank.search("dog", since="soon"), r"^since='soon' is not a date"),
        (lambda bank: bank.search("dog", until="soon"), r"^until='soon' is not a date"),
        (lambda bank: bank.search("dog", as_of="soon"), r"^as_of='soon' is not a moment"),
        (lambda bank: bank.diff("soon"), r"^since='soon' is not a moment"),
        (lambda bank: bank.search("dog", since="2023-06-01", until="2023-05-01"), "until='2023-05-01' is not after"),
        (lambda bank: bank.search("dog", since="2023-05-07", until="2023-05-07"), "first moment that is left out"),
        (lambda bank: bank.search("dog", k="3"), r"k='3' is not a whole number"),
        (lambda bank: bank.search("dog", k=2.5), r"k=2\.5 is not a whole number"),
        (lambda bank: bank.search("dog", k=0), "k=0 is too small"),
        (lambda bank: bank.ask("Dog?", k="3"), r"k='3' is not a whole number"),
        (lambda bank: bank.ask_stream("Dog?", k="3").answer, r"k='3' is not a whole number"),
        (lambda bank: bank.search("dog", legs="foo"), "legs='foo' is none of both, words, vectors"),
        (lambda bank: bank.search("dog", speaker=7), "speaker must be a text, not int"),
        (lambda bank: bank.search("dog", deadline="x"), "deadline='x'"),
        (lambda bank: bank.remember("I like tea.", deadline=float("nan")), "deadline=nan"),
        (lambda bank: bank.remember("I like tea.", deadline=float("inf")), "deadline=inf"),
        (lambda bank: bank.list(limit="a"), "limit='a' is not a whole number"),
        (lambda bank: bank.list(offset=-1), "offset=-1 is too small"),
        (lambda bank: bank.get("x"), "memory_id='x' is not a whole number"),
        (lambda bank: bank.get(10**30), "memory_id is a number of 100 bits"),
        (lambda bank: bank.history("x"), "memory_id='x'"),
        (lambda bank: bank.forget(None), "memory_id=None"),
        (lambda bank: bank.undo("a"), "change='a'"),
        (lambda bank: bank.undo(-(10**30)), "change is a number of 100 bits"),
        (lambda bank: bank.diff(10**30), "since is a number of 100 bits"),
    ],
)
def test_what_cannot_be_used_is_named(bank, call, said):
    before = bank.stats()
    with pytest.raises(InvalidInputError, match=said):
        call(bank)
    assert bank.stats() == before


def test_numbers_of_numpy_are_numbers_and_an_id_that_nothing_has_is_not_found(bank):
    assert bank.get(np.int64(1)).text == bank.search("dog", k=np.int32(1), deadline=np.float32(60))[0].text
    assert len(bank.list(limit=np.int64(5))) == 1
    for number in (0, -1, 2**63 - 1):
        with pytest.raises(MemoryNotFoundError):
            bank.get(number)
        with pytest.raises(ChangeNotFoundError):
            bank.undo(number)


def test_a_speaker_is_found_whatever_the_case_and_an_exact_name_first(bank):
    bank.record("My dog is old.", speaker="Élodie")
    assert [found.speaker for found in bank.search("dog", speaker="andrew")] == ["Andrew"]
    assert [found.speaker for found in bank.search("dog", speaker="éLODIE")] == ["Élodie"]
    assert bank.search("dog", speaker="Andre") == []
    bank.record("My dog is young.", speaker="ANDREW")
    assert [found.text for found in bank.search("dog", speaker="ANDREW")] == ["My dog is young."]
    with pytest.raises(InvalidInputError, match="speaker='andrew' may be 'ANDREW' or 'Andrew'"):
        bank.search("dog", speaker="andrew")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BankConfig(candidats=30), "BankConfig has no setting 'candidats': did you mean candidates?"),
        (lambda: BankConfig(gpu=1), "BankConfig has no setting 'gpu': it has similar, candidates,"),
        (lambda: BankConfig(candidates=0), "BankConfig(candidates=0): input should be greater than or equal to 1."),
        (lambda: BankConfig(engine="gpu"), "BankConfig(engine='gpu'): input should be 'thread' or 'process'."),
        (lambda: Agents(manager="a.gguf", base="b.gguf"), "Agents: base is the model of both agents: give LoRAs"),
        (lambda: Agents(manager_lora="a.gguf"), "Agents: a LoRA needs the model that it was trained on: give base"),
        (lambda: Agents(manager=7), "Agents(manager=7): "),
    ],
)
def test_settings_that_cannot_be_used_are_an_error_of_ours(make, said):
    with pytest.raises(InvalidInputError) as caught:
        make()
    assert str(caught.value).startswith(said)


def test_use_after_close_is_no_failure_of_a_model():
    bank = MemoryBank.open(":memory:", embedder=LexicalEmbedder())
    bank.close()
    with pytest.raises(ClosedError) as caught:
        bank.ask("Dog?")
    assert isinstance(caught.value, MemR1Error)
    assert not isinstance(caught.value, ModelError)


def test_the_export_of_a_bank_is_no_conversation_and_the_error_says_what_takes_it(bank, tmp_path):
    bank.export(tmp_path / "export.jsonl")
    with pytest.raises(ConversationFormatError, match=r"line 1.*--format bank"):
        read_jsonl(tmp_path / "export.jsonl")
