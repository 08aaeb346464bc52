"""The ``memr1 eval`` commands: measure agents and memories on this machine."""

from __future__ import annotations

import click

from memr1_lite.cli.evaluation import benchmarks, suites


@click.group(name="eval")
def eval_() -> None:
    """Measure agents and memories on this machine, without a network.

    \b
    Example:
        memr1 eval hand
        memr1 eval hand --manager my-manager.gguf --answerer my-answerer.gguf
    """


for _command in (*benchmarks.COMMANDS, *suites.COMMANDS):
    eval_.add_command(_command)
del _command
