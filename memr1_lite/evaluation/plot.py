"""Pictures of a run and of the contradiction suite; matplotlib is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memr1_lite.errors import MissingExtraError
from memr1_lite.evaluation.contradiction_run import HistoryResult
from memr1_lite.evaluation.contradiction_table import contradiction_scores
from memr1_lite.evaluation.operations import OPERATIONS, Confusion, confusion_of
from memr1_lite.evaluation.report import SCORES, by_talk
from memr1_lite.evaluation.run_files import QuestionResult
from memr1_lite.evaluation.statistics import bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def plot_run(results: Sequence[QuestionResult], file: Path) -> None:
    """Draw F1 and BLEU-1 of every system with their intervals.

    :raises MissingExtraError: matplotlib is not installed
    """
    systems = list(dict.fromkeys(result.system for result in results))
    figure = _figure(8, 0.6 * len(systems) + 1.5)
    axes = figure.add_subplot()
    for offset, name in ((-0.2, "F1"), (0.2, "BLEU-1")):
        places = [place + offset for place in range(len(systems))]
        intervals = [
            bootstrap_interval(by_talk([each for each in results if each.system == system], SCORES[name]))
            for system in systems
        ]
        values = [100 * interval.value for interval in intervals]
        errors = [
            [100 * max(0.0, interval.value - interval.low) for interval in intervals],
            [100 * max(0.0, interval.high - interval.value) for interval in intervals],
        ]
        axes.barh(places, values, height=0.38, xerr=errors, capsize=2, label=name)
    axes.set_yticks(range(len(systems)), systems)
    axes.invert_yaxis()
    axes.set_xlabel("percent, with 95 % intervals")
    axes.legend()
    figure.savefig(file, dpi=DOTS_PER_INCH)


def plot_contradictions(results: Sequence[HistoryResult], file: Path) -> None:
    """Draw the shares of histories that are upheld and that leak, by kind, beside the confusion matrix.

    :raises MissingExtraError: matplotlib is not installed
    """
    rows = contradiction_scores(results)
    figure = _figure(8.5, 4.2)
    bars, matrix = figure.subplots(1, 2, width_ratios=(3, 2))
    for offset, name, colour in ((-0.2, "upheld", "tab:blue"), (0.2, "leaks", "tab:red")):
        shares = [share for row in rows if (share := getattr(row, name)) is not None]
        values = [100 * share.value for share in shares]
        errors = [
            [100 * max(0.0, share.value - share.low) for share in shares],
            [100 * max(0.0, share.high - share.value) for share in shares],
        ]
        places = [place + offset for place in range(len(rows))]
        bars.barh(places, values, height=0.38, xerr=errors, capsize=2, color=colour, label=name)
    bars.set_yticks(range(len(rows)), [row.kind for row in rows])
    bars.invert_yaxis()
    bars.set_xlim(0, 100)
    bars.set_xlabel("percent of histories, with 95 % intervals")
    bars.legend()
    _draw_confusion(matrix, confusion_of(turn for result in results for turn in result.turns))
    figure.savefig(file, dpi=DOTS_PER_INCH)


def _draw_confusion(axes: Axes, confusion: Confusion) -> None:
    """Right operations (rows) against chosen ones (columns)."""
    rows = [counts for _, counts in confusion.rows()]
    shares = [[count / max(1, sum(counts)) for count in counts] for counts in rows]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, counts in enumerate(rows):
        for column, count in enumerate(counts):
            colour = "white" if shares[row][column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(OPERATIONS)), OPERATIONS)
    axes.set_yticks(range(len(OPERATIONS)), OPERATIONS)
    axes.set_xlabel("chosen")
    axes.set_ylabel("right")


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure as Drawn  # without pyplot: no window, no state
    except ImportError as error:
        raise MissingExtraError("plot", "matplotlib") from error
    return Drawn(figsize=(width, height), layout="constrained")
