"""The engine's benchmark on a tiny model: what it counts is what the engine did, and it notices when that is wrong."""

from __future__ import annotations

import pytest
from gguf_maker import make_gguf

from benchmarks import engine, engine_parts, engine_peers, engine_pictures, engine_resources, engine_threads
from benchmarks.engine_cases import ForcedModel, bare, cases, ours, questions
from memr1_lite import MemoryBank, answer_agent, memory_manager
from memr1_lite.llama import LlamaModel
from memr1_lite.llm import END


def talk(name):
    turns = [{"dia_id": f"D1:{n}", "speaker": name, "text": f"I saw {n} dogs."} for n in range(30)]
    notes = [[f"{name} saw {n} dogs in Lyon.", f"D1:{n}"] for n in range(30)]
    return {
        "conversation": {"session_1": turns},
        "observation": {"session_1_observation": {name: notes}},
        "qa": [{"question": "How many dogs?"}],
    }


TALKS = [talk("Andrew"), talk("Audrey")]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_gguf(tmp_path_factory.mktemp("engine") / "made", chatml=True)


@pytest.fixture(scope="module")
def found():
    return cases(TALKS, 2, memory_manager.INSTRUCTIONS)


@pytest.fixture
def forced(path):
    with LlamaModel.load(path, threads=1) as model:
        yield ForcedModel(model)


def test_ours_and_the_bare_loop_say_the_same_of_every_kind(forced, found):
    for group in found.values():
        for case in group:
            assert ours(forced, case) > 0
            assert bare(forced, case) >= 0
    rows = dict(engine.decoding(forced, found, 1))
    assert len(rows) == 6
    assert list(rows)[5].startswith("the four together")


def test_an_engine_that_says_something_else_is_noticed(forced, found, monkeypatch):
    monkeypatch.setattr("benchmarks.engine_cases.FORCE", 0.0)
    with pytest.raises(AssertionError):
        ours(forced, found["UPDATE"][0])


def test_tokens_are_counted_with_and_without_states_on_disk(path, found):
    asked = questions(TALKS, 2, answer_agent.INSTRUCTIONS, 8)
    groups = {"remember": found["NOOP"], "ask": asked}
    with LlamaModel.load(path, threads=1) as model:
        fixed = {role: model._fixed(group[0].prompt) for role, group in groups.items()}
        whole = {role: len(model.prompt_ids(group[0].prompt)) for role, group in groups.items()}
    for on_disk in (True, False):
        for row, (role, group) in zip(engine.prompts(path, groups, on_disk=on_disk), groups.items(), strict=True):
            first, then, again, restarted = (float(number) for number in row[1].split("; ")[1].split(", "))
            assert row[0].startswith(role)
            assert group
            # A call also evaluates what is left of the word it says; a beginning that is kept is not read again.
            assert first >= whole[role]
            assert then <= first - fixed[role] + 16
            assert again <= then
            assert (restarted <= first - fixed[role]) == on_disk


def test_the_json_that_a_peer_writes_is_the_same_operation():
    assert engine_peers.as_json(("UPDATE", "[3]", " Two dogs.", END)) == (
        '{"operation": "UPDATE", "memory": 3, "text": "Two dogs."}'
    )
    assert engine_peers.as_json(("NOOP",)) == '{"operation": "NOOP"}'


def test_a_peer_that_ends_by_a_signal_or_writes_something_else_has_no_figure(path, forced, found):
    case = found["DELETE"][0]
    ids, said = forced.model.prompt_ids(case.prompt), forced.prepare(case)
    job = {"path": str(path), "threads": 1, "rounds": 1, "grammar": False, "draft": False}
    right = {"prompt": ids, "said": said}
    seconds, problem = engine_peers.child(job | {"cases": [right]})
    assert seconds > 0
    assert problem == ""
    missing = engine_peers.child(job | {"path": str(path) + "x", "cases": [right]})
    assert missing[1].startswith("failed: ")
    impossible = engine_peers.child(job | {"grammar": True, "cases": [right]})  # the grammar forbids it
    assert "it wrote" in impossible[1]


