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
from convert.errors import ConvertError
from convert.lora import adapted, read_lora
from convert.sizes import size_table


def check(source: Path, target: Path, *, lora: Path | None = None, adapter: Path | None = None) -> Agreement:
    """Compare the GGUF file ``target`` with the checkpoint folder ``source``.

    :param lora: a LoRA folder for ``source``, together with ``adapter``, the GGUF file made from it for ``target``
    :raises DriftError: they differ, with the first difference
    :raises ConvertError: one of them cannot be loaded
    """
    if (lora is None) != (adapter is None):
        raise ConvertError("A LoRA is checked as folder and as file: give both --lora and --adapter.")
    checkpoint = read_checkpoint(source)
    decoder = architecture_of(checkpoint)
    if lora is not None:
        checkpoint = adapted(checkpoint, read_lora(lora, checkpoint, decoder))
    return compare(checkpoint, decoder, target, adapter)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument("source", type=Path, metavar="CHECKPOINT", help="the folder that the file was made from")
    parser.add_argument("target", type=Path, metavar="FILE.gguf")
    parser.add_argument("--lora", type=Path, metavar="LORA", help="a LoRA folder for the checkpoint")
    parser.add_argument("--adapter", type=Path, metavar="LORA.gguf", help="the GGUF file made from that LoRA")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    agreement = check(arguments.source, arguments.target, lora=arguments.lora, adapter=arguments.adapter)
    print(size_table(arguments.target))
    print(agreement)
