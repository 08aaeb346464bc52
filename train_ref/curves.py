"""Learning curves as PNGs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def plot_curves(
    panels: Mapping[str, tuple[Sequence[Sequence[dict[str, float]]], Mapping[str, float]]], path: Path
) -> None:
    """One panel for each name: the rewards of several runs, thin, their mean, and constant lines beside them."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 3), sharey=True, squeeze=False)
    for ax, (name, (logs, constants)) in zip(axes[0], panels.items(), strict=True):
        rewards = [[line["reward"] for line in log if "reward" in line] for log in logs]
        for line in rewards:
            ax.plot(range(1, len(line) + 1), line, color="tab:blue", alpha=0.25, linewidth=0.8)
        means = [sum(step) / len(step) for step in zip(*rewards, strict=False)]
        ax.plot(range(1, len(means) + 1), means, color="tab:blue", label="reward, mean")
        held = [[(line["step"], line["valid_reward"]) for line in log if "valid_reward" in line] for log in logs]
        ax.plot(
            [step for step, _ in held[0]], [sum(r for _, r in at) / len(at) for at in zip(*held, strict=False)],
            "o--", color="tab:green", markersize=3, label="held out, greedy",
        )  # fmt: skip
        for (label, value), style in zip(constants.items(), ("--", ":", "-."), strict=False):
            ax.axhline(value, color="gray", linestyle=style, linewidth=0.8, label=label)
        ax.set(title=name, xlabel="step", ylim=(0, 1))
        ax.grid(alpha=0.3)
        ax.legend(fontsize=6, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
