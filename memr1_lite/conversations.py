"""Importers: a conversation somebody has as a file becomes a list of turns to remember, oldest first."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from pathlib import Path

from memr1_lite.dates import MONTHS, as_datetime
from memr1_lite.errors import InvalidInputError
from memr1_lite.records import Turn
from memr1_lite.shapes import expect, expect_visible, parse_json, read_text, wrong_shape
from memr1_lite.store import EXPORT_FORMAT

_SESSION = re.compile(r"session_(\d+)")
_SESSION_TIME = re.compile(r"(\d{1,2}):(\d{2}) ?(am|pm) on (\d{1,2}) ([A-Z][a-z]+),? (\d{4})", re.IGNORECASE)
_LINE_KEYS = {"speaker", "text", "at", "source_id"}


def locomo_conversations(path: str | Path) -> list[str]:
    """The conversations of a file in the shape of ``locomo10.json``, by their ``sample_id``, in its order.

    :raises ConversationFormatError: the file is of another shape, naming the place
    """
    return list(locomo_samples(Path(path)))


def read_locomo(path: str | Path, conversation: str | None = None) -> list[Turn]:
    """Read one conversation of a file in the shape of ``locomo10.json``; turns take the time of their session.

    :param conversation: its ``sample_id``, such as ``conv-26``; needed where the file holds several
    :raises ConversationFormatError: the file is of another shape, naming the place
    :raises InvalidInputError: the file holds no such conversation
    """
    path = Path(path)
    places = locomo_samples(path)
    if conversation is None and len(places) == 1:
        conversation = next(iter(places))
    if conversation not in places:
        asked = "Name one conversation" if conversation is None else f"No conversation {conversation!r}"
        raise InvalidInputError(f"{asked} of {str(path)!r}: it holds {', '.join(places) or 'none'}.")
    place = f"{conversation}.conversation"
    sessions = expect(places[conversation].get("conversation"), dict, path, place, "an object with session_1, ...")
    numbers = sorted(int(match[1]) for key in sessions if (match := _SESSION.fullmatch(key)))
    turns = []
    for number in numbers:
        at = _session_time(path, f"{place}.session_{number}_date_time", sessions.get(f"session_{number}_date_time"))
        entries = expect(sessions[f"session_{number}"], list, path, f"{place}.session_{number}", "a list of turns")
        for position, entry in enumerate(entries):
            turns.append(_locomo_turn(path, f"{place}.session_{number}[{position}]", entry, at, conversation))
    return turns


def locomo_samples(path: Path) -> dict[str, dict[str, object]]:
    """The conversations of a file in the shape of ``locomo10.json``, as they stand there, by their ``sample_id``.

    :raises ConversationFormatError: the file is of another shape, naming the place
    """
    samples = expect(parse_json(path, read_text(path)), list, path, "the top", "a list of conversations")
    places: dict[str, dict[str, object]] = {}
    for position, sample in enumerate(samples):
        sample = expect(sample, dict, path, f"[{position}]", "an object")
        places[expect(sample.get("sample_id"), str, path, f"[{position}].sample_id", "a text")] = sample
    return places


def read_jsonl(path: str | Path) -> list[Turn]:
    """Read one turn per line: ``{"speaker": ..., "text": ..., "at"?: ..., "source_id"?: ...}``.

    Blank lines are skipped. A line without ``source_id`` gets one from the file's name, its number and content.

    :raises ConversationFormatError: naming the line and what was expected there
    """
    path = Path(path)
    turns = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        entry = expect(
            parse_json(path, line, number), dict, path, place, 'an object such as {"speaker": ..., "text": ...}'
        )
        if entry.get("format") == EXPORT_FORMAT:
            told = "the export of a bank: `memr1 import --format bank` and MemoryBank.import_bank() take it"
            raise wrong_shape(path, place, "a turn of a conversation", told)
        if unknown := sorted(set(entry) - _LINE_KEYS):
            raise wrong_shape(
                path, place, f"only the keys {', '.join(sorted(_LINE_KEYS))}", f"also {', '.join(unknown)}"
            )
        fields = {key: expect(entry.get(key), str, path, f"{place}, {key!r}", "a text") for key in ("speaker", "text")}
        expect_visible(path, f"{place}, 'text'", fields["text"])
        digest = hashlib.blake2b(line.strip().encode(errors="replace"), digest_size=4).hexdigest()
        source_id = entry.get("source_id", f"{path.name}:{number}:{digest}")
        expect(source_id, str, path, f"{place}, 'source_id'", "a text")
        turns.append(Turn(**fields, at=_line_time(path, f"{place}, 'at'", entry.get("at")), source_id=source_id))
    return turns


def _locomo_turn(path: Path, place: str, entry: object, at: datetime, conversation: str) -> Turn:
    entry = expect(entry, dict, path, place, "an object")
    speaker, turn_id = (expect(entry.get(key), str, path, f"{place}.{key}", "a text") for key in ("speaker", "dia_id"))
    text = expect(entry.get("text"), str, path, f"{place}.text", "a text").strip()
    if (caption := entry.get("blip_caption")) is not None:
        caption = expect(caption, str, path, f"{place}.blip_caption", "a text")
        text = f"{text} [shares a photo: {caption}]".strip()
    expect_visible(path, f"{place}.text", text)
    return Turn(speaker=speaker, text=text, at=at, source_id=f"{conversation}/{turn_id}")


def _session_time(path: Path, place: str, written: object) -> datetime:
    expected = "a time such as '1:56 pm on 8 May, 2023'"
    match = _SESSION_TIME.fullmatch(expect(written, str, path, place, expected).strip())
    if match is None or match[5].capitalize() not in MONTHS:
        raise wrong_shape(path, place, expected, repr(written))
    hour = int(match[1]) % 12 + (12 if match[3].lower() == "pm" else 0)
    month = MONTHS.index(match[5].capitalize()) + 1
    try:
        return datetime(int(match[6]), month, int(match[4]), hour, int(match[2]))
    except ValueError as error:
        raise wrong_shape(path, place, expected, repr(written)) from error


def _line_time(path: Path, place: str, written: object) -> datetime | None:
    if written is None:
        return None
    try:
        return as_datetime(expect(written, str, path, place, "an ISO 8601 text"))
    except InvalidInputError as error:
        raise wrong_shape(path, place, "ISO 8601 text such as '2023-06-16'", repr(written)) from error
