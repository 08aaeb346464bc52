"""The ``memr1 eval`` commands: measure agents and memories on this machine."""

from __future__ import annotations

import click

from memr1_lite.cli.evaluation import suites


@click.group(name="eval")
def eval_() -> None:
    """Measure agents and memories on this machine, without a network.

    \b
    Example:
        memr1 eval hand
        memr1 eval hand --manager my-manager.gguf --answerer my-answerer.gguf
    """


_COMMANDS = [value for module in (suites,) for value in vars(module).values() if isinstance(value, click.Command)]
for _command in _COMMANDS:
    eval_.add_command(_command)
del _command
