"""The course of a disturbed run as a picture: steps over time, with the faults and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .account import PARTS, Outcome
from .watch import Seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, BLUE, GRID, RED = "#24292f", "#57606a", "#2f6fde", "#e7ebef", "#cf222e"
COLOURS: Final = dict(zip(PARTS, ("#cf222e", "#e8833a", "#f2c14e", "#7fb069", "#b9c9e8"), strict=True))


def timeline(seen: Sequence[Seen], outcomes: Sequence[Outcome], path: Path, title: str) -> Path:
    """Draws it, as PNG or SVG by the ending of `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 5.5), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    start = seen[0].time if seen else 0.0
    _bands(axes, outcomes, start)
    _steps(axes, seen, start)
    _strikes(axes, outcomes, start)
    _dress(axes, title)
    figure.savefig(path)
    return path


def _bands(axes: Axes, outcomes: Sequence[Outcome], start: float) -> None:
    """The parts of each recovery behind the steps."""
    for outcome in outcomes:
        at = (outcome.struck or 0.0) - start
        for part, seconds in (outcome.parts or {}).items():
            axes.axvspan(at, at + seconds, color=COLOURS[part], alpha=0.35, linewidth=0)
            at += seconds


def _steps(axes: Axes, seen: Sequence[Seen], start: float) -> None:
    """A line for each stretch of training: from a start of the ranks to the next."""
    stretch: list[Seen] = []
    stretches = [stretch]
    for each in sorted(seen, key=lambda one: one.time):
        if each.what == "born" and stretch:
            stretch = []
            stretches.append(stretch)
        if each.what == "step":
            stretch.append(each)
    for each_stretch in filter(None, stretches):
        times = [each.time - start for each in each_stretch]
        axes.plot(times, [each.value for each in each_stretch], color=BLUE, linewidth=2.0, marker="o", markersize=2.2)


def _strikes(axes: Axes, outcomes: Sequence[Outcome], start: float) -> None:
    """A mark and a name where a fault struck, above the line, or below it where the picture begins."""
    for index, outcome in enumerate(outcomes):
        if outcome.struck is None:
            continue
        at, colour = outcome.struck - start, RED if outcome.wrong() else INK
        left = at < 0.2 * axes.get_xlim()[1]
        label = f"{outcome.fault}{'  FAILED' if outcome.wrong() else ''}"
        axes.plot([at], [outcome.peak], marker="X", markersize=8, color=RED, markeredgecolor="white", zorder=5)
        axes.annotate(
            label, (at, outcome.peak), xytext=(9, -3) if left else (-8, 7),
            textcoords="offset points", color=colour, fontsize=8, ha="left" if left else "right",
            va="top" if left else "bottom",
        ).set_zorder(6 + index)  # fmt: skip


def _dress(axes: Axes, title: str) -> None:
    from matplotlib.patches import Patch

    axes.set_title(title, loc="left", color=INK, fontsize=13, fontweight="bold", pad=12)
    axes.set_xlabel("seconds", color=SOFT)
    axes.set_ylabel("step", color=SOFT)
    axes.set_xlim(left=0.0)
    axes.tick_params(colors=SOFT, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", integer=True)
    axes.legend(
        handles=[Patch(color=colour, alpha=0.35, label=part) for part, colour in COLOURS.items()],
        loc="upper left", framealpha=0.9, edgecolor="white", fontsize=9, labelcolor=SOFT,
        title="until the next new step",
    )  # fmt: skip
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
