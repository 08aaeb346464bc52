"""Commands that look after the bank's file; none needs a model."""

from __future__ import annotations

import sys

import click

from memr1_lite.bank import MemoryBank
from memr1_lite.cli.common import embedder_called, existing, json_option, path_argument, refuse_missing, show
from memr1_lite.opening import cached_embedder


@click.command()
@path_argument
@json_option
def reindex(path: str, as_json: bool) -> None:
    """Build full text and vector indexes anew from what was said and decided.

    A bank does so by itself where an index is missing, stale or damaged.

    \b
    Example:
        memr1 reindex andrew.db
    """
    with existing(path) as bank:
        numbers = bank.reindex()
    show([numbers], as_json, lambda found: [f"{found.memories:,} memories and {found.messages:,} turns indexed"])


@click.command()
@path_argument
def check(path: str) -> None:
    """Look for damage: exit code 1 and a line per finding, or one line that says there is none.

    \b
    Example:
        memr1 check andrew.db
    """
    with existing(path) as bank:
        found = bank.check()
    click.echo("\n".join(found) or "no damage found")
    if found:
        raise click.exceptions.Exit(1)


@click.command()
@path_argument
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
def export(path: str, file: str) -> None:
    """Write all of the bank, its history and vectors too, as JSON Lines to FILE, or to standard output where it is -.

    \b
    Example:
        memr1 export andrew.db andrew.jsonl
        memr1 import copy.db andrew.jsonl --format bank
    """
    with existing(path) as bank:
        if file != "-":
            bank.export(file)
            return
        for line in bank.export_lines():
            click.echo(line)


@click.command()
@path_argument
@click.argument("file", type=click.Path(dir_okay=False))
def backup(path: str, file: str) -> None:
    """Copy the bank into the new FILE, also while others read and write it.

    \b
    Example:
        memr1 backup andrew.db andrew-monday.db
    """
    with existing(path) as bank:
        bank.backup(file)


@click.command()
@path_argument
@json_option
def compact(path: str, as_json: bool) -> None:
    """Give back the space of what is gone.

    \b
    Example:
        memr1 compact andrew.db
    """
    with existing(path) as bank:
        before = bank.stats().bytes
        numbers = bank.compact()
    show([numbers], as_json, lambda found: [f"{before:,} bytes before, {found.bytes:,} bytes now"])


@click.command()
@path_argument
@click.option(
    "--embedder",
    "to",
    metavar="lexical|FILE",
    help="Words alone, or a sentence encoder's GGUF file; the one that `make embedder` built if not given.",
)
@json_option
def reembed(path: str, to: str | None, as_json: bool) -> None:
    """Move the bank to another embedder; killed and run again, it goes on. Others may search and write meanwhile.

    \b
    Example:
        memr1 reembed andrew.db
        memr1 reembed andrew.db --embedder lexical
    """
    refuse_missing(path)
    built = cached_embedder()
    if to is None and not built.is_file():
        raise click.ClickException(
            f"There is no sentence encoder at {str(built)!r}:"
            " run `make embedder` in the repository, or give --embedder."
        )
    with embedder_called(str(built) if to is None else to) as embedder:
        label = f"Embedding with {embedder.name}"
        with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

            def progress(done: int, of: int) -> None:
                bar.length, bar.pos = of, done
                bar.update(0)

            numbers = MemoryBank.reembed(path, embedder, progress)
    show([numbers], as_json, lambda found: [f"{found.memories:,} memories and {found.messages:,} turns moved"])
