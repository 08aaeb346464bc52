"""What the bundled agents cost on this machine: ``python benchmarks/footprint.py`` prints one JSON line.

Each figure is the median over the demonstration's messages and questions, played ``--rounds`` times into new banks.
Absolute times belong to the machine named in the line, and to what else it was doing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from statistics import median


def import_seconds(rounds: int) -> float:
    """Seconds that ``import memr1_lite`` adds to a new interpreter."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    pairs = [(run("import memr1_lite"), run("pass")) for _ in range(rounds)]
    return median(one - other for one, other in pairs)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    imported = import_seconds(args.rounds)

    from memr1_lite import Agents
    from memr1_lite.demo import Remembered, play
    from memr1_lite.evaluation.machine import processor
    from memr1_lite.file_agents import bundled_agent
    from memr1_lite.llama.model import LlamaModel

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    LlamaModel.load(bundled_agent("manager")).close()
    loaded = time.perf_counter() - began
    remember, ask = [], []
    for _ in range(args.rounds):
        played = list(play(Agents()))
        thought = [line for line in played if isinstance(line, Remembered) and line.change.reason == "manager"]
        remember += [line.milliseconds for line in thought[1:]]  # the first one of a bank also loads the model
        ask += [line.milliseconds for line in played if not isinstance(line, Remembered)][1:]
    print(
        json.dumps(
            {
                "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
                "gguf_mib": {
                    role: round(bundled_agent(role).stat().st_size / 2**20, 2) for role in ("manager", "answerer")
                },
                "import_ms": round(1000 * imported, 1),
                "load_first_model_ms": round(1000 * loaded, 1),
                "remember_ms": round(median(remember), 1),
                "ask_ms": round(median(ask), 1),
                "memory_before_mib": round(before / 1024, 1),
                "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
