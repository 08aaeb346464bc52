"""The commands that measure agents on the sets in the package."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from importlib import resources
from pathlib import Path

import click

from memr1_lite.cli.common import agent_options, embedder_called, embedder_option, json_option, show
from memr1_lite.config import Agents, BankConfig
from memr1_lite.evaluation.contradiction_run import QUOTED, Quoting, run_contradictions
from memr1_lite.evaluation.contradiction_table import contradiction_lines, contradiction_scores, failure_lines
from memr1_lite.evaluation.contradictions import FILE, chosen, histories
from memr1_lite.evaluation.hand import hand_cases, measure_hand
from memr1_lite.evaluation.hand_table import hand_lines, hand_scores
from memr1_lite.evaluation.machine import agent_files, hashes, machine
from memr1_lite.evaluation.run_files import RunFolder, RunSettings
from memr1_lite.file_agents import FileAgents
from memr1_lite.llama.gguf_file import sha256_of


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many messages.")
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), help="Write every result here, as JSON Lines.")
@agent_options
@json_option
def hand(limit: int | None, keep: Path | None, agents: Agents, as_json: bool) -> None:
    """Measure both agents on 255 messages phrased by hand, which no training has seen.

    \b
    Example:
        memr1 eval hand --manager my-manager.gguf --keep results.jsonl
    """
    cases = hand_cases()[:limit]
    if keep is not None:
        keep.touch()  # to learn now, and not after minutes, that it cannot be written
    with (
        closing(FileAgents(agents)) as both,
        click.progressbar(length=len(cases), label="Measuring", file=sys.stderr) as progress,
    ):
        results = list(measure_hand(cases, both, done=lambda: progress.update(1)))
    if keep is not None:
        keep.write_text("".join(result.model_dump_json() + "\n" for result in results), encoding="utf-8")
    show([hand_scores(results)], as_json, lambda _: hand_lines(results))


@click.command()
@click.option("--kinds", help="Only these kinds of histories, separated by commas.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many histories of each kind.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="eval-contradictions",
    show_default=True,
    help="Folder of the run; one that is there goes on.",
)
@click.option("--failures", is_flag=True, help="Also list what went wrong, by the id of the history.")
@click.option("--threads", type=click.IntRange(min=1), help="For llama.cpp.")
@embedder_option
@agent_options
@json_option
def contradictions(
    kinds: str | None,
    limit: int | None,
    out: Path,
    failures: bool,
    threads: int | None,
    embedder: str | None,
    agents: Agents,
    as_json: bool,
) -> None:
    """Measure both agents on 338 short histories in which something is replaced, taken back, repeated or denied.

    Each history has a bank of its own. Interrupted and run again it goes on where it stopped.

    \b
    Example:
        memr1 eval contradictions --failures
        memr1 eval contradictions --kinds retraction,injection --manager my-manager.gguf --out mine
        memr1 eval plot eval-contradictions contradictions.png
    """
    whole = histories()
    suite = chosen(whole, [kind.strip() for kind in kinds.split(",")] if kinds else [], limit)
    config, place = BankConfig(threads=threads), RunFolder(out)
    with ExitStack() as opened:
        vectors = opened.enter_context(embedder_called(embedder))
        place.begin(
            RunSettings(
                benchmark="contradictions",
                file=FILE,
                file_sha256=sha256_of(Path(str(resources.files("memr1_lite.evaluation") / FILE))),
                conversations=tuple(dict.fromkeys(history.kind for history in whole)),
                questions=sum(len(history.asks) for history in whole),
                candidates=config.candidates,
                similar=config.similar,
                context=config.context,
                embedder=vectors.name,
                agents=hashes(agent_files(agents)),
                machine=machine(),
                notes=(),
            )
        )
        both = opened.enter_context(closing(FileAgents(agents, config)))
        with click.progressbar(length=2 * len(suite), label=f"Running in {out}", file=sys.stderr) as bar:
            quoted = run_contradictions(suite, Quoting(), vectors, place, config, bar.update, QUOTED)
            results = run_contradictions(suite, both, vectors, place, config, bar.update)
    scores = contradiction_scores(results)
    if as_json:
        return show(scores, as_json, lambda _: [])
    lines = contradiction_lines(place.settings(), scores, results, quoted)
    lines += ["", *failure_lines(results)] if failures else []
    place.write_table(lines)
    click.echo("\n".join(lines))


COMMANDS = (hand, contradictions)
