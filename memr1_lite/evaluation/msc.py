"""Multi-Session Chat (Xu 2022) as published, and with the questions of MSC-Self-Instruct (Packer 2023).

MSC itself asks nothing. Three kinds of entries are read, told apart by their fields, as JSON Lines or as one list:

- *MSC-Self-Instruct*: a session of MSC and ``self_instruct``, what speaker B asks at the start of the next one and A
  answers from the earlier ones;
- *persona files* (``msc_personasummary/session_N/*.txt``): one session, and in ``persona_text`` what somebody wrote
  down about a turn's speaker. These statements are searched for, their evidence being that turn; no agent answers;
- *session files* (``msc_dialogue/session_N/*.txt``): a session with the ``previous_dialogs``. Where persona files are
  given beside them, the statements of those are searched for in all sessions of the same conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from memr1_lite.evaluation.benchmark import Benchmark, Question, Talk
from memr1_lite.records import Record, Turn
from memr1_lite.shapes import expect, parse_json, read_text, wrong_shape

Entry = dict[object, object]
SPEAKERS = {"Speaker 1": "Speaker 1", "Speaker 2": "Speaker 2", "bot_0": "Speaker 1", "bot_1": "Speaker 2"}
"""Who speaks, by the ids of all three kinds; where an id is missing or another, speakers take turns."""


class _Statement(Record):
    """What was written down about a speaker, and the turn that it was written down from."""

    speaker: str
    said: str
    text: str


def read_msc(path: str | Path, personas: Sequence[str | Path] = ()) -> Benchmark:
    """Read a file of one of the three kinds; every entry is a conversation.

    :param personas: persona files, whose statements are searched for in a session file
    :raises ConversationFormatError: a file is of another shape, or there is nothing to ask, naming the place
    """
    path = Path(path)
    written: dict[str, list[_Statement]] = {}
    for file in map(Path, personas):
        for place, _, entry in _entries(file):
            expect(entry.get("init_personachat"), dict, file, f"{place}.init_personachat", "a persona file")
            written.setdefault(_data_id(file, place, entry), []).extend(_statements(file, place, entry))
    talks, lost = list[Talk](), 0
    for place, number, entry in _entries(path):
        talk, statements = _talk(path, place, number, entry), list[_Statement]()
        if "init_personachat" in entry:
            statements = _statements(path, place, entry)
        elif "self_instruct" not in entry:
            metadata = expect(entry.get("metadata"), dict, path, f"{place}.metadata", "an object with initial_data_id")
            statements = written.get(_data_id(path, f"{place}.metadata", metadata), [])
        searched = _searched(talk, statements)
        lost += len(statements) - len(searched)
        talks.append(talk.model_copy(update={"questions": (*talk.questions, *searched)}))
    if not any(talk.questions for talk in talks):
        found = "none: MSC's session files ask nothing; give persona files of theirs, or use MSC-Self-Instruct"
        raise wrong_shape(path, "the whole file", "something to ask", found)
    return Benchmark(
        name="MSC", talks=tuple(talk for talk in talks if talk.questions), notes=tuple(_notes(talks, lost))
    )


def _notes(talks: Sequence[Talk], lost: int) -> Iterable[str]:
    yield "MSC gives no dates, and its questions mark no evidence turns"
    if any(question.statement for talk in talks for question in talk.questions):
        yield "statements are searched for, no agent answers: their scores are those of the first thing found"
    if silent := sum(not talk.questions for talk in talks):
        yield f"{silent} conversations without anything to ask left out"
    if lost:
        yield f"{lost} statements whose turn is in no session left out"


def _entries(path: Path) -> list[tuple[str, int, Entry]]:
    """Every entry with its place and number."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        found = expect(parse_json(path, text), list, path, "the top", "a list of entries")
    else:
        lines = enumerate(text.split("\n"), start=1)
        found = [parse_json(path, line, number) for number, line in lines if line.strip()]
    what = "an object with dialog, and self_instruct, init_personachat or previous_dialogs"
    return [
        (f"entry {number}", number, expect(entry, dict, path, f"entry {number}", what))
        for number, entry in enumerate(found, start=1)
    ]


def _talk(path: Path, place: str, number: int, entry: Entry) -> Talk:
    """The sessions of an entry, and its question where it has one."""
    earlier: list[object] = []
    if "init_personachat" not in entry:
        what = "a list of sessions; or init_personachat in a persona file"
        earlier = expect(entry.get("previous_dialogs"), list, path, f"{place}.previous_dialogs", what)
    turns = []
    for session, held in enumerate([*earlier, entry], start=1):
        where = f"{place}, session {session}"
        for position, (speaker, text, _) in enumerate(_dialog(path, where, held), start=1):
            if text.strip():
                turns.append(Turn(speaker=speaker, text=text, source_id=f"msc-{number}/{session}:{position}"))
    questions: tuple[Question, ...] = ()
    if "self_instruct" in entry:
        what = "an object with B, the question, and A, the answer"
        asked = expect(entry["self_instruct"], dict, path, f"{place}.self_instruct", what)
        text, answer = (
            expect(asked.get(key), str, path, f"{place}.self_instruct.{key}", "a text") for key in ("B", "A")
        )
        questions = (Question(id=f"msc-{number}/q", text=text, answers=(answer,), category="recall"),)
    return Talk(id=f"msc-{number}", turns=tuple(turns), questions=questions)


def _dialog(path: Path, place: str, held: object) -> list[tuple[str, str, Entry]]:
    """The speaker, the text and the entry of every turn of a session."""
    held = expect(held, dict, path, place, "an object with dialog")
    said = []
    for position, turn in enumerate(expect(held.get("dialog"), list, path, f"{place}.dialog", "a list of turns")):
        turn = expect(turn, dict, path, f"{place}.dialog[{position}]", "an object with text")
        text = expect(turn.get("text"), str, path, f"{place}.dialog[{position}].text", "a text")
        speaker = SPEAKERS.get(str(turn.get("id")), f"Speaker {position % 2 + 1}")
        said.append((speaker, text, turn))
    return said


def _statements(path: Path, place: str, entry: Entry) -> list[_Statement]:
    found = []
    for position, (speaker, said, turn) in enumerate(_dialog(path, place, entry)):
        if "persona_text" in turn:
            where = f"{place}.dialog[{position}].persona_text"
            text = expect(turn["persona_text"], str, path, where, "a text")
            if text.strip() and said.strip():
                found.append(_Statement(speaker=speaker, said=said, text=text))
    return found


def _searched(talk: Talk, statements: Sequence[_Statement]) -> list[Question]:
    """A search for every statement whose turn is in the conversation."""
    where: dict[tuple[str, str], str] = {}
    for turn in talk.turns:
        where.setdefault((turn.speaker, turn.text), turn.source_id)
    return [
        Question(
            id=f"{talk.id}/s{number}",
            text=f"{each.speaker}: {each.text}",
            answers=(each.text,),
            category="statement",
            evidence=(where[each.speaker, each.said],),
            statement=True,
        )
        for number, each in enumerate(statements, start=1)
        if (each.speaker, each.said) in where
    ]


def _data_id(path: Path, place: str, entry: Entry) -> str:
    return expect(entry.get("initial_data_id"), str, path, f"{place}.initial_data_id", "a text")
