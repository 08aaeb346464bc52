"""What the contradiction suite says about a pair of agents: a table by kind, a confusion matrix, the failures by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memr1_lite.evaluation.contradiction_run import HistoryResult
from memr1_lite.evaluation.hand_table import confusion_lines
from memr1_lite.evaluation.operations import Expected, confusion_of
from memr1_lite.evaluation.run_files import RunSettings
from memr1_lite.evaluation.statistics import Interval, cluster_interval
from memr1_lite.evaluation.tables import percent, table
from memr1_lite.records import Record

HEAD = ["", "histories", "right operation", "right memory", "answered", "rightly unknown", "leaks", "valid", "upheld"]
WITHOUT_MODEL = "all, without a model"
Hits = Callable[[HistoryResult], Sequence[bool]]


class ContradictionScores(Record):
    """Shares with their bootstrap intervals, whole histories drawn; None where nothing counts.

    ``operation`` and ``memory``: of messages. ``answered``: of questions that have an answer. ``unknown``: of those
    where it is right not to know. ``leaks``, ``valid`` and ``upheld``: of histories; of leaks, fewer are better.
    """

    kind: str
    histories: int
    operation: Interval | None
    memory: Interval | None
    answered: Interval | None
    unknown: Interval | None
    leaks: Interval | None
    valid: Interval | None
    upheld: Interval | None


def contradiction_scores(results: Sequence[HistoryResult]) -> list[ContradictionScores]:
    """The scores of each kind, in the order of ``results``, then of ``all``."""
    kinds = dict.fromkeys(result.kind for result in results)
    parts = {kind: [result for result in results if result.kind == kind] for kind in kinds}
    return [_scores(kind, part) for kind, part in {**parts, "all": list(results)}.items()]


def contradiction_lines(
    settings: RunSettings,
    scores: Sequence[ContradictionScores],
    results: Sequence[HistoryResult],
    quoted: Sequence[HistoryResult],
) -> list[str]:
    """What was measured with what, the table in percent, and the confusion matrix, rows being what is right.

    :param quoted: the same histories without a model, for the last row
    """
    baseline = contradiction_scores(quoted)[-1].model_copy(update={"kind": WITHOUT_MODEL})
    return [
        f"contradictions: {len(results)} histories, {sum(len(result.turns) for result in results)} messages, "
        f"{sum(len(result.asks) for result in results)} questions",
        *(f"{role} {file}" for role, file in settings.agents.items()),
        f"up to {settings.candidates} candidates, {settings.similar} similar memories, embedder {settings.embedder}",
        settings.machine,
        "",
        *table(HEAD, [_row(each) for each in (*scores, baseline)]),
        "",
        *confusion_lines(confusion_of(turn for result in results for turn in result.turns)),
    ]


def failure_lines(results: Sequence[HistoryResult]) -> list[str]:
    """Every history that is not upheld, or has a wrong decision: by its id, what was done and what would be right."""
    lines = []
    for result in results:
        wrong = [*_wrong_turns(result), *_wrong_asks(result)]
        wrong += [f"  a memory still holds {text!r}" for text in result.leaked]
        if wrong:
            lines += [f"{result.id}{'' if result.upheld else ' (not upheld)'}", *wrong]
    return lines


def _wrong_turns(result: HistoryResult) -> list[str]:
    lines = []
    for number, turn in enumerate(result.turns, start=1):
        if turn.error is not None:
            lines.append(f"  message {number}: {turn.error}")
        elif not turn.operation or turn.memory is False:
            lines.append(f"  message {number}: {'; '.join(turn.log)} (right: {_written(turn.right)})")
    return lines


def _wrong_asks(result: HistoryResult) -> list[str]:
    lines = []
    for ask in result.asks:
        if ask.error is not None:
            lines.append(f"  {ask.question} {ask.error}")
        elif not ask.right:
            lines.append(f"  {ask.question} {ask.answer!r} (right: {ask.answers[0] if ask.known else 'not known'!r})")
    return lines


def _written(right: Sequence[Expected]) -> str:
    return " and ".join(
        each.op if each.memory is None else f"{each.op} of what message {each.memory} wrote" for each in right
    )


def _scores(kind: str, results: Sequence[HistoryResult]) -> ContradictionScores:
    def share(hits: Hits) -> Interval | None:
        values = {result.id: [float(hit) for hit in hits(result)] for result in results}
        return cluster_interval(values) if any(values.values()) else None

    return ContradictionScores(
        kind=kind,
        histories=len(results),
        operation=share(lambda result: [turn.operation for turn in result.turns]),
        memory=share(lambda result: [turn.memory for turn in result.turns if turn.memory is not None]),
        answered=share(lambda result: [ask.right for ask in result.asks if ask.known]),
        unknown=share(lambda result: [ask.right for ask in result.asks if not ask.known]),
        leaks=share(lambda result: [result.leaks]),
        valid=share(lambda result: [result.valid]),
        upheld=share(lambda result: [result.upheld]),
    )


def _row(scores: ContradictionScores) -> list[str]:
    whole = scores.kind in ("all", WITHOUT_MODEL)
    names = ("operation", "memory", "answered", "unknown", "leaks", "valid", "upheld")
    return [scores.kind, str(scores.histories), *(_cell(getattr(scores, name), whole) for name in names)]


def _cell(share: Interval | None, interval: bool) -> str:
    if share is None:
        return "-"
    return percent(share) if interval else f"{100 * share.value:.0f}"
