"""The experiment: its teacher errs as described, its few questions are few, and it runs and goes on."""

from __future__ import annotations

import json
import random
from collections import Counter

from memr1_lite.memory_manager import ManagerTemplate, parse_operations, written_operations
from train_ref import miniature
from train_ref.tasks import answerer_task, manager_task, told_task
from train_ref.tiny import make_agent
from train_ref.vocabulary import AgentVocabulary


def test_the_teacher_errs_where_untrained_models_do_and_nowhere_else():
    rng = random.Random(2)
    pairs = Counter()
    for _ in range(400):
        task, said = told_task(rng, "train")
        cheap = miniature.cheap_operations(task, said)
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
        cheap = miniature.cheap_operations(task, said)
        values = written_operations(cheap, task.shown)
        assert parse_operations(values, task.shown) == cheap
        ids = miniature.output_ids(vocabulary, values, ManagerTemplate(len(task.shown)))
        written = "".join(value + ("\n" if value.startswith(" ") else "") for value in values)
        assert vocabulary.decode(ids) == written


def test_only_so_many_questions_are_used():
    tasks = miniature.few(lambda rng: manager_task(rng, "train"), 20, 1)
    assert sum(len(task.questions) for task in tasks) == 20
    assert len(miniature.few(lambda rng: answerer_task(rng, "train", 3), 20, 1)) == 20


def test_the_experiment_runs_and_a_seed_that_is_done_is_not_run_again(tmp_path, capsys, monkeypatch):
    agents = {role: str(make_agent(tmp_path / role, role)) for role in ("manager", "answerer")}
    small = "--teach 1 --steps 1 --prompts 2 --group 2 --measured 3 --valid 2 --questions 9".split()
    command = ["--manager", agents["manager"], "--answerer", agents["answerer"], "--out", str(tmp_path / "out"), *small]
    miniature.main([*command, "--seeds", "1", "2"])
    results = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [result["seed"] for result in results] == [1, 2]
    names = {"taught", "manager by GRPO", "answer agent by GRPO", "both by GRPO", "always NOOP", "always ADD"}
    assert names <= set(results[0])
    monkeypatch.setattr(miniature, "one_seed", None)
    miniature.main([*command, "--seeds", "1", "2"])
    assert "| both by GRPO |" in capsys.readouterr().out


def test_the_interval_is_students():
    rows = miniature.table([{"a": 0.1}, {"a": 0.2}, {"a": 0.3}])
    assert "| a | 0.200 | +-0.248 |" in rows  # 4.303 * 0.1 / sqrt(3)
