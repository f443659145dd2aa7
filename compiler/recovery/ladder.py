"""The time-outs of a run in seconds, each longer than the one before: `runtime/recovery.py` says what each is for."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

SLACK: Final = 5.0
STEPS: Final = 2.0
"""A rank hangs when it has finished nothing for so many steps and seconds."""
SHARE: Final = 0.2
LONGEST: Final = 120.0
USUAL: Final = 300.0
"""Of a budget's time a fifth may go until a hang is noticed, two minutes at most; without a budget five minutes."""
JOIN: Final = 600.0
"""torchrun's own time-out of a rendezvous: long enough for a machine that is replaced."""
GRACE: Final = 30.0
"""Between SIGTERM and SIGKILL: torchrun's default, and that of Kubernetes."""
DAY: Final = 86_400
LAST_CALL: Final = 30
KEEP_ALIVE: Final = 5
"""torchrun's own."""


RUNGS: Final = {
    "heartbeat": "a rank that has finished nothing for so long hangs, and is ended",
    "collective": "a collective waits for the other ranks",
    "store": "the same until the first step is done: ranks join, load, compile",
    "rendezvous": "machines wait for each other",
    "data": "all wait for what one rank does alone",
    "preemption": "from the signal to the end by force",
}
"""What each is, in the order of the ladder; the last stands beside it."""


@dataclass(frozen=True)
class Ladder:
    """Whole seconds, as `recovery.Times` takes them."""

    heartbeat: int
    collective: int
    store: int
    rendezvous: int
    data: int
    preemption: int

    @property
    def keep_alive(self) -> int:
        """Between signs of life of an agent, three of which may be missed: a lost machine is known before a hang is."""
        return max(1, min(KEEP_ALIVE, self.heartbeat // 6))


def last_call(heartbeat: int) -> int:
    """How long machines that are enough wait for the others to come back; some notice a fault a heartbeat later."""
    return min(LAST_CALL, heartbeat)


def heartbeat_of(step: float, stall: float, budget: float | None) -> int:
    """When a rank hangs: after two steps and a save at least, later where the budget has room."""
    least = STEPS * step + stall + SLACK
    wanted = USUAL if budget is None else min(SHARE * budget, LONGEST)
    return ceil(max(least, wanted))


def ladder(heartbeat: int, starting: float, leaving: float) -> Ladder:
    """The time-outs above the heartbeat, and the notice that a process gets before it is ended.

    `starting`: from the start of a process to the end of its first step. `leaving`: a step and a save.
    """
    collective = 2 * heartbeat
    store = collective + ceil(2 * starting)
    preemption = ceil(max(GRACE, leaving + SLACK))
    rendezvous = max(int(JOIN), store + collective + preemption)
    return Ladder(heartbeat, collective, store, rendezvous, max(DAY, 2 * rendezvous), preemption)
