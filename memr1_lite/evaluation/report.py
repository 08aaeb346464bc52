"""The closing tables of a run. They are printed whole or not at all: no system without the baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean, median

from memr1_lite.errors import InvalidInputError
from memr1_lite.evaluation.operations import OPERATIONS
from memr1_lite.evaluation.run_files import BuildCost, Judged, QuestionResult, RunSettings
from memr1_lite.evaluation.statistics import bootstrap_interval, paired_test, share_interval
from memr1_lite.evaluation.systems import BASELINES, OURS, PROMPTED, BankName, System
from memr1_lite.evaluation.tables import percent, table

Score = Callable[[QuestionResult], float]
SCORES: dict[str, Score] = {
    "F1": lambda result: result.set_f1,
    "BLEU-1": lambda result: result.bleu1,
    "EM": lambda result: result.exact,
    "SQuAD F1": lambda result: result.squad_f1,
}

BANKS: dict[BankName, str] = {"add-only": "add-only", "managed": "ours", "prompted": "prompted", "turns": "turns"}
"""The banks, by the systems that look in them."""


def by_talk(results: Sequence[QuestionResult], score: Score) -> dict[str, list[float]]:
    """The scores of one system's results by conversation, in the order of the questions' ids."""
    talks: dict[str, list[float]] = {}
    for result in sorted(results, key=lambda each: (each.talk, each.question)):
        talks.setdefault(result.talk, []).append(score(result))
    return talks


def report_lines(
    settings: RunSettings,
    results: Sequence[QuestionResult],
    costs: Sequence[BuildCost],
    judged: Sequence[Judged] = (),
    baseline: str = "bm25",
) -> list[str]:
    """All tables of a finished run.

    :param baseline: the system that the others are tested against, on F1
    :raises InvalidInputError: a question was not yet put to every system, or there is no such baseline
    """
    rows = _rows(results)
    judged = of_last_judge(judged)
    names = {system.name for system in rows}
    if baseline not in names:
        raise InvalidInputError(f"No system is called {baseline!r}: there are {', '.join(sorted(names))}.")
    return [
        *_heading(settings, results),
        "",
        *_quality(rows, judged, baseline),
        *_judge_lines(judged),
        "",
        *_categories(rows),
        "",
        *_operations(rows, costs),
        "",
        *_cost(rows, costs),
        *_memory(results, costs),
    ]


def of_last_judge(judged: Sequence[Judged]) -> list[Judged]:
    """The verdicts of the judge that was asked last: those of two do not mix."""
    return [each for each in judged if each.judge == judged[-1].judge]


def _rows(results: Sequence[QuestionResult]) -> dict[System, list[QuestionResult]]:
    rows: dict[System, list[QuestionResult]] = {}
    for system in (*BASELINES, PROMPTED, *OURS):
        mine = [result for result in results if result.system == system.name]
        if mine or system is not PROMPTED:
            rows[system] = mine
    asked = {result.question for result in results}
    if unfinished := [system.name for system, mine in rows.items() if {each.question for each in mine} != asked]:
        raise InvalidInputError(f"The run is not finished for {', '.join(unfinished)}: start it again, it goes on.")
    return rows


def _heading(settings: RunSettings, results: Sequence[QuestionResult]) -> list[str]:
    questions = len({result.question for result in results})
    return [
        f"{settings.benchmark}: {questions} questions about {', '.join(settings.conversations[:8])}"
        + (f" and {len(settings.conversations) - 8} more" if len(settings.conversations) > 8 else ""),
        *settings.notes,
        f"file {settings.file} {settings.file_sha256}",
        *(f"{role} {file}" for role, file in settings.agents.items()),
        f"up to {settings.candidates} candidates, {settings.similar} similar memories, context {settings.context}, "
        f"embedder {settings.embedder}",
        settings.machine,
    ]


def _quality(rows: dict[System, list[QuestionResult]], judged: Sequence[Judged], baseline: str) -> list[str]:
    against = next(mine for system, mine in rows.items() if system.name == baseline)
    verdicts = {(each.system, each.question): each.correct for each in judged if not each.control}
    lines = []
    for system, mine in rows.items():
        cells = [percent(bootstrap_interval(by_talk(mine, score))) for score in SCORES.values()]
        if verdicts:
            said = [verdicts[system.name, each.question] for each in mine if (system.name, each.question) in verdicts]
            cells.append(percent(share_interval(sum(said), len(said))) if said else "-")
        cells += [_recall(mine, "10"), _recall(mine, "60")]
        if system.name == baseline:
            cells += ["", ""]
        else:
            tested = paired_test(by_talk(mine, SCORES["F1"]), by_talk(against, SCORES["F1"]))
            cells += [f"{100 * tested.difference.value:+.1f}", f"{tested.p:.3f}"]
        lines.append([system.name, *cells])
    head = ["system", *SCORES, *(["J"] if verdicts else []), "R@10", "R@60", f"F1 - {baseline}", "p"]
    notes = [f"{system.name}: {system.about}" for system in rows]
    return [*table(head, lines), "in percent, with 95 % intervals over conversations and questions", *notes]


def _judge_lines(judged: Sequence[Judged]) -> list[str]:
    if not judged:
        return []
    controls = [each.correct for each in judged if each.control]
    share = percent(share_interval(sum(controls), len(controls)))
    judge, failed = judged[0].judge, sum(each.error is not None for each in judged)
    lines = [f"J is the verdict of {judge}. Of {len(controls)} wrong answers put to it, it let through {share} %."]
    if not controls:
        lines = [
            f"J is the verdict of {judge}. There was no wrong answer to put to it: how lenient it is is not known."
        ]
    return [*lines, f"It gave no verdict on {failed} of {len(judged)}, which count as wrong."] if failed else lines


def _categories(rows: dict[System, list[QuestionResult]]) -> list[str]:
    first = next(iter(rows.values()))
    labels = {result.category: result.paper_label for result in sorted(first, key=lambda each: each.category)}
    head = ["F1 by category"]
    for category, label in labels.items():
        count = sum(result.category == category for result in first)
        head.append(f"{category}{f', paper: {label}' if label else ''} (n={count})")
    lines = []
    for system, mine in rows.items():
        values = ([result.set_f1 for result in mine if result.category == category] for category in labels)
        lines.append([system.name, *(f"{100 * mean(scores):.1f}" for scores in values)])
    return table(head, lines)


def _operations(rows: dict[System, list[QuestionResult]], costs: Sequence[BuildCost]) -> list[str]:
    """What became of the turns, for each bank that keeps memories."""
    lines = []
    for bank in dict.fromkeys(system.bank for system in rows if system.bank != "turns"):
        turns = [cost for cost in costs if cost.bank == bank]
        done = [name for cost in turns for name in cost.operations]
        written = [cost.unsaid for cost in turns if cost.unsaid is not None]
        faithful = share_interval(sum(not count for count in written), len(written))
        counts = [str(done.count(name)) for name in OPERATIONS]
        lines.append([BANKS[bank], str(len(turns)), *counts, percent(faithful) if written else "-"])
    head = ["what the Manager did", "turns", *OPERATIONS, "nothing made up"]
    return [
        *table(head, lines),
        "nothing made up: turns of whose memories every word and number was in what the Manager read",
    ]


def _memory(results: Sequence[QuestionResult], costs: Sequence[BuildCost]) -> list[str]:
    peaks = [*(each.peak_mib for each in results), *(each.peak_mib for each in costs)]
    known = [peak for peak in peaks if peak is not None]
    return (
        [f"peak memory of a process of this run, all systems one after another: {max(known):.0f} MiB"] if known else []
    )


def _cost(rows: dict[System, list[QuestionResult]], costs: Sequence[BuildCost]) -> list[str]:
    head = ["cost", "calls/turn", "tokens in/turn", "out/turn", "s/turn"]
    head += ["calls/question", "tokens in", "out/question", "find ms", "answer ms", "shown", "errors"]
    lines = []
    for system, mine in rows.items():
        turns = [cost for cost in costs if cost.bank == system.bank]
        failed = sum(error is not None for error in [*(turn.error for turn in turns), *(each.error for each in mine)])
        lines.append(
            [
                system.name,
                _mean([cost.calls for cost in turns], 2),
                _mean([cost.prompt_tokens for cost in turns], 0),
                _mean([cost.output_tokens for cost in turns], 0),
                _mean([cost.seconds for cost in turns], 3),
                _mean([each.calls for each in mine], 2),
                _mean([each.prompt_tokens for each in mine], 0),
                _mean([each.output_tokens for each in mine], 1),
                f"{1000 * median(each.retrieve_seconds for each in mine):.1f}",
                f"{1000 * median(each.answer_seconds for each in mine):.0f}",
                _mean([each.shown for each in mine], 1),
                str(failed),
            ]
        )
    return [*table(head, lines), "means, but for the milliseconds, which are medians; a whole run shares one machine"]


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{mean(values):.{digits}f}" if values else "-"


def _recall(results: Sequence[QuestionResult], k: str) -> str:
    recalls = [result.recall[k] for result in results if result.recall is not None]
    return f"{100 * mean(recalls):.1f}" if recalls else "-"
