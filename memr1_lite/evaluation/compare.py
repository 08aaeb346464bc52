"""Two runs side by side: the same questions, system by system, with paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memr1_lite.errors import InvalidInputError
from memr1_lite.evaluation.report import SCORES, by_talk, of_last_judge
from memr1_lite.evaluation.run_files import Judged, QuestionResult
from memr1_lite.evaluation.statistics import paired_test
from memr1_lite.evaluation.tables import table


def compare_lines(
    one: Sequence[QuestionResult],
    other: Sequence[QuestionResult],
    judged: Sequence[Judged] = (),
    other_judged: Sequence[Judged] = (),
) -> list[str]:
    """The difference of every measure, first run less second, for each system that both have.

    J is among them where one judge judged both last.

    :raises InvalidInputError: the runs share no question
    """
    shared = {(result.system, result.question) for result in one} & {
        (result.system, result.question) for result in other
    }
    if not shared:
        raise InvalidInputError("The two runs have no question of any system in common.")
    rows = []
    for system in dict.fromkeys(result.system for result in one):
        first, second = (
            [each for each in run if each.system == system and (system, each.question) in shared]
            for run in (one, other)
        )
        for name, score in SCORES.items() if first else ():
            rows.append(_row(f"{system}: {name}", by_talk(first, score), by_talk(second, score)))
        if judged and other_judged and judged[-1].judge == other_judged[-1].judge:
            verdicts, others = _verdicts(system, judged), _verdicts(system, other_judged)
            first, second = (
                [each for each in run if each.question in verdicts and each.question in others]
                for run in (first, second)
            )
            if first:
                rows.append(
                    _row(
                        f"{system}: J",
                        by_talk(first, lambda result: verdicts[result.question]),  # noqa: B023 - called at once
                        by_talk(second, lambda result: others[result.question]),  # noqa: B023
                    )
                )
    return table(["first - second, in percent", "questions", "difference", "better/worse", "p"], rows)


def _verdicts(system: str, judged: Sequence[Judged]) -> dict[str, float]:
    mine = (each for each in of_last_judge(judged) if each.system == system and not each.control)
    return {each.question: float(each.correct) for each in mine}


def _row(name: str, first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> list[str]:
    tested = paired_test(first, second)
    gap = tested.difference
    return [
        name,
        str(sum(map(len, first.values()))),
        f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
        f"{tested.better}/{tested.worse}",
        f"{tested.p:.3f}",
    ]
