"""The experiment: its teachers err as described, its few questions are few, and it runs and goes on."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import datetime
from functools import partial

import pytest

from memr1_lite.answer_agent import AnswerTemplate, parse_reply
from memr1_lite.llm import Segment
from memr1_lite.memory_manager import ManagerTemplate, parse_operations, written_operations
from memr1_lite.records import Candidate
from train_ref import cheap_teacher, miniature
from train_ref.config import Config
from train_ref.environment import AnswererEnvironment, AnswererTask
from train_ref.policy import OwnPolicy
from train_ref.rollout import sample
from train_ref.tasks import answerer_task, told_task
from train_ref.tiny import make_agent
from train_ref.tokenizer import output_ids
from train_ref.vocabulary import AgentVocabulary


def test_the_teacher_errs_where_untrained_models_do_and_nowhere_else():
    rng = random.Random(2)
    pairs = Counter()
    for _ in range(400):
        task, said = told_task(rng, "train")
        cheap = cheap_teacher.cheap_operations(task, said)
        task.bank.after(cheap, task.message)  # it can always be carried out
        if said.intent in ("change", "repeat", "retract", "new", "small"):
            pairs[said.intent, tuple(o.op for o in task.right), tuple(o.op for o in cheap)] += 1
    assert pairs["change", ("UPDATE",), ("DELETE", "ADD")] > 30
    assert pairs["repeat", ("NOOP",), ("ADD",)] > 10
    assert pairs["new", ("ADD",), ("ADD",)] > 30
    assert pairs["small", ("NOOP",), ("NOOP",)] > 10
    assert {cheap for (intent, _, cheap), _ in pairs.items() if intent == "small"} == {("NOOP",)}
    assert pairs["retract", ("DELETE",), ("NOOP",)] > 3


def test_what_the_teacher_says_is_said_in_ids_as_the_sampler_would(tmp_path):
    vocabulary = AgentVocabulary(make_agent(tmp_path / "agent", "manager"))
    rng = random.Random(3)
    for _ in range(20):
        task, said = told_task(rng, "train")
        cheap = cheap_teacher.cheap_operations(task, said)
        values = written_operations(cheap, task.shown)
        assert parse_operations(values, task.shown) == cheap
        ids = output_ids(
            values, ManagerTemplate(len(task.shown)), lambda text, trusted: vocabulary.tokenize(Segment(text, trusted))
        )
        written = "".join(value + ("\n" if value.startswith(" ") else "") for value in values)
        assert vocabulary.decode(ids) == written


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Which town did Ann visit?", "Lyon"),
        ("How many dogs does Ann have?", "Bo and Max"),  # it cannot count
        ("Did Ann visit Lyon?", "Ann visited Lyon"),  # nor say yes
        ("Which town did Carl visit?", "Lyon"),  # nor that it does not know
    ],
)
def test_the_answering_teacher_reads_on_behind_what_was_asked(question, said):
    day = datetime(2024, 5, 1)
    texts = ("Ann has two dogs, Bo and Max.", "Ann visited Lyon.")
    candidates = tuple(Candidate(kind="memory", id=n, text=text, at=day) for n, text in enumerate(texts, start=1))
    task = AnswererTask(question, candidates, None)
    named, plain = (parse_reply(cheap_teacher.cheap_reply(task, distil=distil)) for distil in (True, False))
    assert named.text == plain.text == said
    assert len(named.cited) == 1
    assert plain.cited == ()


def test_without_distillation_no_candidate_is_named(tmp_path):
    policy = OwnPolicy.load(make_agent(tmp_path / "agent", "answerer"))
    rng = random.Random(1)
    tasks = [answerer_task(rng, "train", 4) for _ in range(4)]
    cited = {}
    for distil in (True, False):
        environment = AnswererEnvironment(Config(), distil=distil)
        prompts = [environment.prompt(task) for task in tasks]
        groups = sample(policy, prompts, 4, temperature=1.0, max_output=96)
        said = [rollout.values for group in groups for rollout in group.rollouts if rollout.values]
        cited[distil] = sum(value.startswith("[") for values in said for value in values)
    assert cited[True] > 0
    assert cited[False] == 0
    lesson = partial(cheap_teacher.answerer_lesson, most=4, distil=False)
    prompt, values = lesson(rng)
    assert values[0] == ":"
    assert isinstance(prompt.template, AnswerTemplate)


def test_only_so_many_questions_are_used_and_both_agents_learn_from_the_same():
    tasks = miniature.few_tasks(20, 1)
    assert sum(len(task.questions) for task in tasks) == 20
    asked = miniature.left_behind(tasks, [task.right for task in tasks])
    questions = {question for task in tasks for question in task.questions}
    assert {(task.question, task.answer) for task in asked} <= questions
    assert len(asked) > 15  # a bank that is left empty has nothing to show
    assert all(0 < len(task.candidates) <= miniature.CANDIDATES for task in asked)


def test_the_experiment_runs_and_what_is_done_is_not_run_again(tmp_path, capsys, monkeypatch):
    agents = {role: str(make_agent(tmp_path / role, role)) for role in ("manager", "answerer")}
    small = "--teach 1 --batch 2 --steps 1 --prompts 2 --group 2 --measured 3 --valid 2".split()
    out = tmp_path / "out"
    command = ["--manager", agents["manager"], "--answerer", agents["answerer"], "--out", str(out), *small]
    miniature.main([*command, "--seeds", "1", "2"])
    first = capsys.readouterr().out.partition("| agents |")[2]
    for row in (
        "before the teacher",
        "both by GRPO",
        "152 questions: both by GRPO",
        "without distillation: both by GRPO",
    ):
        assert f"| {row} |" in first
    assert len(json.loads((out / "results.json").read_text())) == 6
    assert (out / "curves.png").stat().st_size > 1000
    # Results lost, agents kept: nothing is trained again, and all comes out as before.
    (out / "results.json").unlink()
    monkeypatch.setattr(miniature, "teach", None)
    monkeypatch.setattr(miniature, "Run", None)
    miniature.main([*command, "--seeds", "1", "2"])
    assert capsys.readouterr().out.partition("| agents |")[2] == first


def test_a_stage_that_was_interrupted_is_gone_on_with(tmp_path, monkeypatch):
    agents = {role: make_agent(tmp_path / role, role) for role in ("manager", "answerer")}
    c = Config(steps=2, every=1, prompts=2, group=2, max_output=96)
    weights = []
    for name in ("whole", "halted"):
        setting = miniature.Setting(agents["manager"], agents["answerer"], tmp_path / name, c, 1, 2, 1e-4, 2, 2)
        seed = miniature.Seed(setting, 1)
        seed.start()
        environment, source = AnswererEnvironment(c), miniature.Source(lambda r: answerer_task(r, "train", 4), [])
        source.valid = seed.valid("answerer")
        if name == "halted":
            seed.config = replace(c, seed=1, steps=1)
            seed.trained("run", "answerer-taught", environment, source)
            (seed.folder / "run" / "done").unlink()
            seed.config = replace(c, seed=1)
        weights.append(seed.trained("run", "answerer-taught", environment, source).state())
        lines = (seed.folder / "run" / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]  # gone on with, not begun again
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])


def test_the_interval_is_students_and_gains_are_within_a_seed():
    start = [{"cheap teacher": (v, 1.0)} for v in (0.1, 0.2, 0.3)]
    rows = miniature.table([r | {"both by GRPO": (r["cheap teacher"][0] + 0.25, 0.5)} for r in start])
    assert "| cheap teacher | 0.200 +-0.248 |  | 1.00 |" in rows  # 4.303 * 0.1 / sqrt(3)
    assert "| both by GRPO | 0.450 +-0.248 | 0.250 +-0.000 | 0.50 |" in rows
