"""Tables as plain text: columns of equal width, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence

from memr1_lite.evaluation.statistics import Interval


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, as Markdown has them, so that they can be pasted; the first column is text."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_line(row, widths) for row in (head, *rows)]
    rule = "|".join(["", "-" * (widths[0] + 2), *(f"{'-' * (width + 1)}:" for width in widths[1:]), ""])
    return [lines[0], rule, *lines[1:]]


def percent(interval: Interval) -> str:
    """``62.7 [58.1, 67.0]``: a share in percent with its bounds."""
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(cells)} |"
