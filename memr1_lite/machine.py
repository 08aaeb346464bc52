"""What the machine is doing, as far as the system tells."""

from __future__ import annotations

import os
from pathlib import Path

SUPPLIES = Path("/sys/class/power_supply")
"""Where Linux says what feeds the machine."""


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


def _said(supply: Path, name: str) -> str:
    try:
        return (supply / name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
