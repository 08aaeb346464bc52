"""Multi-Session Chat (Xu 2022) with the questions of MSC-Self-Instruct (Packer 2023), which MSC itself does not have.

Each entry has MSC's own fields (``personas``, ``dialog``, ``previous_dialogs``) and ``self_instruct``: what speaker B
asks at the start of a new session, and what A answers from the earlier ones.
"""

from __future__ import annotations

from pathlib import Path

from memr1_lite.conversations import Turn
from memr1_lite.evaluation.benchmark import Benchmark, Question, Talk
from memr1_lite.shapes import expect, parse_json, read_text, wrong_shape

SPEAKERS = ("Speaker 1", "Speaker 2")


def read_msc(path: str | Path) -> Benchmark:
    """Read a file of such entries, a JSON list or JSON Lines; every entry is a conversation with one question.

    MSC's persona and session files have this shape without questions, and are refused for that reason alone.

    :raises ConversationFormatError: the file is of another shape, or asks nothing, naming the place
    """
    path = Path(path)
    talks = tuple(_talk(path, f"entry {number}", entry, number) for number, entry in enumerate(_entries(path), start=1))
    return Benchmark(name="MSC", talks=talks, notes=("MSC gives no dates and marks no evidence turns",))


def _entries(path: Path) -> list[object]:
    text = read_text(path)
    if text.lstrip().startswith("["):
        return expect(parse_json(path, text), list, path, "the top", "a list of entries")
    lines = enumerate(text.split("\n"), start=1)
    return [parse_json(path, line, number) for number, line in lines if line.strip()]


def _talk(path: Path, place: str, entry: object, number: int) -> Talk:
    entry = expect(entry, dict, path, place, "an object with previous_dialogs, dialog and self_instruct")
    asked = entry.get("self_instruct")
    if asked is None and "dialog" in entry:
        raise wrong_shape(path, place, "self_instruct", "none: MSC's own files ask nothing, use MSC-Self-Instruct")
    asked = expect(asked, dict, path, f"{place}.self_instruct", "an object with B, the question, and A, the answer")
    question, answer = (
        expect(asked.get(key), str, path, f"{place}.self_instruct.{key}", "a text") for key in ("B", "A")
    )
    sessions = expect(entry.get("previous_dialogs"), list, path, f"{place}.previous_dialogs", "a list of sessions")
    turns: list[Turn] = []
    for session, held in enumerate([*sessions, entry], start=1):
        where = f"{place}, session {session}"
        held = expect(held, dict, path, where, "an object with dialog")
        for position, said in enumerate(expect(held.get("dialog"), list, path, f"{where}.dialog", "a list of turns")):
            spot = f"{where}.dialog[{position}]"
            said = expect(said, dict, path, spot, "an object with text")
            text = expect(said.get("text"), str, path, f"{spot}.text", "a text")
            if text.strip():
                speaker = said.get("id") if said.get("id") in SPEAKERS else SPEAKERS[position % 2]
                turns.append(Turn(speaker=str(speaker), text=text, source_id=f"msc-{number}/{session}:{position + 1}"))
    asked_of = Question(id=f"msc-{number}/q", text=question, answers=(answer,), category="recall")
    return Talk(id=f"msc-{number}", turns=tuple(turns), questions=(asked_of,))
