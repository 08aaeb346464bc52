"""What the machine is and is doing, as far as the system tells."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

PROCESSORS = Path("/sys/devices/system/cpu")
"""Where Linux says which logical cores there are."""

SUPPLIES = Path("/sys/class/power_supply")
"""Where Linux says what feeds the machine."""


def sysctl(name: str) -> int | None:
    """A number that macOS tells of the machine; None elsewhere."""
    if sys.platform != "darwin":
        return None
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    status = ctypes.CDLL(None).sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
    return value.value if status == 0 and value.value > 0 else None


def physical_cores(
    processors: Path = PROCESSORS,
    usable: Iterable[int] | None = None,
    sysctl: Callable[[str], int | None] = sysctl,
) -> int:
    """The physical cores that this process may run on.

    Where the system does not tell, four logical cores or fewer are taken for physical ones, and more for two each.

    :param usable: the numbers of the logical cores, instead of those that the system allows
    """
    logical = set(_usable_processors() if usable is None else usable)
    siblings = {_said(processors / f"cpu{number}" / "topology", "thread_siblings_list") for number in logical}
    if siblings and "" not in siblings:
        return len(siblings)
    return sysctl("hw.physicalcpu") or (len(logical) // 2 if len(logical) > 4 else max(1, len(logical)))


def overloaded() -> bool:
    """Whether more wants to run than there are cores, over the last minute; False where the system does not tell."""
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows knows no load average
        return False


def on_battery(supplies: Path = SUPPLIES) -> bool:
    """Whether a battery of the machine's own is being emptied; False where nothing is known."""
    return any(
        _said(supply, "type") == "Battery"
        and _said(supply, "status") == "Discharging"
        and _said(supply, "scope") != "Device"  # that of a mouse
        for supply in (sorted(supplies.iterdir()) if supplies.is_dir() else ())
    )


def wants_rest() -> bool:
    """Whether work that can wait should: others need the machine, or it runs on battery."""
    return overloaded() or on_battery()


def _usable_processors() -> Iterable[int]:
    if sys.platform != "win32" and hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _said(supply: Path, name: str) -> str:
    try:
        return (supply / name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
