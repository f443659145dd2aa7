"""Pictures of a timeline: SVG, and text for a terminal."""

from __future__ import annotations

from html import escape
from typing import Final

from ..layout import Layout
from .timeline import Slot, Timeline, in_flight

COLOURS: Final = {"forward": "#4c8fd6", "backward": "#3fa37c", "input": "#3fa37c", "weight": "#d99a2b"}
NAMES: Final = {"forward": "forward", "backward": "backward", "input": "backward of inputs", "weight": "of weights"}
WIDTH: Final = 1200
"""Of the drawing area, in pixels."""
ROW: Final = 28
LEFT: Final = 64
TOP: Final = 64
LETTER: Final = 7
"""Pixels of a digit."""


def facts(layout: Layout, timeline: Timeline, micro: int) -> str:
    """`one_f_one_b, 4 stages, 8 micro-batches: the ranks wait 27.3 % of the step; at most 4 micro-batches held`."""
    most = max(in_flight(layout, micro))
    held = f"at most {most} micro-batch{'es' if most != 1 else ''} held"
    waits = f"the ranks wait {timeline.bubble:.1%} of the step".replace("%", " %")
    return f"{layout.schedule}, {layout.stages} stages, {micro} micro-batches: {waits}; {held}"


def svg(layout: Layout, timeline: Timeline, micro: int, title: str) -> str:
    """One row for each rank, one box for each op with the number of its micro-batch; later chunks are lighter."""
    rows = len(timeline.ranks)
    height = TOP + rows * ROW + 48
    scale = WIDTH / timeline.duration if timeline.duration else 1.0
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 16}" height="{height}" '
        'font-family="system-ui, DejaVu Sans, sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="600" fill="#222">{escape(title)}</text>',
        f'<text x="{LEFT}" y="44" fill="#444">{escape(facts(layout, timeline, micro))}</text>',
    ]
    for rank, row in enumerate(timeline.ranks):
        top = TOP + rank * ROW
        lines.append(f'<text x="8" y="{top + 17}" fill="#222">rank {rank}</text>')
        lines.append(f'<rect x="{LEFT}" y="{top + 2}" width="{WIDTH}" height="{ROW - 4}" fill="#eeeeee"/>')
        for slot in row:
            lines += _box(slot, top, scale, layout)
    return "\n".join([*lines, *_legend(layout, timeline, TOP + rows * ROW + 18), "</svg>", ""])


def _box(slot: Slot, top: int, scale: float, layout: Layout) -> list[str]:
    x, width = LEFT + slot.start * scale, (slot.end - slot.start) * scale
    op = slot.op
    chunk = op.stage // layout.pipeline
    opacity = 1.0 - 0.45 * chunk / max(1, layout.chunks - 1)
    about = f"{NAMES[op.kind]} of micro-batch {op.micro} on stage {op.stage}"
    drawn = [
        f'<rect x="{x:.2f}" y="{top + 2}" width="{max(width, 0.5):.2f}" height="{ROW - 4}" fill="{COLOURS[op.kind]}" '
        f'fill-opacity="{opacity:.2f}" stroke="#ffffff" stroke-width="{0.8 if width > 4 else 0}">'
        f"<title>{about}</title></rect>"
    ]
    if width >= LETTER * len(str(op.micro)) + 2:
        ink = "#ffffff" if opacity > 0.7 else "#222222"
        drawn.append(
            f'<text x="{x + width / 2:.2f}" y="{top + 18}" text-anchor="middle" fill="{ink}">{op.micro}</text>'
        )
    return drawn


def _legend(layout: Layout, timeline: Timeline, top: int) -> list[str]:
    kinds = dict.fromkeys(slot.op.kind for row in timeline.ranks for slot in row)
    lines, x = [], LEFT
    for name, colour in [*((NAMES[kind], COLOURS[kind]) for kind in kinds), ("waiting", "#eeeeee")]:
        lines.append(f'<rect x="{x}" y="{top - 10}" width="12" height="12" fill="{colour}" stroke="#999999"/>')
        lines.append(f'<text x="{x + 18}" y="{top}" fill="#222">{name}</text>')
        x += 48 + LETTER * len(name)
    if layout.chunks > 1:
        lines.append(f'<text x="{x}" y="{top}" fill="#222">lighter: later stages of the rank</text>')
    return lines


def text(layout: Layout, timeline: Timeline, micro: int, width: int = 100) -> str:
    """One line for each rank: digits are forwards, letters backwards (`a`: micro-batch 0), `=` gradients of weights."""
    scale = width / timeline.duration if timeline.duration else 1.0
    lines = [facts(layout, timeline, micro)]
    for rank, row in enumerate(timeline.ranks):
        cells = ["."] * width
        for slot in row:
            first = min(width - 1, round(slot.start * scale))
            for at in range(first, max(first + 1, min(width, round(slot.end * scale)))):
                cells[at] = _letter(slot)
        lines.append(f"  rank {rank:<3} {''.join(cells)}")
    return "\n".join(lines)


def _letter(slot: Slot) -> str:
    if slot.op.kind == "weight":
        return "="
    return str(slot.op.micro % 10) if slot.op.kind == "forward" else chr(ord("a") + slot.op.micro % 26)
