"""The environments: the store's rules without a store, and rewards that only completions can make differ."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime

import pytest
from gguf_maker import make_gguf
from hypothesis import given, settings
from hypothesis import strategies as st

from memr1_lite.answer_agent import INSTRUCTIONS, AnswerAgent
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import MalformedOutputError, MemR1Error
from memr1_lite.llama import LlamaModel
from memr1_lite.records import Add, Candidate, Delete, Memory, Message, Noop, Reply, Update
from memr1_lite.store import Store
from train_ref.answering import UNANSWERED, AgentAnswerer, CachedAnswerer, PolicyAnswerer, frozen_answerer
from train_ref.banks import Bank
from train_ref.config import Config
from train_ref.environment import AnswererEnvironment, AnswererTask, ManagerEnvironment, ManagerTask
from train_ref.policy import OwnPolicy
from train_ref.rewards import answer_reward, manager_reward
from train_ref.rollout import Group, Rollout
from train_ref.tasks import answerer_task, manager_task
from train_ref.tiny import make_agent

EMBEDDER = LexicalEmbedder()
CONFIG = Config()
AT = datetime(2023, 6, 16)

ids, versions = st.integers(1, 4), st.integers(1, 3)
texts = st.sampled_from(["Andrew has a dog.", "Andrew lives in Lyon.", "Audrey is a nurse.", "  ", ""])
operation = st.one_of(
    st.builds(Add, op=st.just("ADD"), text=texts),
    st.builds(Update, op=st.just("UPDATE"), memory_id=ids, version=versions, text=texts),
    st.builds(Delete, op=st.just("DELETE"), memory_id=ids, version=versions),
    st.just(Noop(op="NOOP")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(operation, max_size=3), max_size=8))
def test_a_bank_does_with_any_operations_what_the_real_store_does(decisions):
    with Store.open(":memory:", embedder=EMBEDDER.name, dimension=EMBEDDER.dimension) as store:
        bank = Bank()
        for number, operations in enumerate(decisions):
            message = store.record("Andrew", f"message {number}", AT)
            vectors = {o.text: EMBEDDER.embed([o.text])[0] for o in operations if isinstance(o, Add | Update)}
            refused = None
            try:
                store.apply(operations, message_id=message.id, reason="manager", vectors=vectors)
            except MemR1Error as error:
                refused = type(error)
            if refused is None:
                bank = bank.after(operations, message)
            else:
                with pytest.raises(refused):
                    bank.after(operations, message)
            assert list(bank.memories) == store.memories()


def dogs():
    bank = Bank((Memory(id=1, text="Andrew has a dog named Buddy."), Memory(id=2, text="Audrey lives in Lyon.")), 3)
    message = Message(id=9, speaker="Andrew", text="I adopted another dog named Scout.", at=AT)
    questions = (("How many dogs does Andrew have?", "two"), ("Where does Audrey live?", "Lyon"))
    return ManagerTask(message, bank, bank.memories, questions)


class Reader:
    """Answers from what is literally there."""

    def __init__(self):
        self.calls = []

    def answer_all(self, asked):
        self.calls += asked
        return [self._answer(question, " ".join(c.text for c in shown)) for question, shown in asked]

    @staticmethod
    def _answer(question, read):
        for words, answer in (("two dogs", "two"), ("dog", "one")) if "dogs" in question else (("Lyon", "Lyon"),):
            if words in read:
                return Reply(text=answer, known=True)
        return Reply(text="I don't know.", known=False)


def said(*values, ended=True):
    return Rollout(ids=[1], allowed=[None], log_probs=[0.0], values=values, ended=ended)


UPDATED = said("UPDATE", "[1]", " Andrew has two dogs, Buddy and Scout.", "<|end|>")
ADDED = said("ADD", " Andrew has a dog named Scout.", "<|end|>")
LOST = said("DELETE", "[2]", "<|end|>")
CUT = said("ADD", ended=False)


def judge(*rollouts, config=CONFIG, reader=None):
    environment = ManagerEnvironment(CachedAnswerer(reader or Reader()), config)
    return environment.judge([dogs()], [Group((1,), rollouts)])


def test_a_decision_earns_what_its_questions_are_answered_right():
    judged = judge(UPDATED, ADDED, LOST, CUT)
    assert judged.rewards_PG.tolist() == [[1.0, 0.5, 0.0, 0.0]]
    assert judged.sums == {"malformed": 1, "op_UPDATE": 1, "op_ADD": 1, "op_DELETE": 1, "grown": 0} | {
        "exact_match": 1.5, "growth_cost": 0.0,
    }  # fmt: skip


def test_memories_more_than_before_cost_where_asked_for():
    judged = judge(UPDATED, ADDED, config=replace(CONFIG, growth_cost=0.25))
    assert judged.rewards_PG.tolist() == [[1.0, 0.25]]


@pytest.mark.parametrize("reward", ["exact", "f1"])
def test_the_parts_of_a_reward_are_counted_apart(reward):
    config = replace(CONFIG, growth_cost=0.25, reward=reward)
    sums = judge(UPDATED, ADDED, LOST, CUT, config=config).sums
    assert (sums["exact_match"], sums["growth_cost"]) == (1.5, 0.25)
    rewards = judge(UPDATED, ADDED, LOST, CUT, config=config).rewards_PG
    assert float(rewards.sum()) == pytest.approx(sums["exact_match"] - sums["growth_cost"])


def test_equal_completions_of_a_group_earn_the_same_and_are_asked_about_once():
    reader = Reader()
    judged = judge(ADDED, ADDED, UPDATED, ADDED, ADDED, reader=reader)
    assert judged.rewards_PG.tolist() == [[0.5, 0.5, 1.0, 0.5, 0.5]]
    assert len(reader.calls) == len(set(reader.calls)) == 4


def test_every_completion_begins_at_the_same_bank():
    task = dogs()
    environment = ManagerEnvironment(CachedAnswerer(Reader()), CONFIG)
    together = environment.judge([task], [Group((1,), (LOST, UPDATED))])
    assert together.rewards_PG.tolist() == [[0.0, 1.0]]
    assert task == dogs()


def test_rewards_stay_with_their_tasks_and_completions_in_whatever_order_they_come():
    known, unknown = dogs(), replace(dogs(), questions=(("How many dogs does Andrew have?", None),))
    groups = [Group((1,), (UPDATED, CUT, ADDED)), Group((1,), (LOST, CUT, UPDATED))]
    environment = ManagerEnvironment(CachedAnswerer(Reader()), CONFIG)
    rewards = environment.judge([known, unknown], groups).rewards_PG
    assert rewards.tolist() == [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    assert environment.judge([unknown, known], groups[::-1]).rewards_PG.tolist() == rewards.flip(0).tolist()
    turned = [Group((1,), group.rollouts[::-1]) for group in groups]
    assert environment.judge([known, unknown], turned).rewards_PG.tolist() == rewards.flip(1).tolist()
    decisions = [ManagerEnvironment.operations(known, UPDATED), ManagerEnvironment.operations(unknown, LOST)]
    assert environment.judge_operations([known, unknown], decisions).rewards_PG.tolist() == [[1.0], [0.0]]


def test_the_policies_that_never_look_are_measured_beside_what_is_right():
    task = replace(dogs(), right=(Update(op="UPDATE", memory_id=1, version=1, text="Andrew has two dogs."),))
    found = ManagerEnvironment(CachedAnswerer(Reader()), CONFIG).constant_policies([task])
    assert found == {"always NOOP": 0.5, "always ADD": 0.5, "right operations": 1.0}


def test_an_answer_earns_by_exact_match_or_by_shared_words():
    known, unknown = Reply(text="The two dogs.", known=True), Reply(text="I don't know.", known=False)
    assert answer_reward(known, "two dogs", CONFIG) == 1
    assert answer_reward(known, "two", CONFIG) == 0
    assert answer_reward(known, "two", replace(CONFIG, reward="f1")) == pytest.approx(2 / 3)
    assert answer_reward(known, None, CONFIG) == answer_reward(unknown, "two", CONFIG) == 0
    assert answer_reward(unknown, None, CONFIG) == 1
    # Words that say the same as not knowing are still an answer.
    assert answer_reward(Reply(text="I don't know.", known=True), None, CONFIG) == 0


def test_a_bank_that_shrinks_earns_nothing_for_it():
    assert manager_reward([1.0, 0.0], -3, replace(CONFIG, growth_cost=0.1)) == 0.5


def test_the_answer_environment_compares_with_the_right_answer():
    task = AnswererTask("Who?", (Candidate(kind="memory", id=1, text="Ada sings."),), "Ada")
    nothing = replace(task, answer=None)
    rollouts = (said("[1]", ":", " Ada"), said("[1]", ":", " Bob"), said("NONE"), said("[1]", ended=False))
    environment = AnswererEnvironment(CONFIG)
    judged = environment.judge([task, nothing], [Group((1,), rollouts)] * 2)
    assert judged.rewards_PG.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert judged.sums == {"malformed": 2, "unknown": 2, "cited": 4, "exact_match": 2}
    assert environment.constant_policies([task, nothing]) == {"always NONE": 0.5, "always yes": 0.0}


def test_the_memory_most_like_a_text_comes_first():
    assert [memory.id for memory in dogs().bank.nearest("Where does Audrey live?", 2)] == [2, 1]
    assert dogs().bank.candidates("Has Andrew a dog?", 1)[0].id == 1
    assert Bank().nearest("anything", 3) == []


def test_an_answerer_of_the_sdk_and_of_a_checkpoint_say_the_same(tmp_path):
    from convert.to_gguf import to_gguf
    from memr1_lite.llama import LlamaModel

    folder = make_agent(tmp_path / "agent", "answerer")
    to_gguf(folder, tmp_path / "agent.gguf", outtype="F32")
    rng = random.Random(6)
    asked = [(task.question, task.candidates) for task in (answerer_task(rng, "train", 5) for _ in range(10))]
    asked.append(("Who?", ()))
    ours = PolicyAnswerer(OwnPolicy.load(folder), batch=4).answer_all(asked)
    with LlamaModel.load(tmp_path / "agent.gguf", exact_cache=True) as model:
        theirs = AgentAnswerer(AnswerAgent(model)).answer_all(asked)
    assert [(r.text, r.known, r.cited) for r in ours] == [(r.text, r.known, r.cited) for r in theirs]
    assert not ours[-1].known


@pytest.mark.parametrize("role", [None, "answerer"])
def test_an_answer_agent_that_was_not_trained_for_its_role_is_told_what_to_do_as_in_the_sdk(
    tmp_path, monkeypatch, role
):
    asked = []

    def complete(model, prompt, template, sampling=None):
        asked.append("".join(segment.text for segment in prompt))
        raise MalformedOutputError("It did not end.", "")

    monkeypatch.setattr(LlamaModel, "complete", complete)
    answerer = frozen_answerer(make_gguf(tmp_path, role=role))
    question = ("Where does Andrew live?", (Candidate(kind="memory", id=1, text="Andrew lives in Lyon.", at=AT),))
    assert answerer.answer_all([question]) == [UNANSWERED]
    assert (INSTRUCTIONS in asked[0]) == (role is None)


def test_an_answer_that_does_not_end_is_neither_right_nor_not_known():
    assert answer_reward(UNANSWERED, None, CONFIG) == answer_reward(UNANSWERED, "Ada", CONFIG) == 0


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_worlds_manager_tasks_are_winnable_by_what_is_right(split):
    """Read literally, the bank after the right operations holds the answer of every question that has one."""
    rng = random.Random(3)
    tasks = [manager_task(rng, split) for _ in range(60)]
    assert {o.op for task in tasks for o in task.right} == {"ADD", "UPDATE", "DELETE", "NOOP"}
    held, asked = 0, 0
    for task in tasks:
        assert task.questions
        after = task.bank.after(task.right, task.message)
        read = " ".join(memory.text for memory in after.memories)
        for _, answer in task.questions:
            if answer and answer not in ("yes", "no", "one", "two", "three", "four", "five"):
                asked += 1
                held += answer.removeprefix("the ") in read or answer[:1].upper() + answer[1:] in read
    assert asked > 100
    assert held > 0.95 * asked
