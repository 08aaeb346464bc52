"""A learning curve as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot(log: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Draw every share of ``log`` over the steps."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for name in log[-1]:
        if name not in ("step", "minutes", "loss"):
            points = [(line["step"], line[name]) for line in log if name in line]
            axes.plot(*zip(*points, strict=True), label=name)
    axes.set(xlabel="step", ylabel="share", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
