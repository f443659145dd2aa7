"""What became of each fault, from what was seen of the run: detected by what, back when, which part took how long."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from .faults import Fault
from .watch import Seen

PARTS: Final = ("detect", "restart", "rendezvous", "load", "replay")
"""From the strike to the first sign that something noticed; to the new ranks, their modules loaded; until they have
joined each other; until the state is loaded; until a step that had not been done before."""

LINES: Final = (
    (re.compile(r"failed \(exitcode: (-?\d+)\)"), "torchrun: exit code {} of a rank"),
    (re.compile(r"error on rank (\d+): no sign of life"), "the watchdog of rank {}"),
    (re.compile(r"error on rank (\d+)"), "rank {}: a collective or another call failed"),
    (re.compile(r"(?i)closing .*process(?:es)?.* via signal|Signal (\d+) .*received"), "torchrun: signal {}"),
)
NOTICED: Final = ("died", "hang", "damaged", "save_failed", "preempted", "stopped")


@dataclass
class Outcome:
    """One fault and what followed; times are of the harness's monotonic clock."""

    fault: Fault
    struck: float | None = None
    proof: str = ""
    peak: int = 0  # steps that were done when it struck
    shown: str = ""  # the event that names it
    detected: float | None = None
    by: str = ""
    resumed: int | None = None  # the step that the run came back to
    back: float | None = None  # when the next new step was done
    parts: dict[str, float] | None = None

    @property
    def replayed(self) -> int | None:
        """Steps that were done again."""
        return None if self.resumed is None else max(0, self.peak - self.resumed)

    def wrong(self) -> str:
        """Why this fault makes the chaos run a failure; empty where it does not."""
        if self.struck is None:
            return "it did not fire"
        if not self.shown:
            return f"no event names it: none of {', '.join(self.fault.kind.shows)} in events.jsonl"
        return "" if self.back is not None else "no new step after it"


def evidence(seen: Seen) -> str:
    """What noticed something, if this observation says so."""
    if seen.what == "event" and seen.value["event"] in NOTICED:
        return f"event {seen.value['event']} of rank {seen.rank}"
    if seen.what == "exit":
        return f"outer loop: a launcher ended with {seen.value}"
    if seen.what == "line":
        for pattern, text in LINES:
            match = pattern.search(seen.value)
            if match:
                return text.format(match[1] or "sent")
    return ""


def settle(outcome: Outcome, seen: Sequence[Seen]) -> None:
    """Fills in what followed a fault that has struck, as far as it was seen."""
    if outcome.struck is None:
        return
    after = [each for each in seen if each.time >= outcome.struck]
    first = next(((each.time, by) for each in after if (by := evidence(each))), None)
    outcome.detected, outcome.by = first or (None, "")
    starts = [each.time for each in after if each.what == "born"]
    if outcome.fault.kind.ends:
        if not starts:
            return
        # ranks that were told to end finish their step first
        done = (each.value for each in after if each.what == "step" and each.time < starts[0])
        outcome.peak = max(outcome.peak, *done, 0)
        after = [each for each in after if each.what != "step" or each.time > starts[0]]
    outcome.back = next((each.time for each in after if each.what == "step" and each.value > outcome.peak), None)
    if outcome.back is not None:
        _recovery(outcome, [each for each in after if each.time <= (outcome.back or 0.0)])


def _recovery(outcome: Outcome, window: Sequence[Seen]) -> None:
    """The steps and the parts of coming back, where ranks were started again."""
    starts = [each.time for each in window if each.what == "born"]
    if not starts:
        return
    steps = [each for each in window if each.what == "step" and each.time > starts[-1]]
    outcome.resumed = steps[0].value - 1
    outcome.parts = _parts(outcome, window, starts[-1], steps[0].time)


def _parts(outcome: Outcome, window: Sequence[Seen], born: float, first_step: float) -> dict[str, float]:
    """Seconds of each part, of the last start before the new step."""

    def last(what: str, otherwise: float) -> float:
        return max((each.time for each in window if each.what == what and each.time >= born), default=otherwise)

    resumed = (s.time for s in window if s.what == "event" and s.value["event"] == "resumed" and s.time >= born)
    struck = outcome.struck or 0.0
    joining = last("joining", born)
    marks = [
        struck,
        min(outcome.detected if outcome.detected is not None else joining, joining),
        joining,
        last("joined", joining),
        min(max(resumed, default=first_step), first_step),
        window[-1].time,
    ]
    for at in range(1, len(marks)):  # ranks start side by side: what one has begun, another may not have ended
        marks[at] = max(marks[at], marks[at - 1])
    return {part: after - before for part, (before, after) in zip(PARTS, pairwise(marks), strict=True)}
