"""The whole torture, or a shortened form of it; prints counts, and fails where anything was lost."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from torture.crash import kill_writers
from torture.crowd import crowd
from torture.damage import damaged_encoders, damaged_files
from torture.disk import fill_disks, fill_small_file_system, read_only


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=400)
    parser.add_argument("--disks", type=int, default=30)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--encoders", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    losses = []
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder, began = Path(name), time.monotonic()
        counts, in_flight, lost = kill_writers(folder, args.kills, args.seed)
        losses += _told("kill -9", counts, lost, began)
        print(f"    killed in the middle of: {', '.join(f'{step} {n}' for step, n in sorted(in_flight.items()))}")
        for what, fill in (("size limit", fill_disks), ("full file system", fill_small_file_system)):
            began = time.monotonic()
            losses += _told(what, *fill(folder, args.disks, args.seed), began)
        began = time.monotonic()
        losses += _told("read-only file", {}, read_only(folder), began)
        began = time.monotonic()
        losses += _told("processes at once", *crowd(folder, args.seconds), began)
        began = time.monotonic()
        losses += _told("damaged model files", *damaged_files(folder, args.files, args.seed), began)
        began = time.monotonic()
        losses += _told("damaged sentence encoders", *damaged_encoders(folder, args.encoders, args.seed), began)
    print(f"losses: {len(losses)}")
    return 1 if losses else 0


def _told(what: str, counts: dict[str, int], losses: list[str], began: float) -> list[str]:
    numbers = ", ".join(f"{number:,} {name}" for name, number in counts.items()) or "nothing to count"
    print(f"{what}: {numbers}, {len(losses)} losses  [{time.monotonic() - began:.0f} s]", flush=True)
    for loss in losses[:20]:
        print(f"    {loss}", flush=True)
    return losses


if __name__ == "__main__":
    sys.exit(main())
