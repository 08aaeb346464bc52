"""What the commands share: arguments, opening a bank, printing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from pydantic import BaseModel

from memr1_lite.bank import MemoryBank
from memr1_lite.config import Agents
from memr1_lite.embedders import LexicalEmbedder
from memr1_lite.errors import InvalidInputError
from memr1_lite.llama.embedding import LlamaEmbedder
from memr1_lite.llm import Embedder
from memr1_lite.opening import IN_MEMORY, embedder_for

Command = TypeVar("Command", bound=Callable[..., object])
Printed = TypeVar("Printed", bound=BaseModel)


def moment(value: str) -> str | int:
    """A short number is a change; anything else is read as a moment by the library."""
    return int(value) if value.isdecimal() and len(value) < 8 else value


path_argument = click.argument("path", type=click.Path(dir_okay=False))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
gguf = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A model file that the user names. It must be there at once: not every command comes to need its model."""


_ROLES = [
    click.option(
        f"--{role}",
        type=gguf,
        envvar=f"MEMR1_{role.upper()}",
        show_envvar=True,
        help=f"GGUF file of the model that {does}; the bundled one if not given.",
    )
    for role, does in (("manager", "decides what to remember"), ("answerer", "answers"))
]
_ON_ONE_BASE = [
    click.option("--base", type=gguf, help="GGUF of one model for both agents, instead of --manager and --answerer."),
    click.option("--manager-lora", type=gguf, help="GGUF of a LoRA for --base that makes it the Manager."),
    click.option("--answerer-lora", type=gguf, help="GGUF of a LoRA for --base that makes it the Answer Agent."),
]


def agent_options(command: Command) -> Command:
    """Add ``--manager`` and ``--answerer``; the command gets them as ``agents``."""
    return _with_agents(command, _ROLES)


def all_agent_options(command: Command) -> Command:
    """Add also ``--base`` and the LoRAs for it; the command gets them all as ``agents``."""
    return _with_agents(command, [*_ON_ONE_BASE, *_ROLES])


def _with_agents(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    @wraps(command)
    def run(*args: object, **given: object) -> object:
        named = {name: given.pop(name) for name in Agents.model_fields if name in given}
        try:
            agents = Agents(**cast(dict[str, Any], named))
        except InvalidInputError as error:  # which of them go together is said there, and only there
            raise click.UsageError(str(error)) from error
        return command(*args, agents=agents, **given)

    described = cast(Command, run)
    for option in reversed(options):
        described = option(described)
    return described


embedder_option = click.option(
    "--embedder",
    help="lexical, or the GGUF of a sentence encoder; left out, as a new bank has it: `make embedder`'s, or lexical.",
)


@contextmanager
def embedder_called(name: str | None) -> Iterator[Embedder]:
    """The embedder that ``--embedder`` names, closed afterwards.

    :raises ModelLoadError: no such file, or no sentence encoder
    """
    if name is None:
        embedder = embedder_for(IN_MEMORY)
    else:
        embedder = LexicalEmbedder() if name == "lexical" else LlamaEmbedder.load(name)
    try:
        yield embedder
    finally:
        if isinstance(embedder, LlamaEmbedder):
            embedder.close()


def existing(path: str, agents: Agents | None = None) -> MemoryBank:
    """Open a bank to read from: a misspelt path should not make a new one."""
    refuse_missing(path)
    return MemoryBank.open(path, agents=agents)


def refuse_missing(path: str) -> None:
    """Say that there is no bank at ``path``, where there is none."""
    if path != IN_MEMORY and not Path(path).exists():
        raise click.ClickException(f"There is no bank at {path!r}: `memr1 remember` or `memr1 import` makes one.")


def text_of(argument: str) -> str:
    """The argument, or standard input where it is ``-``."""
    return sys.stdin.read().strip() if argument == "-" else argument


def show(records: Sequence[Printed], as_json: bool, lines: Callable[[Printed], list[str]]) -> None:
    """Print ``records``, each as JSON or as ``lines`` has it."""
    for record in records:
        click.echo(record.model_dump_json() if as_json else "\n".join(lines(record)))
