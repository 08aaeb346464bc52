"""The import command: conversations from files."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

import click

from memr1_lite.bank import MemoryBank
from memr1_lite.cli.common import agent_options, json_option, path_argument, show
from memr1_lite.config import Agents
from memr1_lite.conversations import locomo_conversations, read_jsonl, read_locomo
from memr1_lite.errors import InvalidInputError, ModelError, ModelLoadError
from memr1_lite.ledger import EMBEDDED_AT_ONCE
from memr1_lite.records import Turn
from memr1_lite.store import Stats


@click.command(name="import")
@path_argument
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format", "shape", type=click.Choice(["locomo", "jsonl", "bank"]), help="Told by the file's name if left out."
)
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
    agents: Agents,
    as_json: bool,
) -> None:
    """Remember a conversation from FILE: .jsonl with one turn per line, or LoCoMo's .json.

    A line of .jsonl is an object with the keys "speaker" and "text" and, if known, "at" (ISO 8601: 2023-06-16, or
    2023-06-16T19:20) and "source_id" (a name of the turn that no other has; made of the file's name, the line's number
    and its text if left out).

    With --format bank, make a new bank of what `memr1 export` wrote: all or nothing, and no model runs.

    Interrupted and run again it goes on where it stopped: no turn is kept or decided about twice. A turn that cannot
    be kept, such as one that is too long, is reported and left out, and the exit code is 1.

    \b
    Example:
        memr1 import andrew.db chat.jsonl
        memr1 import conv26.db locomo10.json --format locomo --conversation conv-26
        memr1 import copy.db andrew.jsonl --format bank
    """
    if shape == "bank":
        numbers = MemoryBank.import_bank(path, file)
        show([numbers], as_json, lambda found: [_counted(found)])
        return
    turns = _turns(file, shape, conversation)[:limit]
    undecided, last, refused = 0, "", list[str]()
    with (
        MemoryBank.open(path, agents=agents) as bank,
        click.progressbar(length=len(turns), label=f"Importing {len(turns)} turns", file=sys.stderr) as progress,
    ):
        at_once = EMBEDDED_AT_ONCE if no_decide else 1
        parts = deque(turns[start : start + at_once] for start in range(0, len(turns), at_once))
        while parts:
            part = parts.popleft()
            try:
                if no_decide:
                    bank.record_many(part)
                else:
                    bank.remember(part[0].text, speaker=part[0].speaker, at=part[0].at, source_id=part[0].source_id)
            except InvalidInputError as error:
                if len(part) > 1:  # one by one, so that the others are kept
                    parts.extendleft([turn] for turn in reversed(part))
                    continue
                refused.append(f"Error: Turn {part[0].source_id!r} was left out: {error}")
            except ModelLoadError:  # no later turn would fare better
                raise
            except ModelError as error:
                undecided, last = undecided + len(part), str(error)
            progress.update(len(part))
        numbers = bank.stats()
    if undecided:
        click.echo(f"{undecided} turns are kept but undecided; import again to retry. The last said: {last}", err=True)
    show([numbers], as_json, lambda found: [_counted(found)])
    if refused:
        click.echo("\n".join(refused), err=True)
        raise click.exceptions.Exit(1)


def _counted(numbers: Stats) -> str:
    return f"{numbers.messages:,} turns, {numbers.memories:,} memories, {numbers.pending:,} turns pending"


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
