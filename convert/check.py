"""Does llama.cpp do with a GGUF file what its checkpoint says? ``python -m convert check CHECKPOINT FILE``.

Exit status 1 at the first difference: of a token id, of a logit, of a greedy continuation. Quantised files are held to
the Kullback-Leibler divergence and to the most likely tokens on the agents' own prompts instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from convert.agreement import Agreement, compare
from convert.architectures import architecture_of
from convert.checkpoint import read_checkpoint
from convert.sizes import size_table


def check(source: Path, target: Path) -> Agreement:
    """Compare the GGUF file ``target`` with the checkpoint folder ``source``.

    :raises DriftError: they differ, with the first difference
    :raises ConvertError: one of them cannot be loaded
    """
    checkpoint = read_checkpoint(source)
    return compare(checkpoint, architecture_of(checkpoint), target)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("source", type=Path, metavar="CHECKPOINT", help="the folder that the file was made from")
    parser.add_argument("target", type=Path, metavar="FILE.gguf")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    agreement = check(arguments.source, arguments.target)
    print(size_table(arguments.target))
    print(agreement)
