"""Whether a run that was stopped goes on as if it never had been: on the same ranks, and in another layout.

Programs are run as they stand, on CPUs with gloo, like those of `dskc.runtime.parity`. On the same ranks every loss
after the stop has to be that of the undisturbed run, to the bit, dropout included. Where a checkpoint of the ranks is
taken up by one process, or one of that process by the ranks, sums are taken in another order: within 1e-5 in fp32, and
where a model magnifies rounding beyond that, once more in fp64.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import ranks
from .parity import BOUND, TIMEOUT, Reference, observe

STOP = 5
"""Steps before the run is stopped."""


@dataclass(frozen=True)
class Report:
    """Losses after the stop: of the undisturbed run, and of the one that was stopped. `bound` 0: equal to the bit."""

    how: str
    losses: tuple[tuple[float, float], ...]
    steps: int
    bound: float = BOUND
    precision: str = "fp32"

    @property
    def failures(self) -> list[str]:
        """What is wrong, one line each; empty where the run goes on as it should."""
        found = []
        if len(self.losses) != self.steps or not self.losses:
            found.append(f"{self.how}: {len(self.losses)} steps were made after the stop instead of {self.steps}")
        for step, (one, other) in enumerate(self.losses, STOP + 1):
            if not abs(one - other) <= self.bound * abs(one):
                found.append(f"{self.how}: the loss of step {step} is {other:.9g} instead of {one:.9g}")
        return found

    def table(self) -> str:
        """What was compared, in a line."""
        worst = max((abs(a - b) / abs(a) if math.isfinite(b) else math.inf for a, b in self.losses), default=math.inf)
        equal = "equal to the bit" if worst == 0.0 else f"error {worst:.1e}{' in fp64' * (self.precision == 'fp64')}"
        return f"{self.how}: {len(self.losses)} steps after step {STOP}: {equal}"


def same(folder: Path, count: int = 1, timeout: float = TIMEOUT) -> Report:
    """A run on `count` ranks, stopped and started again on as many, beside one that was not stopped."""
    undisturbed = _losses(folder, count, timeout=timeout)
    with tempfile.TemporaryDirectory() as run:
        _losses(folder, count, run, STOP, timeout=timeout)
        after = _losses(folder, count, run, timeout=timeout)
    where = "one process" if count == 1 else f"{count} ranks"
    return _report(f"stopped and started again on {where}", undisturbed, after, 0.0)


def across(one: Reference, folder: Path, count: int, timeout: float = TIMEOUT) -> tuple[Report, Report]:
    """A run of `count` ranks that one process takes up, and one of one process that the ranks take up."""
    forth = f"{count} ranks, then one process", (folder, count), (one.folder, 1)
    back = f"one process, then {count} ranks", (one.folder, 1), (folder, count)
    first, second = (_across(one, *way, timeout, exact=False) for way in (forth, back))
    return (
        _across(one, *forth, timeout, exact=True) if first.failures else first,
        _across(one, *back, timeout, exact=True) if second.failures else second,
    )


def _across(
    one: Reference, how: str, before: tuple[Path, int], after: tuple[Path, int], timeout: float, exact: bool
) -> Report:
    with tempfile.TemporaryDirectory() as run:
        _losses(*before, run, STOP, exact=exact, dropout=False, timeout=timeout)
        losses = _losses(*after, run, exact=exact, dropout=False, timeout=timeout)
    return _report(how, one.results(exact)[1], losses, BOUND, "fp64" if exact else "fp32")


def _report(
    how: str, undisturbed: tuple[float, ...], after: tuple[float, ...], bound: float, precision: str = "fp32"
) -> Report:
    pairs = tuple(zip(undisturbed[STOP:], after, strict=False))
    return Report(how, pairs, len(undisturbed) - STOP, bound, precision)


def _losses(
    folder: Path, count: int, run: str | None = None, stop: int | None = None, *,
    exact: bool = False, dropout: bool = True, timeout: float,
) -> tuple[float, ...]:  # fmt: skip
    with tempfile.TemporaryDirectory() as fresh:
        found = ranks.run(observe, count, str(folder), run or fresh, exact, stop, dropout, timeout=timeout)
    losses: tuple[float, ...] = found[0][1]
    return losses
