"""Checkpoint folder to a checked, quantised GGUF file: ``python -m convert all CHECKPOINT OUT.gguf --quant Q4_K_M``."""

from __future__ import annotations

import argparse
from pathlib import Path

from convert.check import Agreement, check
from convert.output import whole_file
from convert.quantize import TYPES, quantize
from convert.sizes import size_table
from convert.to_gguf import to_gguf


def convert_all(
    source: Path, target: Path, *, quant: str = "Q8_0", threads: int = 1, force: bool = False
) -> tuple[Agreement, Agreement]:
    """Convert to F16, check, quantise, check again; ``target`` appears only when both checks pass.

    :returns: how well the F16 file and the quantised one agree with the checkpoint
    :raises ConvertError: any step failed
    """
    with whole_file(target, force=force) as temporary:
        full = temporary.with_name(f"full-{target.name}")
        to_gguf(source, full, outtype="F16")
        exact = check(source, full)
        quantize(full, temporary, quant=quant, threads=threads)
        return exact, check(source, temporary)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of this verb."""
    parser.add_argument(
        "source", type=Path, metavar="CHECKPOINT", help="folder with config.json, model.safetensors, ..."
    )
    parser.add_argument("target", type=Path, metavar="OUT.gguf")
    parser.add_argument("--quant", choices=TYPES, default="Q8_0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--force", action="store_true", help="replace OUT.gguf if it exists")


def main(arguments: argparse.Namespace) -> None:
    """Run this verb."""
    exact, quantised = convert_all(
        arguments.source, arguments.target, quant=arguments.quant, threads=arguments.threads, force=arguments.force
    )
    print(f"F16: {exact}")
    print(f"{arguments.quant}: {quantised}")
    print(size_table(arguments.target))
