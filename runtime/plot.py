"""The loss curve of a run as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, BLUE, ORANGE, GRID = "#24292f", "#57606a", "#2f6fde", "#d9540b", "#e7ebef"
SPAN = 0.02  # the mean weighs steps by a bell whose standard deviation is this share of the run


def smoothed(values: Sequence[float], deviation: float) -> npt.NDArray[np.float64]:
    """A mean over neighbours on both sides, so that the curve does not lag; at the ends, over those there are."""
    reach = math.ceil(3.0 * deviation)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)

    def spread(series: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.convolve(series, bell)[reach : reach + len(series)]

    return spread(np.asarray(values, np.float64)) / spread(np.ones(len(values)))


def loss_curve(records: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> Path:
    """Draws the loss of each step, faint, its running mean, and the validation loss as points; writes a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.0), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    labels = [*_training(axes, records), *_validation(axes, records)]
    _name_ends(axes, labels)
    _dress(axes, title)
    figure.savefig(path)
    return path


Label = tuple[float, float, str, str]  # step, loss, text, colour of a curve's end


def _losses(records: Sequence[Mapping[str, Any]], phase: str) -> tuple[list[int], list[float]]:
    chosen = [record for record in records if record["phase"] == phase and "loss" in record]
    return [record["step"] for record in chosen], [record["loss"] for record in chosen]


def _training(axes: Axes, records: Sequence[Mapping[str, Any]]) -> list[Label]:
    steps, losses = _losses(records, "train")
    if not steps:
        return []
    mean = smoothed(losses, max(1.0, len(losses) * SPAN))
    axes.plot(steps, losses, color=BLUE, alpha=0.25, linewidth=0.9)
    axes.plot(steps, mean, color=BLUE, linewidth=2.0, solid_capstyle="round")
    return [(steps[-1], float(mean[-1]), f"training {mean[-1]:.3f}", BLUE)]


def _validation(axes: Axes, records: Sequence[Mapping[str, Any]]) -> list[Label]:
    steps, losses = _losses(records, "validation")
    if not steps:
        return []
    axes.plot(steps, losses, color=ORANGE, linewidth=1.2, marker="o", markersize=6.5, markeredgecolor="white", zorder=5)
    return [(steps[-1], losses[-1], f"validation {losses[-1]:.3f}", ORANGE)]


def _name_ends(axes: Axes, labels: list[Label]) -> None:
    """Names each curve to the right of its end, the lower one below it where the two would overlap."""
    low, high = axes.get_ylim()
    labels = sorted(labels, key=lambda label: label[1])
    close = len(labels) == 2 and labels[1][1] - labels[0][1] < 0.05 * (high - low)
    for (step, loss, text, colour), shift in zip(labels, (-7, 7) if close else (0, 0), strict=False):
        axes.annotate(text, (step, loss), xytext=(10, shift), textcoords="offset points", va="center",
                      color=colour, fontsize=10.5, fontweight="bold", annotation_clip=False)  # fmt: skip


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=13, fontweight="bold", pad=12)
    axes.set_xlabel("step", color=SOFT)
    axes.set_ylabel("loss", color=SOFT)
    axes.tick_params(colors=SOFT, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.015)
    axes.locator_params(axis="x", integer=True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
