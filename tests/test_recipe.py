"""The recipe's stages: their order, what each takes up from the one before it, and what is not done twice."""

from pathlib import Path

import pytest

from train_ref import recipe, sft, train


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the two trainers are asked for; both leave behind what a run does."""
    asked: list[list[str]] = []

    def trainer(arguments: list[str]) -> None:
        asked.append(arguments)
        out = Path(arguments[arguments.index("--out") + 1])
        out.mkdir(parents=True, exist_ok=True)
        for name in (*recipe.TOKENIZER, "state.pt"):
            if not (out / name).exists():
                (out / name).write_text(out.name)

    monkeypatch.setattr(sft, "main", trainer)
    monkeypatch.setattr(train, "main", trainer)
    monkeypatch.setattr(recipe, "convert_all", lambda source, target, **_: (source, target))
    return asked


def option(call: list[str], name: str) -> str:
    """The value of an option of a call."""
    return call[call.index(name) + 1]


def test_every_stage_takes_up_what_the_one_before_it_left(calls: list[list[str]], tmp_path: Path) -> None:
    recipe.make_agents(tmp_path, recipe.Recipe(), seed=7, words=tmp_path / "words")
    assert [Path(option(call, "--out")).name for call in calls] == [
        "answerer", "manager", "answerer-grpo", "manager-grpo",
    ]  # fmt: skip
    answerer, manager, answerer_grpo, manager_grpo = calls
    assert "--init" not in answerer
    assert option(manager, "--init") == str(tmp_path / "answerer")
    assert (tmp_path / "manager" / "tokenizer.json").read_text() == "answerer"
    assert option(answerer_grpo, "--init") == str(tmp_path / "answerer")
    assert option(manager_grpo, "--init") == str(tmp_path / "manager")
    assert option(manager_grpo, "--answerer") == str(tmp_path / "answerer-grpo" / "best")
    assert {option(call, "--seed") for call in calls} == {"7"}
    assert "--growth-cost" in manager_grpo
    assert "--growth-cost" not in answerer_grpo


def test_what_is_done_is_not_done_again_and_what_was_begun_goes_on(calls: list[list[str]], tmp_path: Path) -> None:
    recipe.make_agents(tmp_path, recipe.Recipe(), seed=1)
    calls.clear()
    recipe.make_agents(tmp_path, recipe.Recipe(), seed=1)
    assert calls == []
    (tmp_path / "manager-grpo" / "done").unlink()
    recipe.make_agents(tmp_path, recipe.Recipe(), seed=1)
    assert len(calls) == 1
    assert "--resume" in calls[0]
