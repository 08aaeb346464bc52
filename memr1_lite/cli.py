"""The ``memr1`` command: the only place that prints or reads the environment.

Results go to stdout, everything else to stderr. An error of the library is one line, ``Error: ...``, and exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import click
from pydantic import BaseModel

from memr1_lite import __version__
from memr1_lite.bank import IN_MEMORY, MemoryBank
from memr1_lite.config import Agents
from memr1_lite.conversations import Turn, locomo_conversations, read_jsonl, read_locomo
from memr1_lite.demo import play
from memr1_lite.errors import InvalidInputError, MemR1Error, ModelError, ModelLoadError
from memr1_lite.lines import answer_lines, candidate_line, change_lines, dated, demo_lines
from memr1_lite.records import DEFAULT_SPEAKER

Command = TypeVar("Command", bound=Callable[..., object])
Printed = TypeVar("Printed", bound=BaseModel)


class Commands(click.Group):
    """A group whose commands report the library's errors as one line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MemR1Error as error:
            raise click.ClickException(str(error)) from error
        except UnicodeError as error:
            raise click.ClickException(f"Give UTF-8 text, or set PYTHONUTF8=1: {error}") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="memr1")
def main() -> None:
    """Long-term memory in one SQLite file, on this machine.

    \b
    Example:
        memr1 remember andrew.db "I adopted a dog named Buddy." --speaker Andrew
        memr1 ask andrew.db "What is Andrew's dog called?"
    """


path_argument = click.argument("path", type=click.Path(dir_okay=False))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
gguf = click.Path(dir_okay=False, path_type=Path)


def agent_options(command: Command) -> Command:
    """Add ``--manager`` and ``--answerer``."""
    for role, does in (("answerer", "answers"), ("manager", "decides what to remember")):
        command = click.option(
            f"--{role}",
            type=gguf,
            envvar=f"MEMR1_{role.upper()}",
            show_envvar=True,
            help=f"GGUF file of the model that {does}; the bundled one if not given.",
        )(command)
    return command


@main.command()
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
    manager: Path | None,
    answerer: Path | None,
    as_json: bool,
) -> None:
    """Remember TEXT, or standard input where TEXT is -.

    \b
    Example:
        memr1 remember andrew.db "I adopted a dog named Buddy." --speaker Andrew --at 2023-05-07
    """
    with MemoryBank.open(path, agents=Agents(manager=manager, answerer=answerer)) as bank:
        change = bank.remember(_text(text), speaker=speaker, at=at, source_id=source_id)
    _print([change], as_json, change_lines)


@main.command()
@path_argument
@click.argument("question")
@click.option("-k", type=int, help="Show the model at most this many candidates.")
@agent_options
@json_option
def ask(path: str, question: str, k: int | None, manager: Path | None, answerer: Path | None, as_json: bool) -> None:
    """Answer QUESTION, or standard input where QUESTION is -, and show what the answer rests on.

    \b
    Example:
        memr1 ask andrew.db "How many dogs does Andrew have?"
    """
    with _existing(path, Agents(manager=manager, answerer=answerer)) as bank:
        answer = bank.ask(_text(question), k=k)
    _print([answer], as_json, answer_lines)


@main.command()
@path_argument
@click.argument("query")
@click.option("-k", type=int, default=10, show_default=True, help="Show at most this many.")
@json_option
def search(path: str, query: str, k: int, as_json: bool) -> None:
    """List the memories and turns most like QUERY, best first; needs no model.

    \b
    Example:
        memr1 search andrew.db "dogs" -k 5
    """
    with _existing(path) as bank:
        _print(bank.search(_text(query), k), as_json, lambda found: [candidate_line(found)])


@main.command(name="list")
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
    with _existing(path) as bank:
        memories = bank.list(limit, offset)
    _print(memories, as_json, lambda memory: [f"[{memory.id}] {dated(memory.text, memory.at)}"])


@main.command()
@path_argument
@click.argument("memory_id", type=int, required=False)
@json_option
def history(path: str, memory_id: int | None, as_json: bool) -> None:
    """Show every change, oldest first, or those of one memory.

    \b
    Example:
        memr1 history andrew.db 3
    """
    with _existing(path) as bank:
        _print(bank.history(memory_id), as_json, change_lines)


@main.command()
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
    with _existing(path) as bank:
        change = bank.forget(memory_id, purge=purge)
    _print([] if change is None else [change], as_json, change_lines)


@main.command()
@path_argument
@click.argument("change_id", type=int)
@json_option
def undo(path: str, change_id: int, as_json: bool) -> None:
    """Take a change back; `memr1 history` shows their numbers.

    \b
    Example:
        memr1 undo andrew.db 7
    """
    with _existing(path) as bank:
        _print([bank.undo(change_id)], as_json, change_lines)


