"""How long a run waits for what, in one place: the ladder of its time-outs.

    TIMES = recovery.Times(heartbeat=20, collective=40, store=90, rendezvous=180)
    MESH.start(place, TIMES)  # ranks wait TIMES.store for each other
    ...                       # the first step
    MESH.settle()             # from here on TIMES.collective

Each time-out is shorter than the next, so that what notices a fault first is what knows most about it: a rank that
hangs is ended by the agent of its own machine, which names it, before the others give up a collective with it, which
would blame them; and nobody gives up on ranks that are still starting, or on machines that still wait for the last
ones to notice. In another order a time-out ends the run in the middle of its recovery (pytorch/torchtitan#2899).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from .errors import RunError

LADDER: Final = ("heartbeat", "collective", "store", "rendezvous", "data")


@dataclass(frozen=True)
class Times:
    """Seconds. `RunError` where one is not shorter than the next, or not above 0.

    heartbeat   a rank that has finished nothing for so long hangs, and its agent ends it
    collective  a collective waits for the other ranks
    store       the same until the first step is done: ranks join through the store, load, compile
    rendezvous  agents of the machines wait for each other, at the start and after a fault
    data        all wait for what one rank does alone: data that is prepared, a checkpoint that is written
    preemption  from the signal that ends a process to the end by force; not a part of the ladder
    """

    heartbeat: float = 300.0
    collective: float = 600.0
    store: float = 1200.0
    rendezvous: float = 1800.0
    data: float = 86_400.0
    preemption: float = 30.0

    def __post_init__(self) -> None:
        for name in (*LADDER, "preemption"):
            if not 0 < getattr(self, name) < float("inf"):
                raise RunError(f"the time-out `{name}` is {getattr(self, name)} s: it has to be above 0 and finite")
        for shorter, longer in pairwise(LADDER):
            first, second = getattr(self, shorter), getattr(self, longer)
            if first >= second:
                raise RunError(
                    f"the time-out `{shorter}` ({first:g} s) has to be shorter than `{longer}` ({second:g} s): "
                    f"{WHY[shorter]}"
                )


WHY: Final = {
    "heartbeat": "a hang is told by the rank that hangs, not by those that wait for it",
    "collective": "ranks that load and compile are given longer than ranks that train",
    "store": "machines wait until the last rank has given up before they start again",
    "rendezvous": "what one rank does alone begins when all machines are there",
}
