"""The ``memr1`` command: the only place that prints or reads the environment.

Results go to stdout, everything else to stderr. An error of the library is one line, ``Error: ...``, and exit code 1.
"""

from __future__ import annotations

import errno

import click

from memr1_lite import __version__
from memr1_lite.cli import bench, evaluation, importing, memories, talk, upkeep
from memr1_lite.errors import MemR1Error


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
        except OSError as error:  # a file that an option names, or a full disk
            if error.errno == errno.EPIPE:  # whom the results went to has read enough: click ends quietly
                raise
            where = "" if error.filename is None else f"{str(error.filename)!r}: "
            raise click.ClickException(f"{where}{error.strerror or error}.") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="memr1")
def main() -> None:
    """Long-term memory in one SQLite file, on this machine.

    \b
    Example:
        memr1 remember andrew.db "I adopted a dog named Buddy." --speaker Andrew
        memr1 ask andrew.db "What is Andrew's dog called?"
    """


for module in (talk, memories, importing, upkeep, evaluation, bench):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            main.add_command(command)
