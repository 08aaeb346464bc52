"""LongMemEval (Wu 2024): ``longmemeval_oracle.json``, ``longmemeval_s.json``, ``longmemeval_m.json`` as published.

All three have one shape: a list of questions, each with the sessions that were held before it.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from memr1_lite.evaluation.benchmark import Benchmark, Question, Talk
from memr1_lite.records import Turn
from memr1_lite.shapes import expect, parse_json, read_text, wrong_shape

TYPES = (
    "single-session-user",
    "single-session-assistant",
    "single-session-preference",
    "multi-session",
    "knowledge-update",
    "temporal-reasoning",
)
ABSTENTION = "_abs"
"""Ends the id of a question whose answer was never said."""
_TIME = re.compile(r"(\d{4})/(\d{2})/(\d{2}) \([A-Z][a-z]{2}\)(?: (\d{2}):(\d{2}))?")


def read_longmemeval(path: str | Path) -> Benchmark:
    """Read one of the three files; every question is a conversation of its own.

    Evidence are the turns marked ``has_answer``; questions without such a mark count in no recall.

    :raises ConversationFormatError: the file is of another shape, naming the place
    """
    path = Path(path)
    items = expect(parse_json(path, read_text(path)), list, path, "the top", "a list of questions")
    talks = tuple(_talk(path, f"[{position}]", item) for position, item in enumerate(items))
    blank = sum(not turn.text.strip() for talk in talks for turn in talk.turns)
    talks = tuple(
        talk.model_copy(update={"turns": tuple(turn for turn in talk.turns if turn.text.strip())}) for talk in talks
    )
    unmarked = sum(not question.evidence for talk in talks for question in talk.questions)
    notes = [f"{blank} turns without any text left out"] if blank else []
    notes += [f"{unmarked} questions mark no evidence turn"] if unmarked else []
    return Benchmark(name="LongMemEval", talks=talks, notes=tuple(notes))


def _talk(path: Path, place: str, item: object) -> Talk:
    item = expect(item, dict, path, place, "an object with question_id, question, haystack_sessions")
    number, kind, text = (
        expect(item.get(key), str, path, f"{place}.{key}", "a text")
        for key in ("question_id", "question_type", "question")
    )
    if kind not in TYPES:
        raise wrong_shape(path, f"{place}.question_type", f"one of {', '.join(TYPES)}", repr(kind))
    answer = item.get("answer")
    if not isinstance(answer, str | int | float) or isinstance(answer, bool):
        raise wrong_shape(path, f"{place}.answer", "a text or a number", f"{answer!r:.60}")
    keys = ("haystack_sessions", "haystack_dates", "haystack_session_ids")
    sessions, dates, names = (expect(item.get(key), list, path, f"{place}.{key}", "a list") for key in keys)
    if not len(sessions) == len(dates) == len(names):
        found = f"{len(sessions)}, {len(dates)} and {len(names)}"
        raise wrong_shape(path, place, "as many haystack_sessions as haystack_dates and haystack_session_ids", found)
    held = []
    for position, (session, written, name) in enumerate(zip(sessions, dates, names, strict=True)):
        at = _time(path, f"{place}.haystack_dates[{position}]", written)
        held.append((at, position, _turns(path, f"{place}.haystack_sessions[{position}]", session, at, number, name)))
    held.sort(key=lambda each: (each[0], each[1]))  # the published order is not always that of time
    marked = [pair for _, _, pairs in held for pair in pairs]
    question = Question(
        id=number,
        text=text,
        answers=() if number.endswith(ABSTENTION) else (str(answer),),
        category="abstention" if number.endswith(ABSTENTION) else kind,
        evidence=tuple(turn.source_id for turn, has_answer in marked if has_answer),
        asked_at=_time(path, f"{place}.question_date", item.get("question_date")),
    )
    return Talk(id=number, turns=tuple(turn for turn, _ in marked), questions=(question,))


def _turns(path: Path, place: str, session: object, at: datetime, number: str, name: object) -> list[tuple[Turn, bool]]:
    turns = []
    for position, entry in enumerate(expect(session, list, path, place, "a list of turns")):
        entry = expect(entry, dict, path, f"{place}[{position}]", "an object with role and content")
        role, content = (
            expect(entry.get(key), str, path, f"{place}[{position}].{key}", "a text") for key in ("role", "content")
        )
        turn = Turn(speaker=role, text=content, at=at, source_id=f"{number}/{name}/{position + 1}")
        turns.append((turn, bool(entry.get("has_answer"))))
    return turns


def _time(path: Path, place: str, written: object) -> datetime:
    expected = "a time such as '2023/05/30 (Tue) 23:40'"
    match = _TIME.fullmatch(expect(written, str, path, place, expected).strip())
    if match is None:
        raise wrong_shape(path, place, expected, repr(written))
    try:
        return datetime(int(match[1]), int(match[2]), int(match[3]), int(match[4] or 0), int(match[5] or 0))
    except ValueError as error:
        raise wrong_shape(path, place, expected, repr(written)) from error
