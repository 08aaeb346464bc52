"""Benchmark files of exactly the published shapes are read, any other is refused with the place. All texts are ours."""

from __future__ import annotations

import copy
import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from memr1_lite import evaluation
from memr1_lite.errors import ConversationFormatError, InvalidInputError
from memr1_lite.evaluation.benchmark import limited
from memr1_lite.evaluation.locomo import read_locomo_benchmark
from memr1_lite.evaluation.longmemeval import read_longmemeval
from memr1_lite.evaluation.msc import read_msc
from memr1_lite.evaluation.world import read_world
from train_ref.world import __main__ as world_file

LOCOMO = [
    {
        "sample_id": "conv-30",
        "conversation": {
            "speaker_a": "Ann",
            "speaker_b": "Ben",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                {"speaker": "Ann", "dia_id": "D1:1", "text": "I keep bees."},
                {"speaker": "Ben", "dia_id": "D1:2", "text": "Nice! I bought a kayak."},
            ],
        },
        "qa": [
            {"question": "What does Ann keep?", "answer": "bees", "evidence": ["D1:1"], "category": 4},
            {"question": "How many kayaks?", "answer": 1, "evidence": ["D1:02; D1:1", "D:9:9"], "category": 1},
            {"question": "Why does Ben keep bees?", "adversarial_answer": "honey", "evidence": ["D1:1"], "category": 5},
            {"question": "When?", "answer": "8 May 2023", "evidence": [], "category": 2},
            {"question": "Would Ben like rivers?", "answer": "Yes", "evidence": ["D1:2"], "category": 3},
        ],
    },
    {"sample_id": "conv-26", "conversation": {}, "qa": []},
    {"sample_id": "conv-41", "conversation": {}, "qa": []},
]

LONGMEMEVAL = [
    {
        "question_id": "q1",
        "question_type": "knowledge-update",
        "question": "How many bikes do I own?",
        "answer": 3,
        "question_date": "2023/06/30 (Fri) 23:40",
        "haystack_session_ids": ["s2", "s1"],
        "haystack_dates": ["2023/05/30 (Tue) 10:00", "2023/05/20 (Sat) 02:21"],
        "haystack_sessions": [
            [{"role": "user", "content": "Now I own three bikes.", "has_answer": True}],
            [{"role": "user", "content": "I own two bikes."}, {"role": "assistant", "content": ""}],
        ],
        "answer_session_ids": ["s2"],
    },
    {
        "question_id": "q2_abs",
        "question_type": "multi-session",
        "question": "What is my boat called?",
        "answer": "You did not mention a boat.",
        "question_date": "2023/06/30 (Fri) 23:40",
        "haystack_session_ids": [],
        "haystack_dates": [],
        "haystack_sessions": [],
        "answer_session_ids": [],
    },
]

MSC = {
    "personas": [["I keep bees."], ["I row."]],
    "previous_dialogs": [
        {"dialog": [{"text": "I keep bees."}, {"text": "I row."}], "time_num": 3, "time_unit": "days"}
    ],
    "dialog": [{"id": "Speaker 2", "text": "Hello again."}],
    "self_instruct": {"B": "What did you tell me you keep?", "A": "Bees!"},
}

# As in msc_personasummary/session_1/*.txt and msc_dialogue/session_2/*.txt of msc_v0.1.tar.gz.
PERSONAS = {
    "dialog": [
        {
            "id": "bot_0",
            "text": "Hi! My hives did well this year.",
            "convai2_id": "train_7",
            "persona_text": "I keep bees.",
            "problem_data": {"persona": "I keep bees."},
            "agg_persona_list": ["I keep bees."],
        },
        {"id": "bot_1", "text": "Lucky you.", "problem_data": {"persona": ""}, "agg_persona_list": []},
        {"id": "bot_0", "text": "And you?", "persona_text": " ", "problem_data": {}, "agg_persona_list": []},
        {"id": "bot_1", "text": "I was out in my kayak.", "persona_text": "I row.", "agg_persona_list": ["I row."]},
    ],
    "followup": "How are the bees?",
    "newfact": "I keep bees.",
    "initial_data_id": "train_7",
    "init_personachat": {"init_personas": [["I keep bees."], ["I row."]]},
}
SESSION = {
    "personas": [["I keep bees."], ["I row."]],
    "dialog": [{"id": "Speaker 1", "text": "Hello again."}, {"id": "Speaker 2", "text": "Hello!"}],
    "metadata": {"initial_data_id": "train_7", "session_id": 1},
    "previous_dialogs": [
        {
            "personas": [["I keep bees."], ["I row."]],
            "dialog": [{"text": turn["text"]} for turn in PERSONAS["dialog"]],
            "time_num": 5,
            "time_unit": "days",
            "time_back": "5 days ago",
        }
    ],
    "init_personas": [["I keep bees."], ["I row."]],
}
TALK = {
    "id": "heldout-1",
    "turns": [
        {"speaker": "user", "text": "I keep bees.", "at": "2023-05-08T13:56:00", "source_id": "heldout-1/1"},
        {"speaker": "Ben", "text": "I row.", "at": None, "source_id": "heldout-1/2"},
    ],
    "questions": [
        {"id": "q1", "text": "What do I keep?", "answers": ["bees"], "category": "ask", "evidence": ["heldout-1/1"]},
        {"id": "q2", "text": "How old is Ben?", "answers": [], "category": "unknown"},
    ],
}


