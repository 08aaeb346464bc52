"""Importers: the shapes they read, and the places they name where a file has another shape."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from memr1_lite.conversations import read_jsonl, read_locomo
from memr1_lite.errors import ConversationFormatError, InvalidInputError


def sample(name="conv-1", **conversation):
    shape = {
        "speaker_a": "Ann",
        "speaker_b": "Ben",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": "Hi Ben!"},
            {"speaker": "Ben", "dia_id": "D1:2", "text": "Look!", "blip_caption": "a photo of a dog"},
        ],
    }
    return {"sample_id": name, "conversation": shape | conversation, "qa": []}


@pytest.fixture
def locomo(tmp_path):
    def write(*samples):
        path = tmp_path / "locomo.json"
        path.write_text(json.dumps(samples))
        return path

    return write


@pytest.fixture
def jsonl(tmp_path):
    def write(*lines):
        path = tmp_path / "chat.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return path

    return write


def test_locomo_turns_carry_the_time_of_their_session_and_an_id_of_their_own(locomo):
    turns = read_locomo(locomo(sample()), "conv-1")
    assert [(turn.speaker, turn.source_id) for turn in turns] == [("Ann", "conv-1/D1:1"), ("Ben", "conv-1/D1:2")]
    assert {turn.at for turn in turns} == {datetime(2023, 5, 8, 13, 56)}


def test_a_shared_photo_is_part_of_the_text(locomo):
    assert read_locomo(locomo(sample()))[1].text == "Look! [shares a photo: a photo of a dog]"


def test_sessions_come_in_the_order_of_their_numbers(locomo):
    later = {
        f"session_{number}": [{"speaker": "Ann", "dia_id": f"D{number}:1", "text": "Hi!"}] for number in (10, 9, 2)
    }
    times = {f"session_{number}_date_time": f"9:00 am on {number} June, 2023" for number in (10, 9, 2)}
    turns = read_locomo(locomo(sample(**later, **times)))
    assert [turn.source_id for turn in turns][2:] == ["conv-1/D2:1", "conv-1/D9:1", "conv-1/D10:1"]


@pytest.mark.parametrize(("written", "hour"), [("12:05 am", 0), ("12:05 pm", 12), ("1:05 pm", 13), ("11:05 AM", 11)])
def test_twelve_hour_clocks_are_read_right(locomo, written, hour):
    turns = read_locomo(locomo(sample(session_1_date_time=f"{written} on 8 May, 2023")))
    assert turns[0].at == datetime(2023, 5, 8, hour, 5)


def test_one_of_several_conversations_has_to_be_named(locomo):
    path = locomo(sample("conv-1"), sample("conv-2"))
    assert read_locomo(path, "conv-2")[0].source_id == "conv-2/D1:1"
    with pytest.raises(InvalidInputError, match="conv-1, conv-2"):
        read_locomo(path)
    with pytest.raises(InvalidInputError, match="conv-3"):
        read_locomo(path, "conv-3")


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ({"session_1_date_time": "yesterday"}, r"session_1_date_time.*1:56 pm"),
        ({"session_1_date_time": "1:56 pm on 31 June, 2023"}, "session_1_date_time"),
        ({"session_1_date_time": None}, "session_1_date_time.*nothing"),
        ({"session_1": "turns"}, "session_1.*a list of turns.*turns"),
        ({"session_1": [{"speaker": "Ann", "text": "Hi"}]}, r"session_1\[0\].dia_id"),
        ({"session_1": [{"dia_id": "D1:1", "speaker": "Ann", "text": " "}]}, r"session_1\[0\].text.*not blank"),
        ({"session_1": [7]}, r"session_1\[0\].*an object.*7"),
    ],
)
def test_a_locomo_file_of_another_shape_names_the_place(locomo, broken, place):
    with pytest.raises(ConversationFormatError, match=place):
        read_locomo(locomo(sample(**broken)))


def test_jsonl_lines_become_turns(jsonl):
    path = jsonl(
        {"speaker": "Ann", "text": "Hi", "at": "2023-05-08T13:56", "source_id": "a"},
        "",
        {"speaker": "Ben", "text": "Ho"},
    )
    first, second = read_jsonl(path)
    assert (first.at, first.source_id) == (datetime(2023, 5, 8, 13, 56), "a")
    assert (second.at, second.text) == (None, "Ho")


def test_lines_without_an_id_get_the_same_one_each_time_and_never_a_shared_one(jsonl):
    path = jsonl(*[{"speaker": "Ann", "text": "Again"}] * 2)
    once, again = read_jsonl(path), read_jsonl(path)
    assert once == again
    assert once[0].source_id != once[1].source_id


def test_a_line_separator_inside_a_text_does_not_end_the_line(jsonl):
    path = jsonl('{"speaker": "Ann", "text": "one\u2028two"}')
    assert [turn.text for turn in read_jsonl(path)] == ["one\u2028two"]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ({"speaker": "Ann", "text": "Hi", "role": "user"}, "line 2: expected only the keys .*also role"),
        ({"speaker": "Ann"}, "line 2, 'text'.*nothing"),
        ({"speaker": 3, "text": "Hi"}, "line 2, 'speaker'.*3"),
        ({"speaker": "Ann", "text": "Hi", "at": "soon"}, "line 2, 'at'.*ISO 8601"),
        ({"speaker": "Ann", "text": "Hi", "source_id": 3}, "line 2, 'source_id'"),
        ({"speaker": "Ann", "text": "  "}, "line 2, 'text'.*not blank"),
        ("[1, 2]", "line 2: expected an object"),
        ("{not json", "line 2: expected JSON"),
        ('{"speaker": "Ann", "text": "Hi", "at": ' + "1" * 5_000 + "}", "line 2.*expected"),
    ],
)
def test_a_line_of_another_shape_is_named(jsonl, line, place):
    with pytest.raises(ConversationFormatError, match=place):
        read_jsonl(jsonl({"speaker": "Ann", "text": "Hi"}, line))


def test_a_file_that_is_not_utf8_or_not_there_says_so(tmp_path):
    path = tmp_path / "chat.jsonl"
    path.write_bytes(b'{"speaker": "J\xf6rg"}')
    with pytest.raises(ConversationFormatError, match="UTF-8"):
        read_jsonl(path)
    with pytest.raises(ConversationFormatError, match="Cannot read"):
        read_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(ConversationFormatError, match="Cannot read"):
        read_locomo(tmp_path)
