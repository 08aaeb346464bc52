"""Commands that look at the memories and change them by hand; none needs a model."""

from __future__ import annotations

import click

from memr1_lite.cli.common import existing, json_option, moment, path_argument, show, text_of
from memr1_lite.lines import candidate_line, change_lines, dated, difference_lines
from memr1_lite.store import Stats


@click.command()
@path_argument
@click.argument("query")
@click.option("-k", type=int, default=10, show_default=True, help="Show at most this many.")
@click.option("--speaker", help="Only what this speaker said, and memories last written from it.")
@click.option("--since", help="Only what was said at or after this, such as 2023-06-16.")
@click.option("--until", help="Only what was said before this.")
@click.option("--as-of", type=moment, help="Search the bank as it stood then, or right after this change.")
@json_option
def search(
    path: str,
    query: str,
    k: int,
    speaker: str | None,
    since: str | None,
    until: str | None,
    as_of: str | int | None,
    as_json: bool,
) -> None:
    """List the memories and turns most like QUERY, best first; needs no model. With --json each says why it was found.

    \b
    Example:
        memr1 search andrew.db "dogs" -k 5
    """
    with existing(path) as bank:
        found = bank.search(text_of(query), k, speaker=speaker, since=since, until=until, as_of=as_of)
    show(found, as_json, lambda each: [candidate_line(each)])


@click.command(name="list")
@path_argument
@click.option("--limit", type=click.IntRange(min=0), help="Show at most this many.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out this many first.")
@json_option
def list_(path: str, limit: int | None, offset: int, as_json: bool) -> None:
    """List the memories, oldest first.

    \b
    Example:
        memr1 list andrew.db --limit 20
    """
    with existing(path) as bank:
        memories = bank.list(limit, offset)
    show(memories, as_json, lambda memory: [f"[{memory.id}] {dated(memory.text, memory.at)}"])


@click.command()
@path_argument
@click.argument("memory_id", type=int, required=False)
@json_option
def history(path: str, memory_id: int | None, as_json: bool) -> None:
    """Show every change, oldest first, or those of one memory.

    \b
    Example:
        memr1 history andrew.db 3
    """
    with existing(path) as bank:
        changes = bank.history(memory_id)
    show(changes, as_json, change_lines)


@click.command()
@path_argument
@click.argument("since", type=moment)
@json_option
def diff(path: str, since: str | int, as_json: bool) -> None:
    """Show what is different now from how the bank stood at SINCE: a moment, or right after a change.

    \b
    Example:
        memr1 diff andrew.db 2023-06-16T19:20
        memr1 diff andrew.db 7
    """
    with existing(path) as bank:
        differences = bank.diff(since)
    show(differences, as_json, difference_lines)


@click.command()
@path_argument
@click.argument("memory_id", type=int)
@click.option("--purge", is_flag=True, help="Erase it for good, with the turns it was written from.")
@json_option
def forget(path: str, memory_id: int, purge: bool, as_json: bool) -> None:
    """Delete a memory; `memr1 undo` brings it back, unless it was purged.

    \b
    Example:
        memr1 forget andrew.db 3
    """
    with existing(path) as bank:
        change = bank.forget(memory_id, purge=purge)
    show([] if change is None else [change], as_json, change_lines)


@click.command()
@path_argument
@click.argument("change_id", type=int)
@json_option
def undo(path: str, change_id: int, as_json: bool) -> None:
    """Take a change back; `memr1 history` shows their numbers.

    \b
    Example:
        memr1 undo andrew.db 7
    """
    with existing(path) as bank:
        change = bank.undo(change_id)
    show([change], as_json, change_lines)


@click.command()
@path_argument
@json_option
def stats(path: str, as_json: bool) -> None:
    """Show how much is in the bank, and which embedder made its vectors.

    \b
    Example:
        memr1 stats andrew.db
    """
    with existing(path) as bank:
        numbers = bank.stats()
    show([numbers], as_json, _counted)


def _counted(numbers: Stats) -> list[str]:
    return [f"{name:<12} {value:,}" if isinstance(value, int) else f"{name:<12} {value}" for name, value in numbers]