def written(tmp_path, value):
    file = tmp_path / "file.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    return file


def test_locomo_is_read_with_true_categories_and_the_papers_labels_beside_them(tmp_path):
    (talk,) = read_locomo_benchmark(written(tmp_path, LOCOMO), ["conv-30"]).talks
    assert [turn.source_id for turn in talk.turns] == ["conv-30/D1:1", "conv-30/D1:2"]
    categories = [(question.category, question.paper_label) for question in talk.questions]
    assert categories == [
        ("single-hop", "Open Domain"),
        ("multi-hop", "Single Hop"),
        ("temporal", "Temporal"),
        ("open-domain", "Multi-Hop"),
    ]
    assert talk.questions[1].answers == ("1",)


def test_compound_and_misspelt_evidence_is_split_and_what_does_not_resolve_is_counted(tmp_path):
    benchmark = read_locomo_benchmark(written(tmp_path, LOCOMO), ["conv-30"])
    assert benchmark.talks[0].questions[1].evidence == ("conv-30/D1:2", "conv-30/D1:1")
    assert "conv-30: 1 evidence ids name no turn" in benchmark.notes
    assert "conv-30: 1 adversarial questions left out" in benchmark.notes


def test_adversarial_questions_on_request_have_no_answer(tmp_path):
    (talk,) = read_locomo_benchmark(written(tmp_path, LOCOMO), ["conv-30"], "abstain").talks
    adversarial = [question for question in talk.questions if question.category == "adversarial"]
    assert [question.answers for question in adversarial] == [()]


def test_the_papers_split_is_by_conversation(tmp_path):
    file = written(tmp_path, LOCOMO)
    for split, names in (("train", ["conv-26"]), ("validation", ["conv-30"]), ("test", ["conv-41"])):
        assert [talk.id for talk in read_locomo_benchmark(file, [split]).talks] == names
    with pytest.raises(InvalidInputError, match=r"conv-99.*conv-30, conv-26, conv-41"):
        read_locomo_benchmark(file, ["conv-99"])


def test_longmemeval_is_read_in_order_of_time_with_its_evidence_turns(tmp_path):
    benchmark = read_longmemeval(written(tmp_path, LONGMEMEVAL))
    first, second = benchmark.talks
    assert [turn.text for turn in first.turns] == ["I own two bikes.", "Now I own three bikes."]
    assert first.turns[0].at == datetime(2023, 5, 20, 2, 21)
    assert first.questions[0].evidence == ("q1/s2/1",)
    assert first.questions[0].answers == ("3",)
    assert first.questions[0].asked_at == datetime(2023, 6, 30, 23, 40)
    assert (second.questions[0].answers, second.questions[0].category) == ((), "abstention")
    assert benchmark.notes == ("1 turns without any text left out", "1 questions mark no evidence turn")


def test_msc_is_read_as_a_list_or_line_by_line_with_speakers_taking_turns(tmp_path):
    lines = tmp_path / "msc.jsonl"
    lines.write_text(json.dumps(MSC) + "\n\n" + json.dumps(MSC) + "\n")
    assert len(read_msc(lines).talks) == 2
    (talk,) = read_msc(written(tmp_path, [MSC])).talks
    assert [turn.speaker for turn in talk.turns] == ["Speaker 1", "Speaker 2", "Speaker 2"]
    assert talk.questions[0].answers == ("Bees!",)


