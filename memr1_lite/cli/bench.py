"""The command that measures what agents cost on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from memr1_lite.cli.common import agent_options, embedder_called, embedder_option, gguf, json_option, show
from memr1_lite.config import Agents
from memr1_lite.evaluation.bench import bench as measured_bench
from memr1_lite.evaluation.bench_table import bench_lines

MINUTES = 5.0
QUICK = 0.2
"""Share of the time that --quick takes."""


@click.command()
@click.argument("model", required=False, type=gguf)
@click.option(
    "--within", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, metavar="SECONDS"
)
@click.option("--quick", is_flag=True, help="One minute instead of five.")
@embedder_option
@agent_options
@json_option
def bench(
    model: Path | None,
    within: float,
    quick: bool,
    embedder: str | None,
    agents: Agents,
    as_json: bool,
) -> None:
    """Measure what agents cost on this machine, in about five minutes: MODEL in both roles, or the bundled ones.

    Tokens per second, what `remember` and `ask` take and where it goes, memory, how many histories of the contradiction
    suite come out right, and which number of candidates, context and threads answers within the SECONDS wanted. Nothing
    is written but in a temporary folder.

    \b
    Example:
        memr1 bench qwen2.5-3b.Q4_K_M.gguf --within 5
        memr1 bench --quick --json
    """
    if model is not None:
        if agents != Agents():
            raise click.UsageError("MODEL plays both roles: give it, or --manager and --answerer.")
        agents = Agents(manager=model, answerer=model)
    seconds = 60 * MINUTES * (QUICK if quick else 1)
    with (
        embedder_called(embedder) as vectors,
        click.progressbar(length=1000, label="Measuring", file=sys.stderr, show_eta=False) as progress,
    ):
        found = measured_bench(agents, vectors, seconds, done=lambda share: progress.update(round(1000 * share)))
    show([found], as_json, lambda each: bench_lines(each, within))
