"""Two runs side by side: the same questions, system by system, with paired tests."""

from __future__ import annotations

from collections.abc import Sequence

from memr1_lite.errors import InvalidInputError
from memr1_lite.evaluation.report import SCORES, by_talk
from memr1_lite.evaluation.run_files import QuestionResult
from memr1_lite.evaluation.statistics import paired_test
from memr1_lite.evaluation.tables import table


def compare_lines(one: Sequence[QuestionResult], other: Sequence[QuestionResult]) -> list[str]:
    """The difference of every measure, first run less second, for each system that both have.

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
            tested = paired_test(by_talk(first, score), by_talk(second, score))
            gap = tested.difference
            rows.append(
                [
                    f"{system}: {name}",
                    str(len(first)),
                    f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]",
                    f"{tested.better}/{tested.worse}",
                    f"{tested.p:.3f}",
                ]
            )
    return table(["first - second, in percent", "questions", "difference", "better/worse", "p"], rows)
