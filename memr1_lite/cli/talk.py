"""Commands that say or ask something, and so may need a model."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from memr1_lite.bank import MemoryBank
from memr1_lite.cli.common import agent_options, existing, json_option, path_argument, show, text_of
from memr1_lite.config import Agents
from memr1_lite.demo import play
from memr1_lite.errors import InvalidInputError, ModelError, ModelLoadError
from memr1_lite.lines import answer_lines, change_lines, demo_lines, turn_line
from memr1_lite.records import DEFAULT_SPEAKER


@click.command()
@path_argument
@click.argument("text")
@click.option("--speaker", default=DEFAULT_SPEAKER, show_default=True, help="Who said it.")
@click.option("--at", help="When it was said, such as 2023-06-16 or 2023-06-16T19:20.")
@click.option("--source-id", help="Your own id of the turn; the same one again changes nothing.")
@agent_options
@json_option
def remember(
    path: str,
    text: str,
    speaker: str,
    at: str | None,
    source_id: str | None,
    agents: Agents,
    as_json: bool,
) -> None:
    """Remember TEXT, or standard input where TEXT is -.

    \b
    Example:
        memr1 remember andrew.db "I adopted a dog named Buddy." --speaker Andrew --at 2023-05-07
    """
    with MemoryBank.open(path, agents=agents) as bank:
        change = bank.remember(text_of(text), speaker=speaker, at=at, source_id=source_id)
    show([change], as_json, change_lines)


@click.command()
@path_argument
@click.argument("question")
@click.option("-k", type=int, help="Show the model at most this many candidates.")
@agent_options
@json_option
def ask(path: str, question: str, k: int | None, agents: Agents, as_json: bool) -> None:
    """Answer QUESTION, or standard input where QUESTION is -, and show what the answer rests on.

    \b
    Example:
        memr1 ask andrew.db "How many dogs does Andrew have?"
    """
    with existing(path, agents) as bank:
        answer = bank.ask(text_of(question), k=k)
    show([answer], as_json, answer_lines)


@click.command()
@path_argument
@click.option("--decide", is_flag=True, help="Decide about them, in the order they were said.")
@agent_options
@json_option
def pending(path: str, decide: bool, agents: Agents, as_json: bool) -> None:
    """List the turns that no decision has been made about yet; with --decide, make it.

    \b
    Example:
        memr1 pending andrew.db
        memr1 pending andrew.db --decide
    """
    with existing(path, agents) as bank:
        if not decide:
            show(bank.pending(), as_json, lambda turn: [turn_line(turn)])
            return
        before = bank.stats().changes
        try:
            bank.remember_pending()
        finally:  # what was decided is shown also where one turn could not be
            show([change for change in bank.history() if change.id > before], as_json, change_lines)


@click.command()
@path_argument
@click.option("--speaker", default=DEFAULT_SPEAKER, show_default=True, help="Who you are.")
@agent_options
def chat(path: str, speaker: str, agents: Agents) -> None:
    """Talk to a bank: a line that ends with ? is a question, any other is remembered.

    \b
    Example:
        memr1 chat andrew.db --speaker Andrew
    """
    click.echo("A line that ends with ? is a question, any other is remembered. Ctrl-D ends.", err=True)
    with MemoryBank.open(path, agents=agents) as bank:
        while line := _next_line():
            if not line.strip():
                continue
            try:
                if line.strip().endswith("?"):
                    lines = answer_lines(bank.ask(line.strip()))
                else:
                    lines = change_lines(bank.remember(line.strip(), speaker=speaker, at=datetime.now()))
            except ModelLoadError:  # the next line would fare no better
                raise
            except (InvalidInputError, ModelError) as error:
                click.echo(f"Error: {error}", err=True)
            else:
                click.echo("\n".join(lines))


@click.command()
@agent_options
@json_option
def demo(agents: Agents, as_json: bool) -> None:
    """Play a conversation of Andrew and Audrey into a new bank, then ask about it.

    \b
    Example:
        memr1 demo
    """
    for event in play(agents):
        show([event], as_json, demo_lines)


def _next_line() -> str:
    """The next line of standard input with its line break, or nothing at its end."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    return sys.stdin.readline()