def test_mscs_persona_files_give_statements_to_search_for(tmp_path):
    benchmark = read_msc(written(tmp_path, [PERSONAS]))
    (talk,) = benchmark.talks
    assert [turn.speaker for turn in talk.turns] == ["Speaker 1", "Speaker 2"] * 2
    assert [(each.text, each.answers, each.evidence, each.statement) for each in talk.questions] == [
        ("Speaker 1: I keep bees.", ("I keep bees.",), ("msc-1/1:1",), True),
        ("Speaker 2: I row.", ("I row.",), ("msc-1/1:4",), True),
    ]
    assert any("searched for" in note for note in benchmark.notes)


def test_mscs_session_files_are_searched_for_the_statements_of_persona_files(tmp_path):
    personas, sessions = tmp_path / "personas.txt", tmp_path / "session.txt"
    personas.write_text(json.dumps(PERSONAS) + "\n" + json.dumps(broken(PERSONAS, "dialog", 0, "text", "Gone.")) + "\n")
    sessions.write_text(
        json.dumps(SESSION) + "\n" + json.dumps(broken(SESSION, "metadata", "initial_data_id", "train_8"))
    )
    benchmark = read_msc(sessions, [personas])
    (talk,) = benchmark.talks
    assert [turn.source_id for turn in talk.turns][-2:] == ["msc-1/2:1", "msc-1/2:2"]
    assert [question.evidence for question in talk.questions] == [("msc-1/1:1",), ("msc-1/1:4",), ("msc-1/1:4",)]
    assert "1 conversations without anything to ask left out" in benchmark.notes
    assert "1 statements whose turn is in no session left out" in benchmark.notes


def test_mscs_session_files_ask_nothing_by_themselves_and_say_so(tmp_path):
    with pytest.raises(ConversationFormatError, match="MSC-Self-Instruct"):
        read_msc(written(tmp_path, [SESSION]))


def test_the_worlds_file_is_read_line_by_line(tmp_path):
    file = tmp_path / "world.jsonl"
    file.write_text(json.dumps(TALK) + "\n\n" + json.dumps({**TALK, "id": "heldout-2"}) + "\n")
    benchmark = read_world(file)
    assert [talk.id for talk in benchmark.talks] == ["heldout-1", "heldout-2"]
    assert benchmark.talks[0].turns[0].at == datetime(2023, 5, 8, 13, 56)
    assert [question.answers for question in benchmark.talks[0].questions] == [("bees",), ()]


def test_the_worlds_held_out_set_is_written_as_it_is_read_with_what_each_answer_rests_on(tmp_path):
    file = tmp_path / "world.jsonl"
    world_file.main([str(file), "--conversations", "2", "--messages", "60", "--questions", "20", "--seed", "3"])
    talks = read_world(file).talks
    assert [talk.id for talk in talks] == ["heldout-3", "heldout-4"]
    for talk in talks:
        said = {turn.source_id: turn.text.lower() for turn in talk.turns}
        assert len(said) == 60
        asked = [question for question in talk.questions if question.category == "ask"]
        assert asked
        for question in asked:  # every part of an answer was said in one of its evidence turns
            told = " ".join(said[turn] for turn in question.evidence)
            parts = question.answers[0].lower().replace(" and ", ", ").split(", ")
            assert all(part.removeprefix("a ").removeprefix("an ") in told for part in parts), (question, told)
        unknown = [question for question in talk.questions if question.category == "unknown"]
        assert all((question.answers, question.evidence) == ((), ()) for question in unknown)