def test_only_what_is_outside_llama_decode_is_our_own_work(forced, found):
    now = [0.0]

    class Slow:
        def __getattr__(self, name):
            return getattr(library, name)

        def llama_decode(self, context, batch):
            now[0] += 100
            return library.llama_decode(context, batch)

    library = forced.session._library
    forced.session._library = slow = Slow()
    forced.clock = lambda: now[0]
    assert engine_resources.own_time(forced, found["ADD"], 1) == 0
    assert now[0] > 0
    assert forced.session._library is slow


def test_a_child_measures_loading_and_first_tokens_of_both(forced, path, found):
    rows = dict(engine_resources.resources(forced.model, path, found["NOOP"], 1))
    assert len(rows) == 6
    assert all("x  (" in measure for measure in rows.values())


def test_a_call_is_split_into_parts_that_make_up_the_whole(path):
    with LlamaModel.load(path, threads=1) as model:
        agents = engine_pictures.TimedAgents(model, model, forced=True, threads=1)
        with MemoryBank.open(":memory:", memory_manager=agents, answer_agent=agents) as bank:
            for note in ("Andrew keeps bees.", "Andrew has two dogs."):
                agents.note, before = note, model.evaluated_tokens
                parts = engine_pictures.split(agents, lambda note=note: bank.remember(f"He said: {note}"))
                assert model.evaluated_tokens - before == agents.used.tokens_read + agents.used.tokens_written
            assert [memory.text for memory in bank.list()] == ["Andrew keeps bees.", "Andrew has two dogs."]
            assert len(parts) == len(engine_pictures.PARTS)
            assert all(part > 0 for part in parts)
            assert engine_pictures.split(agents, lambda: bank.remember("Hello!")) is None  # no agent had to think
            answers = []
            engine_pictures.split(agents, lambda: answers.append(bank.ask("What does Andrew keep?")))
            assert answers[0].text == engine_pictures.ANSWER[-1].strip()


def test_pictures_are_drawn_of_what_was_measured(tmp_path):
    pytest.importorskip("matplotlib")
    assert engine_pictures.peer("mem0 2.2.1=8600,42") == ("mem0 2.2.1", (8600.0, 42.0))
    engine_pictures.draw_parts({"remember": (0.1, 0.1, 0.5, 0.3)}, tmp_path / "parts.png")
    engine_pictures.draw_tokens({"ours": (240.0, 22.0)}, tmp_path / "tokens.png")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("parts.png", "tokens.png"))


def test_threads_are_compared_with_one_that_is_alone():
    slow, quick = {"read": [12.8], "written": [0.1] * 19 + [0.4]}, {"read": [6.4], "written": [0.05] * 20}
    lines = engine_threads.table({(1, "passive", False): slow, (2, "active", True): quick})
    assert lines[2] == "| 1 | passive | no | 1.00 (100.0 ms a token) | 1.00 (100.0 ms) | 4.00 (400.0 ms) |"
    assert lines[3] == "| 2 | active | yes | 0.50 (50.0 ms a token) | 0.50 (50.0 ms) | 0.50 (50.0 ms) |"


def test_batches_are_measured_with_all_logits_and_with_the_last_alone(path, monkeypatch):
    asked = []
    monkeypatch.setattr(engine_parts, "HELD", 40)
    with LlamaModel.load(path, threads=1) as model:
        evaluate = model._session.evaluate

        def noted(ids, rows):
            asked.append((len(ids), rows))
            return evaluate([5] * len(ids), rows)

        monkeypatch.setattr(model._session, "evaluate", noted)
        best = engine_parts.by_batch(model, lambda: float(len(asked)), 1)
    assert list(best) == list(engine_parts.BATCHES)
    assert set(asked[1:]) == {(count, rows) for count in engine_parts.BATCHES for rows in (count, 1)}
    assert all(times == (1.0, 1.0) for times in best.values())
