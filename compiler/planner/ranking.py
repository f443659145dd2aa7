"""The result of a search as text of at most 100 columns, and as plain data."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Any

from .choice import Choice, sections, settings
from .confirm import Confirmed
from .search import Found
from .text import columns, duration, size

WIDTH = 100
LEGEND = "d x p x t: ranks on the axes data, pipeline and tensor (s: sequence parallel)"


def ranked(name: str, found: Found, tokens: int) -> str:
    """The table of the best, the settings of the first, and why each of the others is not there."""
    machine = found.machine
    unit = "tokens" if tokens else "samples"
    world = found.best[0].choice.layout.world if found.best else 0
    where = f"{world:,} x {machine.name}" if world else machine.name
    head = f"{name} on {where}: {found.samples:,} samples a step, whatever the layout"
    lines = [head, f"{found.looked:,} layouts looked at", ""]
    if found.best:
        lines += columns(
            ("", "d x p x t", "schedule", "shard", "micro-batch", "recompute", "step", f"{unit}/s", "memory"),
            [_row(place, each, found.samples * (tokens or 1)) for place, each in enumerate(found.best, 1)],
        )
        lines += [LEGEND, "", "the first, as flags:", *_flags(found.best[0].choice), "", "and as sections:"]
        lines += [f"  {line}" for line in sections(found.best[0].choice).splitlines()]
    else:
        lines.append("none of them runs")
    lines += ["", "why not the others:"]
    for group in sorted(found.groups.values(), key=lambda group: (-group.count, group.why)):
        text = f"{group.count:>9,}  {group.why}; such as {group.example}"
        lines += textwrap.wrap(text, WIDTH, subsequent_indent=" " * 11, break_long_words=False)
    return "\n".join(lines)


def _row(place: int, each: Confirmed, amount: int) -> tuple[str, ...]:
    choice = each.choice
    layout = choice.layout
    axes = f"{layout.data} x {layout.pipeline} x {layout.tensor}" + ("s" if layout.sequence_parallel else "")
    return (
        str(place), axes,
        layout.schedule_text if layout.pipeline > 1 else "-", layout.shard,
        f"{choice.micro_batch} x {choice.accumulation}", choice.checkpointing, duration(each.seconds),
        f"{amount / each.seconds:,.0f}", size(each.memory),
    )  # fmt: skip


def _flags(choice: Choice) -> list[str]:
    words = [
        f"--set {path}='{value}'" if "(" in value else f"--set {path}={value}"
        for path, value in settings(choice).items()
    ]
    return textwrap.wrap(
        " ".join(words), WIDTH - 2, initial_indent="  ", subsequent_indent="  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def ranking_data(found: Found, tokens: int) -> dict[str, Any]:
    """The result as JSON has it."""
    amount = found.samples * (tokens or 1)
    return {
        "machine": found.machine.name,
        "samples": found.samples,
        "looked_at": found.looked,
        "best": [
            {
                "settings": settings(each.choice),
                "layout": asdict(each.choice.layout),
                "seconds": each.seconds,
                "per_second": amount / each.seconds,
                "memory": each.memory,
            }
            for each in found.best
        ],
        "rejected": [
            {"why": group.why, "count": group.count, "example": group.example}
            for group in sorted(found.groups.values(), key=lambda group: (-group.count, group.why))
        ],
    }
