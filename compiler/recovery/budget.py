"""The parts of a recovery, from a failure to the step after the last one that was done before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from ...dsl.spec import Spec
from ...dsl.values import AUTO, Quantity
from ..cluster import Machine, machine_of
from ..layout import Layout
from ..memory import states_of
from ..plan import Plan
from ..planner.predict import step_of
from ..planner.text import duration, size
from .interval import lost, steps_of, young
from .ladder import SLACK, STEPS, Ladder, heartbeat_of, ladder, last_call

CHECKED: Final = 1.5e9
"""Bytes per second that a process hashes with SHA-256, with the instructions of the processor for it."""
PEER: Final = 1e9
"""Bytes per second that a rank sends to the next node for `peer_copy`, over TCP."""
JOINING: Final = (2.0, 0.02)
"""Seconds of a rendezvous: agents that look once a second, and for each rank what it says in the store."""
POLL: Final = 1
"""Seconds between two looks of an agent at its processes: `--monitor-interval` of the launch files."""


@dataclass(frozen=True)
class State:
    """What a checkpoint holds: bytes in all, on the fullest rank, and read by all nodes together on a restart."""

    written: int
    of_rank: int
    read: int


@dataclass(frozen=True)
class Part:
    """One part of a recovery: seconds, and what they come from."""

    name: str
    seconds: float
    source: str


@dataclass(frozen=True)
class Recovery:
    """The recovery of a run as predicted; all times in seconds.

    `step` is one step, `stall` what a save costs training, `writing` how long it takes until it is complete, `lag` the
    part of that in which training goes on. `fixed` are the parts that do not depend on how often is saved; `most` is
    the time between saves that the budget leaves then, infinite without one. `every` are the steps between saves: 0
    where only the end is saved, None where the data decide.
    """

    budget: float | None
    mtbf: float | None
    machine: Machine
    state: State
    step: float
    stall: float
    writing: float
    lag: float
    fixed: tuple[Part, ...]
    most: float
    every: int | None
    ladder: Ladder

    @property
    def shortest(self) -> float:
        """The least time between saves: a step, and the save before has to be complete."""
        return max(self.step, self.lag)

    @property
    def interval(self) -> float | None:
        """The time between saves; infinite where only the end is saved."""
        return None if self.every is None else self.every * self.step if self.every else inf

    @property
    def mean(self) -> float | None:
        """Training that is done again, on average."""
        return None if self.interval is None else self.interval / 2 + self.lag

    @property
    def replay(self) -> float | None:
        """Training that is done again at worst."""
        return None if self.interval is None else self.interval + self.lag

    @property
    def total(self) -> float | None:
        """All of a recovery at worst."""
        return None if self.replay is None else seconds(self.fixed) + self.replay

    @property
    def lost(self) -> float | None:
        """The share of time that saves and failures take; None where nothing says how often there is one."""
        if self.mtbf is None or self.interval is None or self.interval == inf:
            return None
        return lost(self.interval, self.stall, self.mtbf, seconds(self.fixed) + self.lag)


def recovery_of(plan: Plan, spec: Spec) -> Recovery:
    """The recovery of a plan after all passes."""
    machine, found = machine_of(spec), step_of(plan, spec)
    state = state_of(plan.layout, [rank.parameters for rank in found.ranks], spec)
    step, writing = found.seconds, _writing(spec, machine, state)
    stall, lag = (state.of_rank / machine.host_link, writing) if spec.checkpoint.async_ else (writing, 0.0)
    budget, mtbf = spec.checkpoint.recover_within, spec.cluster.mtbf
    heartbeat = heartbeat_of(step, stall, budget)
    fixed = (_detection(heartbeat, step, stall), *_starting(spec, machine, plan.layout, state, heartbeat))
    most = inf if budget is None else budget - seconds(fixed) - lag
    every = _every(spec, plan, step)
    if spec.checkpoint.every is AUTO:
        assert mtbf is not None, "the resolver asks for it"
        every = steps_of(young(stall, mtbf), step, max(step, lag), most)
    rungs = ladder(heartbeat, seconds(fixed[1:]) + step, step + stall + lag)
    return Recovery(budget, mtbf, machine, state, step, stall, writing, lag, fixed, most, every, rungs)


def seconds(parts: Iterable[Part]) -> float:
    """Their sum."""
    return sum(part.seconds for part in parts)


def state_of(layout: Layout, parameters: Sequence[int], spec: Spec) -> State:
    """fp32 parameters and optimizer state of ranks with so many `parameters` before they are sharded, by pipeline rank.

    A rank reads what it holds; the ranks of a node read what several of them hold once.
    """
    sharded = layout.shard != "none"
    held = [4 * (1 + states_of(spec)) * count // (layout.data if sharded else 1) for count in parameters]
    written: set[tuple[int, int, int]] = set()
    read: set[tuple[int, int, int, int]] = set()
    for rank in range(layout.world):
        outer, tensor = divmod(rank, layout.tensor)
        pipeline, data = divmod(outer, layout.data)
        block = (pipeline, data if sharded else data % layout.expert, tensor)
        written.add(block)
        read.add((rank // layout.gpu_per_node, *block))
    return State(sum(held[block[0]] for block in written), max(held), sum(held[block[1]] for block in read))


def _detection(heartbeat: int, step: float, stall: float) -> Part:
    least = f"{STEPS:g} steps of {duration(step)}" + (f", a save of {duration(stall)}" if stall >= 1 else "")
    roomy = heartbeat > ceil(STEPS * step + stall + SLACK)
    source = "a rank that hangs has" + (f" {duration(heartbeat)}" if roomy else f" {least} and {duration(SLACK)}")
    return Part("detection", heartbeat + POLL, source)


def _starting(spec: Spec, machine: Machine, layout: Layout, state: State, heartbeat: int) -> tuple[Part, ...]:
    each, all_of_them = JOINING
    call = last_call(heartbeat) if spec.parallel.elastic else 0
    ranks, storage = layout.world, machine.shared_storage
    checking = state.of_rank / CHECKED
    reading, where = state.read / storage.read, f"{size(state.read)} from storage at {storage.read / 1e9:,.4g} GB/s"
    if near(spec, machine):
        reading, where = state.of_rank / PEER, f"{size(state.of_rank)} a rank from the memory of the next node"
    warm_up = machine.warm_up + (machine.compilation if compiles(spec) else 0.0)
    waits = f", {call} s wait for lost machines" if call else ""
    kind = "set by `cluster.%s`"
    about = {
        "restart": kind % "start_up" if "start_up" in machine.given else "Python, imports, device",
        "rendezvous": f"{ranks:,} ranks find each other{waits}" if ranks > 1 else "the agent starts again",
        "load": f"{where}, checked",
        "warm-up": kind % "warm_up" if "warm_up" in machine.given else "a first step" + ", compiled" * compiles(spec),
    }
    times = (machine.start_up, each + all_of_them * ranks + call, reading + checking, warm_up)
    return tuple(Part(name, time, about[name]) for name, time in zip(about, times, strict=True))


def near(spec: Spec, machine: Machine) -> bool:
    """Whether each node's state is in the memory of another one, so that a lost node needs no storage."""
    return spec.checkpoint.peer_copy and machine.nodes > 1


def _writing(spec: Spec, machine: Machine, state: State) -> float:
    """Until a save is where a lost node leaves it: in storage, or in memory here and on the next node."""
    if near(spec, machine):
        return state.of_rank / CHECKED + state.of_rank / PEER
    return state.written / machine.shared_storage.write


def compiles(spec: Spec) -> bool:
    """Whether a first step compiles, in a time that the spec does not give."""
    return spec.training.execution != "eager" and spec.parallel.pipeline_depth == 1 and spec.cluster.warm_up is AUTO


def _every(spec: Spec, plan: Plan, step: float) -> int | None:
    """Steps between saves as the spec gives them; 0 for none, None where the data decide."""
    every = spec.checkpoint.every
    if not isinstance(every, Quantity):
        return 0
    samples = plan.sizes.get("B", 1) * plan.layout.data * spec.training.gradient_accumulation
    if every.dimension == "seconds":
        return ceil(every.value / step)
    each = {"steps": 1, "samples": samples, "tokens": samples * plan.sizes.get("S", 1)}
    return max(1, round(every.value / each[every.dimension])) if every.dimension in each else None
