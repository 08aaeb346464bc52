"""Records as people read them, line by line; for machines there is JSON."""

from __future__ import annotations

from datetime import datetime

from memr1_lite.dates import written_date
from memr1_lite.demo import Answered, Remembered
from memr1_lite.records import Answer, AppliedOperation, Candidate, Change, Difference, Message


def change_lines(change: Change) -> list[str]:
    """A change and its operations, each with how sure the Manager was of it."""
    heading = f"change {change.id} ({change.reason})" + (f" of change {change.undoes}" if change.undoes else "")
    return [heading, *(f"  {operation}{_sure(operation)}" for operation in change.operations)]


def answer_lines(answer: Answer) -> list[str]:
    """An answer and what it rests on, and whether some of what was found could not be shown to the agent."""
    lines = [answer.text, *(f"  {candidate_line(candidate)}" for candidate in answer.cited)]
    if answer.left_out:
        found = answer.left_out + len(answer.candidates)
        lines.append(f"  ({answer.left_out} of {found} candidates did not fit into the model's context)")
    return lines


def difference_lines(difference: Difference) -> list[str]:
    """What became of a memory, as a patch shows it."""
    texts = (("-", difference.old), ("+", difference.new))
    return [f"{mark} [{difference.memory_id}] {text}" for mark, text in texts if text is not None]


def candidate_line(candidate: Candidate) -> str:
    """A memory or a turn, with its id."""
    mark = f"[{candidate.id}]" if candidate.kind == "memory" else f"(turn {candidate.id}) {candidate.speaker}:"
    return f"{mark} {dated(candidate.text, candidate.at)}"


def turn_line(turn: Message) -> str:
    """A turn, with its id and who said it."""
    return f"(turn {turn.id}) {turn.speaker}: {dated(turn.text, turn.at)}"


def dated(text: str, at: datetime | None) -> str:
    """A text and the day it was said, where that is known."""
    return text if at is None else f"{text}  ({written_date(at)})"


def demo_lines(event: Remembered | Answered) -> list[str]:
    """A step of the demonstration and the milliseconds it took."""
    took = f"{event.milliseconds:.0f} ms"
    if isinstance(event, Answered):
        cited = [f"    {candidate_line(candidate)}" for candidate in event.answer.cited]
        return [f"{event.asked.text}", f"    {event.answer.text}  [{took}]", *cited]
    said = event.said
    by_gate = ", no model call" if event.change.reason == "gate" else ""
    operations = [f"    {operation}  [{took}{by_gate}]" for operation in event.change.operations]
    return [f"{written_date(said.at)} | {said.speaker}: {said.text}", *operations]


def _sure(operation: AppliedOperation) -> str:
    return "" if operation.confidence is None else f"  (confidence {operation.confidence:.2f})"