def broken(value, *path_and_new):
    *path, new = path_and_new
    value = copy.deepcopy(value)
    place = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({}, "the top"),
        (broken(LOCOMO, 0, "qa", None), r"conv-30\.qa"),
        (broken(LOCOMO, 0, "qa", 0, "category", 6), r"conv-30\.qa\[0\]\.category"),
        (broken(LOCOMO, 0, "qa", 0, "answer", None), r"conv-30\.qa\[0\]\.answer"),
        (broken(LOCOMO, 0, "qa", 0, "evidence", "D1:1"), r"conv-30\.qa\[0\]\.evidence"),
        (broken(LOCOMO, 0, "conversation", "session_1_date_time", "May"), "session_1_date_time"),
    ],
)
def test_another_shape_than_locomos_is_refused_with_its_place(tmp_path, value, place):
    with pytest.raises(ConversationFormatError, match=place):
        read_locomo_benchmark(written(tmp_path, value))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (LOCOMO, "question_id"),
        (broken(LONGMEMEVAL, 0, "question_type", "riddle"), "question_type"),
        (broken(LONGMEMEVAL, 0, "haystack_dates", []), "as many haystack_sessions"),
        (broken(LONGMEMEVAL, 0, "haystack_dates", 1, "yesterday"), r"haystack_dates\[1\]"),
        (broken(LONGMEMEVAL, 0, "haystack_dates", 1, "2023/02/30 (Sat) 02:21"), r"haystack_dates\[1\]"),
        (broken(LONGMEMEVAL, 0, "haystack_sessions", 0, 0, {"role": "user"}), r"haystack_sessions\[0\]\[0\]\.content"),
        (broken(LONGMEMEVAL, 0, "answer", None), "answer"),
    ],
)
def test_another_shape_than_longmemevals_is_refused_with_its_place(tmp_path, value, place):
    with pytest.raises(ConversationFormatError, match=place):
        read_longmemeval(written(tmp_path, value))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (["x"], "entry 1"),
        ([MSC, broken(MSC, "self_instruct", {"B": "?"})], r"entry 2\.self_instruct\.A"),
        ([broken(MSC, "previous_dialogs", 0, {})], r"entry 1, session 1\.dialog"),
        ([broken(MSC, "dialog", 0, {"id": "Speaker 1"})], r"session 2\.dialog\[0\]\.text"),
        ([broken(PERSONAS, "dialog", 0, "persona_text", 3)], r"entry 1\.dialog\[0\]\.persona_text"),
        ([{"dialog": PERSONAS["dialog"]}], r"entry 1\.previous_dialogs"),
        ([broken(SESSION, "metadata", None)], r"entry 1\.metadata"),
        ([broken(SESSION, "metadata", {})], r"entry 1\.metadata\.initial_data_id"),
        ([], "something to ask"),
    ],
)
def test_another_shape_than_mscs_is_refused_with_its_place(tmp_path, value, place):
    with pytest.raises(ConversationFormatError, match=place):
        read_msc(written(tmp_path, value))


def test_a_session_file_in_the_place_of_a_persona_file_is_refused(tmp_path):
    file = written(tmp_path, [SESSION])
    with pytest.raises(ConversationFormatError, match=r"entry 1\.init_personachat"):
        read_msc(file, [file])


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([TALK], r"line 1: expected"),
        (broken(TALK, "turns", 0, {"speaker": "user"}), r"line 1\.turns\[0\]\.text"),
        (broken(TALK, "turns", 0, "at", "yesterday"), r"line 1\.turns\[0\]\.at"),
        (broken(TALK, "questions", 0, "answer", "x"), r"line 1\.questions\[0\]\.answer"),
        (broken(TALK, "questions", 0, "evidence", ["heldout-1/9"]), r"line 1\.questions\[0\]\.evidence.*heldout-1/9"),
        (broken(TALK, "turns", 1, "source_id", "heldout-1/1"), r"each turn once.*heldout-1/1"),
    ],
)
def test_another_shape_than_the_worlds_is_refused_with_its_place(tmp_path, value, place):
    with pytest.raises(ConversationFormatError, match=place):
        read_world(written(tmp_path, value))


def test_a_world_without_conversations_or_with_one_twice_is_refused(tmp_path):
    file = tmp_path / "world.jsonl"
    for text, found in (("\n", "a conversation per line"), (f"{json.dumps(TALK)}\n" * 2, "heldout-1' twice")):
        file.write_text(text)
        with pytest.raises(ConversationFormatError, match=found):
            read_world(file)


def test_a_limit_spreads_over_the_questions(tmp_path):
    benchmark = limited(read_locomo_benchmark(written(tmp_path, LOCOMO), ["conv-30"]), 2)
    assert [question.id for question in benchmark.talks[0].questions] == ["conv-30/q1", "conv-30/q4"]
    assert limited(benchmark, None) == benchmark


def test_a_limit_spreads_over_conversations_that_ask_one_question_each(tmp_path):
    benchmark = limited(read_msc(written(tmp_path, [MSC] * 5)), 2)
    assert [talk.id for talk in benchmark.talks] == ["msc-1", "msc-3"]
    assert benchmark.notes[-1] == "at most 2 of 5 conversations with one question each, spread evenly"


def test_the_example_of_the_page_is_a_file_of_ones_own(tmp_path):
    page = Path(evaluation.__file__).with_name("README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "own.jsonl"
    file.write_text(example)  # as it stands: one conversation is one line
    assert read_world(file).talks[0].questions[0].evidence == ("a/1",)
