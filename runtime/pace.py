"""How often a run saves itself when nobody says so: the interval that loses least to saves and failures together."""

from __future__ import annotations

import math
import time

from . import agree, console
from .mesh import Mesh

FIRST = 10  # steps to the first save, which tells what one costs


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

    def __init__(self, mtbf: float, step: int, mesh: Mesh, most: float = math.inf, first: int = FIRST) -> None:
        self._mtbf, self._most, self._mesh = mtbf, most, mesh
        self._since, self._step = time.monotonic(), step
        self._next = step + first
        self._every = 0

    def due(self, step: int) -> bool:
        """Whether to save after this step."""
        return step >= self._next

    def saved(self, step: int, stall: float) -> None:
        """A save after `step` has stalled training for `stall` seconds: how many steps to the next."""
        each = max(time.monotonic() - self._since - stall, 1e-9) / max(step - self._step, 1)
        wanted = min(interval(stall, self._mtbf), self._most)
        every = int(agree.first(str(max(1, int(wanted / each))), self._mesh))
        if every != self._every:
            console.LINE.note(
                f"a checkpoint every {every:,} steps ({console.duration(every * each)}): one stalls training for "
                f"{stall:.2g} s, and a failure is expected every {console.duration(self._mtbf)}"
            )
        self._every, self._next = every, step + every
        self._since, self._step = time.monotonic(), step
