"""Commands that look after the bank's file; none needs a model."""

from __future__ import annotations

import click

from memr1_lite.cli.common import existing, json_option, path_argument, show


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
