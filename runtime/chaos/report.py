"""What a chaos run found: a line per fault, the summary, and all of it as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from .account import PARTS, Outcome


def line(index: int, count: int, outcome: Outcome) -> str:
    """One fault, as soon as it is over."""
    head = f"{index:>{len(str(count))}}/{count}  {outcome.fault!s:<28}"
    if outcome.struck is None:
        return f"{head}  NOT FIRED"
    wrong = outcome.wrong()
    if wrong:
        return f"{head}  FAILED: {wrong}"
    if outcome.parts is None:
        noticed = f"noticed by {outcome.by}" if outcome.by else f"seen in event {outcome.shown}"
        return f"{head}  {noticed}; training went on"
    total = sum(outcome.parts.values())
    return f"{head}  {outcome.by}; {outcome.replayed} steps again, {total:.1f} s to the next new one"


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Seconds by part, per fault."""
    rows: list[tuple[str, ...]] = [("fault", "detected by", "event", "again", *PARTS, "total")]
    for outcome in outcomes:
        parts = outcome.parts
        seconds = [f"{parts[part]:.2f}" for part in PARTS] if parts else ["-"] * len(PARTS)
        again = "-" if outcome.replayed is None else str(outcome.replayed)
        total = f"{sum(parts.values()):.2f}" if parts else "-"
        rows.append((str(outcome.fault), outcome.by or "-", outcome.shown or "-", again, *seconds, total))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    shown = []
    for row in rows:
        cells = [
            cell.ljust(width) if at < 3 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    return shown


def medians(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Median seconds of each part and of all, over the faults that the run had to come back from."""
    found = [outcome.parts for outcome in outcomes if outcome.parts]
    if not found:
        return {}
    parts = {part: statistics.median(each[part] for each in found) for part in PARTS}
    return {**parts, "total": statistics.median(sum(each.values()) for each in found)}


def content(outcomes: Sequence[Outcome], start: float) -> list[dict[str, Any]]:
    """The faults as JSON; times are seconds from `start`."""
    return [
        {
            "fault": str(outcome.fault),
            "fired": outcome.struck is not None,
            "proof": outcome.proof,
            "at": None if outcome.struck is None else round(outcome.struck - start, 3),
            "detected_by": outcome.by,
            "event": outcome.shown,
            "steps_replayed": outcome.replayed,
            "seconds": {part: round(value, 3) for part, value in (outcome.parts or {}).items()},
            "back": None if outcome.back is None else round(outcome.back - start, 3),
            "wrong": outcome.wrong(),
        }
        for outcome in outcomes
    ]
