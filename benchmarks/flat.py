"""Whether anything piles up: ``python benchmarks/flat.py [--calls 2000]``: memory and open files over many calls.

The bundled agents and one bank in a file; every other call is a question. Turns are kept for good, so the bank itself
grows by what was said; what grows beside that would be a leak. Run from the repository, PYTHONPATH=.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import date, timedelta
from pathlib import Path

from benchmarks.store_engines import resident_mib
from memr1_lite import BankConfig, MemoryBank

SAID = (
    "I adopted a dog named {}.",
    "I live in {} now.",
    "I am allergic to {}.",
    "My favourite food is {}.",
    "I bought a {} yesterday.",
)
ASKED = ("What is the name of Andrew's dog?", "Where does Andrew live?", "What is Andrew allergic to?")
THINGS = ("Buddy", "Scout", "Portland", "Boston", "peanuts", "pasta", "guitar", "bike", "Chicago", "milk", "rice")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        MemoryBank.open(Path(folder) / "flat.db", config=BankConfig(candidates=10, threads=1)) as bank,
    ):
        for number in range(args.calls):
            if number % 2:
                bank.ask(ASKED[number % len(ASKED)])
            else:
                text = SAID[number % len(SAID)].format(THINGS[number % len(THINGS)])
                bank.remember(f"{text} ({number})", speaker="Andrew", at=str(date(2023, 1, 1) + timedelta(number // 8)))
            if (number + 1) % (args.calls // 8) == 0:
                files, size = len(os.listdir("/proc/self/fd")), (Path(folder) / "flat.db").stat().st_size / 2**20
                print(
                    f"{number + 1:6,} calls: {resident_mib():.1f} MiB, {files} open files, bank of {size:.1f} MiB,"
                    f" {bank.stats().memories} memories",
                    flush=True,
                )


if __name__ == "__main__":
    main()
