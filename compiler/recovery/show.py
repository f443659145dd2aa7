"""A predicted recovery as text, and as plain data."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from math import isfinite
from typing import Any, Final

from ..planner.text import duration, share, size
from .budget import Part, Recovery, seconds
from .ladder import RUNGS

WIDTH: Final = 100


def shown(recovery: Recovery) -> list[str]:
    """The table of parts, then the ladder of time-outs."""
    parts = [*recovery.fixed, *replayed(recovery)]
    lines = [_line("recovery", "at worst", "from"), "-" * 78, *(_row(part) for part in parts)]
    if recovery.total is not None and isfinite(recovery.total):
        lines.append(_line("all", duration(recovery.total), _of_budget(recovery)))
    lines += textwrap.wrap(_saves(recovery), WIDTH)
    lines += ["", _line("time-outs", "", "each shorter than the next but the last")]
    return lines + [_line(f"  {name}", f"{getattr(recovery.ladder, name):,} s", RUNGS[name]) for name in RUNGS]


def replayed(recovery: Recovery) -> list[Part]:
    """The part that depends on how often is saved."""
    if recovery.replay is None:
        return [Part("replay", 0.0, "an interval that the data decide")]
    if not recovery.every:
        return [Part("replay", recovery.replay, "everything: only the end is saved")]
    count = f"{recovery.every:,} step{'s' if recovery.every > 1 else ''}"
    writing = f", and {duration(recovery.lag)} until a save is complete" if recovery.lag else ""
    return [Part("replay", recovery.replay, f"{count} of {duration(recovery.step)}{writing}")]


def _row(part: Part) -> str:
    return _line(part.name, duration(part.seconds) if 0 < part.seconds < float("inf") else "-", part.source)


def _line(name: str, time: str, source: str) -> str:
    return f"{name:<14}{time:>10}  {source}".rstrip()


def _of_budget(recovery: Recovery) -> str:
    assert recovery.total is not None
    assert recovery.mean is not None
    usual = f"{duration(seconds(recovery.fixed) + recovery.mean)} on average"
    if recovery.budget is None:
        return f"{usual}; `checkpoint.recover_within` is not set"
    return f"{share(recovery.total, recovery.budget)} of the {duration(recovery.budget)} of recover_within; {usual}"


def _saves(recovery: Recovery) -> str:
    text = f"a save is {size(recovery.state.written)}, written in {duration(recovery.writing)}"
    text += f", and stalls training for {duration(recovery.stall)}"
    if recovery.lost is not None and recovery.mtbf is not None:
        text += f"; saves and failures, one in {duration(recovery.mtbf)}, take {recovery.lost:.1%} of the time"
    return text


def recovery_data(recovery: Recovery) -> dict[str, Any]:
    """As JSON has it: seconds, bytes, steps; what is not known, or never, is null."""
    return {
        "budget": recovery.budget,
        "parts": {part.name: _number(part.seconds) for part in recovery.fixed},
        "step": _number(recovery.step),
        "save": {
            "bytes": recovery.state.written,
            "stall": _number(recovery.stall),
            "writing": _number(recovery.writing),
        },
        "interval": {"steps": recovery.every or None, "most": _number(recovery.most)},
        "replay": {"mean": _number(recovery.mean), "worst": _number(recovery.replay)},
        "total": _number(recovery.total),
        "lost": _number(recovery.lost, 6),
        "time_outs": asdict(recovery.ladder),
    }


def _number(value: float | None, digits: int = 3) -> float | None:
    return None if value is None or not isfinite(value) else round(value, digits)
