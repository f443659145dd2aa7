"""The loss curve of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, BLUE, ORANGE, GRID = "#24292f", "#57606a", "#2f6fde", "#e36209", "#e7ebef"
SPAN = 0.04  # share of the run over which the training loss is averaged


def smoothed(values: Sequence[float], span: int) -> list[float]:
    """An exponential mean over about `span` values, without the start's bias towards zero."""
    keep = 1.0 - 1.0 / max(1, span)
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1.0 - keep) * value, keep * weight + (1.0 - keep)
        out.append(mean / weight)
    return out


def loss_curve(records: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> Path:
    """Draws the loss of each step, faint, its running mean, and the validation loss as points; writes a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.0), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    training = [(record["step"], record["loss"]) for record in records if record["phase"] == "train"]
    held_out = [(r["step"], r["loss"]) for r in records if r["phase"] == "validation" and "loss" in r]
    if training:
        steps, losses = zip(*training, strict=True)
        mean = smoothed(losses, round(len(losses) * SPAN))
        axes.plot(steps, losses, color=BLUE, alpha=0.22, linewidth=0.9, label="training, each step")
        axes.plot(steps, mean, color=BLUE, linewidth=2.0, solid_capstyle="round", label="training, running mean")
    if held_out:
        steps, losses = zip(*held_out, strict=True)
        axes.plot(steps, losses, color=ORANGE, linewidth=1.2, marker="o", markersize=6, markeredgecolor="white",
                  label="validation", zorder=5)  # fmt: skip
        axes.annotate(f"{losses[-1]:.3f}", (steps[-1], losses[-1]), xytext=(0, 9), textcoords="offset points",
                      ha="center", color=ORANGE, fontsize=10, fontweight="bold")  # fmt: skip
    _dress(axes, title)
    figure.savefig(path)
    return path


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=13, fontweight="bold", pad=12)
    axes.set_xlabel("step", color=FAINT)
    axes.set_ylabel("loss", color=FAINT)
    axes.tick_params(colors=FAINT, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.legend(frameon=False, labelcolor=INK)
