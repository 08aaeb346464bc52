"""The commands that run benchmark files, and look at finished runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import click

from memr1_lite.cli.common import all_agent_options, embedder_called, embedder_option, gguf
from memr1_lite.config import Agents, BankConfig
from memr1_lite.errors import InvalidInputError
from memr1_lite.evaluation.benchmark import Benchmark, limited
from memr1_lite.evaluation.compare import compare_lines
from memr1_lite.evaluation.contradiction_run import RESULTS, HistoryResult
from memr1_lite.evaluation.judge import HttpJudge, Judge, ModelJudge, judge_all, judge_steps
from memr1_lite.evaluation.locomo import Adversarial, read_locomo_benchmark
from memr1_lite.evaluation.longmemeval import read_longmemeval
from memr1_lite.evaluation.machine import agent_files, hashes, machine
from memr1_lite.evaluation.msc import read_msc
from memr1_lite.evaluation.plot import plot_contradictions, plot_run
from memr1_lite.evaluation.report import report_lines
from memr1_lite.evaluation.run_files import RunFolder, RunSettings
from memr1_lite.evaluation.runner import Runner
from memr1_lite.evaluation.world import read_world
from memr1_lite.file_agents import FileAgents
from memr1_lite.llama.gguf_file import sha256_of
from memr1_lite.llm import MAX_SHOWN

DEFAULTS = BankConfig()
folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--conversations", help="LoCoMo's, by name, or train, validation, test; separated by commas.")
@click.option("--adversarial", is_flag=True, help="LoCoMo's adversarial questions too: right is not to know.")
@click.option(
    "--personas",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="MSC's persona files, whose statements are searched for in a session file.",
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many questions per conversation.")
@click.option("--out", type=folder, help="Folder of the run; one that is there goes on. eval-BENCHMARK if left out.")
@click.option("--candidates", type=click.IntRange(1, MAX_SHOWN), default=DEFAULTS.candidates, show_default=True)
@click.option("--context", type=click.IntRange(min=512), default=DEFAULTS.context, show_default=True, help="In tokens.")
@embedder_option
@click.option("--threads", type=click.IntRange(min=1), help="For llama.cpp.")
@click.option("--baseline", default="bm25", show_default=True, help="The system that the others are tested against.")
@click.option("--prompted", type=gguf, help="GGUF of an untrained model, which plays both roles as one more baseline.")
@click.option("--judge", type=gguf, help="GGUF of a model that judges the answers.")
@click.option("--judge-url", help="An OpenAI-compatible address of a judge instead, such as http://localhost:8080/v1.")
@click.option("--judge-model", default="default", help="The judge's name at that address.")
@click.option("--judge-key", envvar="MEMR1_JUDGE_KEY", show_envvar=True, help="The key that the address asks for.")
@all_agent_options
def _run(
    benchmark: str,
    file: Path,
    conversations: str | None,
    adversarial: bool,
    personas: tuple[Path, ...],
    limit: int | None,
    out: Path | None,
    candidates: int,
    context: int,
    embedder: str | None,
    threads: int | None,
    baseline: str,
    prompted: Path | None,
    judge: Path | None,
    judge_url: str | None,
    judge_model: str,
    judge_key: str | None,
    agents: Agents,
) -> None:
    read = limited(_read(benchmark, file, conversations, adversarial, personas), limit)
    files = agent_files(agents) | ({"prompted": prompted} if prompted else {})
    config = BankConfig(candidates=candidates, context=context, threads=threads)
    place = RunFolder(out or Path(f"eval-{benchmark}"))
    with ExitStack() as opened:
        vectors = opened.enter_context(embedder_called(embedder))
        place.begin(
            RunSettings(
                benchmark=read.name,
                file=file.name,
                file_sha256=sha256_of(file),
                conversations=tuple(talk.id for talk in read.talks),
                questions=sum(len(talk.questions) for talk in read.talks),
                candidates=candidates,
                similar=config.similar,
                context=context,
                embedder=vectors.name,
                agents=hashes(files),
                machine=machine(),
                notes=read.notes,
            )
        )
        both = opened.enter_context(closing(FileAgents(agents, config)))
        stranger = None
        if prompted is not None:
            stranger = opened.enter_context(closing(FileAgents(Agents(manager=prompted, answerer=prompted), config)))
        runner = Runner(place, both, vectors, config, stranger)
        with click.progressbar(length=runner.steps(read), label=f"Running in {place.path}", file=sys.stderr) as bar:
            runner.run(read, done=bar.update)
    if judge is not None or judge_url is not None:
        _judge(place, ModelJudge.load(judge, threads) if judge else HttpJudge(str(judge_url), judge_model, judge_key))
    lines = report_lines(place.settings(), place.results(), place.costs(), place.judged(), baseline)
    place.write_table(lines)
    click.echo("\n".join(lines))


@click.command()
@click.argument("first", type=folder)
@click.argument("second", type=folder)
def compare(first: Path, second: Path) -> None:
    """Compare two runs on the questions that both have.

    \b
    Example:
        memr1 eval compare eval-before eval-after
    """
    one, other = (RunFolder(each) for each in (first, second))
    for run in (one, other):
        click.echo(f"{run.path}: {', '.join(run.settings().agents.values())}", err=True)
    click.echo("\n".join(compare_lines(one.results(), other.results(), one.judged(), other.judged())))


@click.command()
@click.argument("run", type=folder)
@click.argument("picture", type=click.Path(dir_okay=False, path_type=Path))
def plot(run: Path, picture: Path) -> None:
    """Draw a run: F1 and BLEU-1 of every system, or what became of contradictions. Needs matplotlib.

    \b
    Example:
        memr1 eval plot eval-locomo locomo.png
    """
    place = RunFolder(run)
    if place.settings().benchmark == "contradictions":
        plot_contradictions(place.read(RESULTS, HistoryResult), picture)
    else:
        plot_run(place.results(), picture)


def _read(
    benchmark: str, file: Path, conversations: str | None, adversarial: bool, personas: Sequence[Path]
) -> Benchmark:
    if personas and benchmark != "msc":
        raise InvalidInputError("--personas is for MSC.")
    if benchmark == "locomo":
        chosen = [name.strip() for name in conversations.split(",")] if conversations else []
        right: Adversarial = "abstain" if adversarial else "leave-out"
        return read_locomo_benchmark(file, chosen, right)
    if conversations is not None or adversarial:
        raise InvalidInputError("--conversations and --adversarial are for LoCoMo.")
    if benchmark == "msc":
        return read_msc(file, personas)
    return read_longmemeval(file) if benchmark == "longmemeval" else read_world(file)


def _judge(place: RunFolder, judge: Judge) -> None:
    results = place.results()
    with click.progressbar(length=judge_steps(results), label="Judging", file=sys.stderr) as bar:
        for verdict in judge_all(results, judge, place.judged(), done=bar.update):
            place.keep(verdict)


def _benchmark(name: str, about: str, example: str) -> click.Command:
    """The command of one benchmark: all have the same options."""
    steps = "Interrupted and run again it goes on where it stopped. The table comes last, and with all baselines."
    text = f"Measure a memory and its baselines on {about}.\n\n{steps}\n\n\b\nExample:\n    memr1 eval {example}\n"
    return click.Command(name, params=_run.params, callback=partial(_run.callback or _run, name), help=text)


COMMANDS = (
    _benchmark("locomo", "LoCoMo's FILE", "locomo locomo10.json --conversations conv-30"),
    _benchmark("longmemeval", "one of LongMemEval's FILEs", "longmemeval longmemeval_oracle.json --out oracle"),
    _benchmark("msc", "a FILE of MSC-Self-Instruct or of MSC itself", "msc msc_self_instruct.jsonl"),
    _benchmark("world", "a FILE of `python -m train_ref.world`", "world heldout.jsonl"),
    compare,
    plot,
)
