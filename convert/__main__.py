"""``python -m convert VERB ...``; exit status 1 and one line on standard error when something is refused."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from convert import chain, check, encoder, lora_to_gguf, merge, quantize, to_gguf
from convert.errors import ConvertError

VERBS = {
    "all": chain,
    "to-gguf": to_gguf,
    "quantize": quantize,
    "check": check,
    "merge": merge,
    "lora-to-gguf": lora_to_gguf,
    "encoder": encoder,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m convert", description="Checkpoint to quantised GGUF file.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, module in VERBS.items():
        assert module.__doc__
        module.add_arguments(verbs.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__))
    arguments = parser.parse_args(argv)
    try:
        VERBS[arguments.verb].main(arguments)
    except ConvertError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
