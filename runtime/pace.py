"""How often a run saves itself when nobody says so: the interval that loses least to saves and failures together."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from . import agree, console
from .mesh import Mesh

FIRST = 10  # steps to the first save, which tells what one costs


@dataclass
class Cost:
    """What the last save cost, in seconds: `stall` of training itself, `writing` beside it (0 where there is none)."""

    stall: float = 0.0
    writing: float = 0.0


def interval(cost: float, mtbf: float) -> float:
    """Seconds between saves that each stall training for `cost`, where a failure comes every `mtbf` on average.

    sqrt(2 cost mtbf): J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17 (1974);
    never more than `mtbf`, as in J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart
    dumps", FGCS 22 (2006).
    """
    return min(math.sqrt(2 * cost * mtbf), mtbf)


class Pace:
    """Says when the next save is due: `first` steps after the start, then by what the last one cost.

    `most` are the seconds between saves that a budget of recovery leaves. The first rank measures for all.
    """

    def __init__(
        self, mtbf: float, step: int, mesh: Mesh | None = None, most: float = math.inf, first: int = FIRST
    ) -> None:
        self._mtbf, self._most, self._mesh = mtbf, most, mesh or Mesh()
        self._since: float | None = None
        self._step, self._next = step, step + first
        self._every = 0

    def due(self, step: int) -> bool:
        """Whether to save after this step; asked after each one."""
        if self._since is None:
            self._since, self._step = time.monotonic(), step  # the first step compiles and is no measure
        return step >= self._next

    def saved(self, step: int, cost: Cost) -> None:
        """A save after `step` had this cost: how many steps to the next. None comes before the last one is written."""
        now, since, steps = time.monotonic(), self._since, step - self._step
        self._since, self._step, self._next = now, step, step + max(self._every, 1)
        if since is None or steps < 1:  # nothing was measured
            return
        each = max(now - since - cost.stall, 1e-9) / steps
        wanted = max(min(interval(cost.stall, self._mtbf), self._most), cost.writing)
        every = int(agree.first(str(max(1, int(wanted / each))), self._mesh))
        if every != self._every:
            console.LINE.note(
                f"a checkpoint every {every:,} steps ({console.duration(every * each)}): one stalls training for "
                f"{cost.stall:.2g} s, and a failure is expected every {console.duration(self._mtbf)}"
            )
        self._every, self._next = every, step + every
