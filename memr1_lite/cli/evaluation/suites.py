"""The commands that measure agents on the sets in the package."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from memr1_lite.cli.common import agent_options, json_option, show
from memr1_lite.config import Agents
from memr1_lite.evaluation.hand import hand_cases, measure_hand
from memr1_lite.evaluation.hand_table import hand_lines, hand_scores
from memr1_lite.file_agents import FileAgents


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many messages.")
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), help="Write every result here, as JSON Lines.")
@agent_options
@json_option
def hand(limit: int | None, keep: Path | None, manager: Path | None, answerer: Path | None, as_json: bool) -> None:
    """Measure both agents on 255 messages phrased by hand, which no training has seen.

    \b
    Example:
        memr1 eval hand --manager my-manager.gguf --keep results.jsonl
    """
    cases = hand_cases()[:limit]
    agents = FileAgents(Agents(manager=manager, answerer=answerer))
    try:
        with click.progressbar(length=len(cases), label="Measuring", file=sys.stderr) as progress:
            results = list(measure_hand(cases, agents, done=lambda: progress.update(1)))
    finally:
        agents.close()
    if keep is not None:
        keep.write_text("".join(result.model_dump_json() + "\n" for result in results), encoding="utf-8")
    show([hand_scores(results)], as_json, lambda _: hand_lines(results))


COMMANDS = (hand,)
