"""What the hand-phrased set says about a pair of agents, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from memr1_lite.evaluation.hand import HandResult
from memr1_lite.evaluation.operations import OPERATIONS, Confusion, confusion_of
from memr1_lite.evaluation.statistics import Interval, share_interval
from memr1_lite.evaluation.tables import percent, table
from memr1_lite.records import Record

HEAD = ["", "cases", "right operation", "right memory", "words held", "nothing made up", "right answer"]


class HandScores(Record):
    """Shares of the cases that each measure applies to."""

    cases: int
    operation: Interval
    memory: Interval
    held: Interval
    faithful: Interval
    answered: Interval
    errors: int


def hand_scores(results: Sequence[HandResult]) -> HandScores:
    """Count ``results``."""
    return HandScores(
        cases=len(results),
        operation=_share([result.operation for result in results]),
        memory=_share([result.memory for result in results if result.memory is not None]),
        held=_share([result.held for result in results if result.held is not None]),
        faithful=_share([not result.unsaid for result in results if result.unsaid is not None]),
        answered=_share([result.answered for result in results]),
        errors=sum(result.error is not None for result in results),
    )


def hand_lines(results: Sequence[HandResult]) -> list[str]:
    """A row per kind of message and one for all, then the confusion matrix, rows being what is right."""
    kinds = dict.fromkeys(result.kind for result in results)
    rows = [_row(kind, [result for result in results if result.kind == kind], False) for kind in kinds]
    rows.append(_row("all", results, True))
    return [*table(HEAD, rows), "", *confusion_lines(confusion_of(results))]


def confusion_lines(confusion: Confusion) -> list[str]:
    """The matrix with the recall of each row and the precision of each column."""
    rows = [[right, *map(str, counts), _hundredths(confusion.recall(right))] for right, counts in confusion.rows()]
    rows.append(["precision", *(_hundredths(confusion.precision(name)) for name in OPERATIONS), ""])
    return table(["right \\ chosen", *OPERATIONS, "recall"], rows)


def _row(name: str, results: Sequence[HandResult], interval: bool) -> list[str]:
    scores = hand_scores(results)
    shares = (scores.operation, scores.memory, scores.held, scores.faithful, scores.answered)
    return [name, str(scores.cases), *(_cell(share, interval) for share in shares)]


def _cell(share: Interval, interval: bool) -> str:
    if share.high - share.low == 1.0:  # nothing was counted
        return "-"
    return percent(share) if interval else f"{100 * share.value:.0f}"


def _share(hits: Sequence[bool]) -> Interval:
    return share_interval(sum(hits), len(hits))


def _hundredths(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"
