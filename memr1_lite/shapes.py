"""Reading files of somebody else: each helper says which file, which place, what was expected and what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from memr1_lite.errors import ConversationFormatError

Expected = TypeVar("Expected")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    :raises ConversationFormatError: it cannot be read
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConversationFormatError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise wrong_shape(path, f"byte {error.start}", "UTF-8 text", "another encoding") from error


def parse_json(path: Path, text: str, line: int | None = None) -> object:
    """The value of a JSON text; ``line`` is where it stands, for one line of a file.

    :raises ConversationFormatError: it is no JSON
    """
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:  # not only JSONDecodeError: a number may be too long to read
        number = line or getattr(error, "lineno", 1)
        raise wrong_shape(path, f"line {number}", "JSON", str(error)) from error
    return value


def expect(value: object, kind: type[Expected], path: Path, place: str, expected: str) -> Expected:
    """``value``, where it is of ``kind``.

    :raises ConversationFormatError: it is something else
    """
    if not isinstance(value, kind):
        raise wrong_shape(path, place, expected, "nothing" if value is None else f"{value!r:.60}")
    return value


def expect_visible(path: Path, place: str, text: str) -> None:
    """Refuse a blank text.

    :raises ConversationFormatError: it is one
    """
    if not text.strip():
        raise wrong_shape(path, place, "a text that is not blank", repr(text))


def wrong_shape(path: Path, place: str, expected: str, found: str) -> ConversationFormatError:
    """The error to raise where something is not as it should be."""
    return ConversationFormatError(f"{str(path)!r}, {place}: expected {expected}, found {found}.")