@main.command()
@path_argument
@json_option
def stats(path: str, as_json: bool) -> None:
    """Show how much is in the bank.

    \b
    Example:
        memr1 stats andrew.db
    """
    with _existing(path) as bank:
        numbers = bank.stats()
    _print([numbers], as_json, lambda record: [f"{name:<12} {value:,}" for name, value in record if value is not None])


@main.command(name="import")
@path_argument
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "shape", type=click.Choice(["locomo", "jsonl"]), help="Told by the file's name if left out.")
@click.option("--conversation", help="Which conversation of a LoCoMo file, such as conv-26; its first if left out.")
@click.option("--limit", type=click.IntRange(min=0), help="Import only the first so many turns.")
@click.option("--no-decide", is_flag=True, help="Only keep the turns; a later import decides about them.")
@agent_options
@json_option
def import_(
    path: str,
    file: Path,
    shape: str | None,
    conversation: str | None,
    limit: int | None,
    no_decide: bool,
    manager: Path | None,
    answerer: Path | None,
    as_json: bool,
) -> None:
    """Remember a conversation from FILE: .jsonl with one turn per line, or LoCoMo's .json.

    Interrupted and run again it goes on where it stopped: no turn is kept or decided about twice.

    \b
    Example:
        memr1 import andrew.db chat.jsonl
        memr1 import conv26.db locomo10.json --format locomo --conversation conv-26
    """
    turns = _turns(file, shape, conversation)[:limit]
    undecided, last = 0, ""
    with (
        MemoryBank.open(path, agents=Agents(manager=manager, answerer=answerer)) as bank,
        click.progressbar(turns, label=f"Importing {len(turns)} turns", file=sys.stderr) as progress,
    ):
        for turn in progress:
            keep = bank.record if no_decide else bank.remember
            try:
                keep(turn.text, speaker=turn.speaker, at=turn.at, source_id=turn.source_id)
            except InvalidInputError as error:
                raise InvalidInputError(f"Turn {turn.source_id!r}: {error}") from error
            except ModelLoadError:  # no later turn would fare better
                raise
            except ModelError as error:
                undecided, last = undecided + 1, str(error)
        numbers = bank.stats()
    if undecided:
        click.echo(f"{undecided} turns are kept but undecided; import again to retry. The last said: {last}", err=True)
    lines = [f"{numbers.messages:,} turns, {numbers.memories:,} memories, {numbers.pending:,} turns pending"]
    _print([numbers], as_json, lambda _: lines)


@main.command()
@path_argument
@click.option("--speaker", default=DEFAULT_SPEAKER, show_default=True, help="Who you are.")
@agent_options
def chat(path: str, speaker: str, manager: Path | None, answerer: Path | None) -> None:
    """Talk to a bank: a line that ends with ? is a question, any other is remembered.

    \b
    Example:
        memr1 chat andrew.db --speaker Andrew
    """
    click.echo("A line that ends with ? is a question, any other is remembered. Ctrl-D ends.", err=True)
    with MemoryBank.open(path, agents=Agents(manager=manager, answerer=answerer)) as bank:
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


@main.command()
@agent_options
@json_option
def demo(manager: Path | None, answerer: Path | None, as_json: bool) -> None:
    """Play a conversation of Andrew and Audrey into a new bank, then ask about it.

    \b
    Example:
        memr1 demo
    """
    for event in play(Agents(manager=manager, answerer=answerer)):
        _print([event], as_json, demo_lines)


def _existing(path: str, agents: Agents | None = None) -> MemoryBank:
    """Open a bank to read from: a misspelt path should not make a new one."""
    if path != IN_MEMORY and not Path(path).exists():
        raise click.ClickException(f"There is no bank at {path!r}: `memr1 remember` or `memr1 import` makes one.")
    return MemoryBank.open(path, agents=agents)


def _text(argument: str) -> str:
    return sys.stdin.read().strip() if argument == "-" else argument


def _next_line() -> str:
    """The next line of standard input with its line break, or nothing at its end."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    return sys.stdin.readline()


def _turns(file: Path, shape: str | None, conversation: str | None) -> list[Turn]:
    if shape == "locomo" or (shape is None and file.suffix == ".json"):
        if conversation is None:
            conversation, *others = locomo_conversations(file) or [""]
            if others:
                click.echo(f"Importing {conversation}; --conversation takes {', '.join(others)}.", err=True)
        return read_locomo(file, conversation)
    if conversation is not None:
        raise click.UsageError("--conversation is for LoCoMo's files; a JSON Lines file is one conversation.")
    return read_jsonl(file)


def _print(records: Sequence[Printed], as_json: bool, lines: Callable[[Printed], list[str]]) -> None:
    for record in records:
        click.echo(record.model_dump_json() if as_json else "\n".join(lines(record)))
