"""What a number was measured with: the machine, and exactly which model files."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from memr1_lite.config import Agents
from memr1_lite.file_agents import ROLES, files_of
from memr1_lite.llama.gguf_file import sha256_of


def machine() -> str:
    """Processor, cores, memory where the system tells, and the system, on one line."""
    memory = f", {_memory_gib()} GiB" if hasattr(os, "sysconf") else ""
    return f"{processor()}, {os.cpu_count()} cores{memory}, {platform.system()}, Python {platform.python_version()}"


def agent_files(agents: Agents) -> dict[str, Path]:
    """The file of each role; of agents on one base, the base and their LoRAs.

    :raises ModelLoadError: none is given and none is in the package
    """
    files = {role: files_of(agents, role) for role in ROLES}
    if agents.base is None:
        return {role: each.path for role, each in files.items()}
    return {"base": agents.base} | {f"{role} LoRA": each.adapter for role, each in files.items() if each.adapter}


def hashes(files: dict[str, Path]) -> dict[str, str]:
    """Name and SHA-256 of each file, by role."""
    return {role: f"{file.name} {sha256_of(file)}" for role, file in files.items()}


def peak_memory_mib() -> float | None:
    """The most memory that this process has held, in MiB; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
