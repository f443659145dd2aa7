"""What a schedule does with time and memory: when each rank works, how long it idles, how much it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dims import substitute
from ..formats import WIDTH
from ..layout import Layout
from ..plan import Plan
from .schedule import Kind, Op, order, rank_of


@dataclass(frozen=True)
class StageTime:
    """Durations of a stage's work on one micro-batch, and of sending what it passes on; any unit."""

    forward: float
    input: float
    weight: float
    send: float = 0.0

    def of(self, kind: Kind) -> float:
        """Duration of one op."""
        return {"forward": self.forward, "input": self.input, "weight": self.weight}.get(kind, self.input + self.weight)


@dataclass(frozen=True)
class Slot:
    """An op with its time."""

    op: Op
    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """The work of each rank in time; `duration` is that of the whole step, without what follows the last backward."""

    ranks: tuple[tuple[Slot, ...], ...]
    duration: float

    @property
    def bubble(self) -> float:
        """Share of the ranks' time in which they wait."""
        busy = sum(slot.end - slot.start for row in self.ranks for slot in row)
        whole = self.duration * len(self.ranks)
        return 1 - busy / whole if whole else 0.0


def simulate(layout: Layout, micro: int, times: Sequence[StageTime]) -> Timeline:
    """Each op starts when its rank is free and what it needs has arrived; a gradient takes as long as its value."""
    queues = order(layout, micro)
    done: dict[tuple[str, int, int], float] = {}
    rows: list[list[Slot]] = [[] for _ in queues]
    at = [0] * len(queues)
    moved = True
    while moved:
        moved = False
        for rank, queue in enumerate(queues):
            while at[rank] < len(queue):
                op = queue[at[rank]]
                ready = _ready(layout, times, op, done)
                if ready is None:
                    break
                start = max(ready, rows[rank][-1].end if rows[rank] else 0.0)
                end = start + times[op.stage].of(op.kind)
                rows[rank].append(Slot(op, start, end))
                done[_key(op)] = end
                at[rank] += 1
                moved = True
    assert all(at[rank] == len(queue) for rank, queue in enumerate(queues)), "a schedule that waits for itself"
    return Timeline(tuple(map(tuple, rows)), max((row[-1].end for row in rows if row), default=0.0))


def _key(op: Op) -> tuple[str, int, int]:
    return "input" if op.kind == "backward" else op.kind, op.stage, op.micro


def _ready(layout: Layout, times: Sequence[StageTime], op: Op, done: dict[tuple[str, int, int], float]) -> float | None:
    """When all that an op needs is there; None while some of it is not done."""
    needs: list[tuple[tuple[str, int, int], float]] = []
    if op.kind == "forward":
        needs += [(("forward", op.stage - 1, op.micro), _sending(layout, times, op.stage - 1))] if op.stage else []
    elif op.kind == "weight":
        needs.append((("input", op.stage, op.micro), 0.0))
    else:
        needs.append((("forward", op.stage, op.micro), 0.0))
        if op.stage + 1 < layout.stages:
            needs.append((("input", op.stage + 1, op.micro), _sending(layout, times, op.stage)))
    if any(key not in done for key, _ in needs):
        return None
    return max((done[key] + delay for key, delay in needs), default=0.0)


def _sending(layout: Layout, times: Sequence[StageTime], stage: int) -> float:
    """Time between a stage and the next; none where both are on one rank."""
    return 0.0 if rank_of(layout, stage) == rank_of(layout, stage + 1) else times[stage].send


def held(layout: Layout, micro: int) -> list[list[dict[int, int]]]:
    """For each rank, after each of its ops: how many micro-batches each of its stages holds activations of.

    A micro-batch is held from its forward to its backward, to that of the weights where there are halves. This does
    not depend on durations, since each rank keeps to its order.
    """
    found = []
    for queue in order(layout, micro):
        counts = dict.fromkeys(sorted({op.stage for op in queue}), 0)
        rows = []
        for op in queue:
            counts[op.stage] += {"forward": 1, "input": 0}.get(op.kind, -1)
            rows.append(dict(counts))
        found.append(rows)
    return found


def in_flight(layout: Layout, micro: int) -> tuple[int, ...]:
    """The most micro-batches that each stage holds at a time."""
    most = [0] * layout.stages
    for rows in held(layout, micro):
        for counts in rows:
            for stage, count in counts.items():
                most[stage] = max(most[stage], count)
    return tuple(most)


def stage_times(plan: Plan, rate: float = 1.0, bandwidth: float = 0.0) -> tuple[StageTime, ...]:
    """Durations from the plan: forward operations at `rate` per second, backward twice as many, half of them for each
    of inputs and weights; what is sent at `bandwidth` bytes per second, at once where that is 0.
    """
    times = []
    for stage in plan.stages:
        work = _number(plan, sum((node.cost.flops for node in plan.nodes(stage.body) if node.cost), 0)) / rate
        sent = sum(_bytes(plan, stage.body, value) for value in plan.results[stage.body]) if stage.sends else 0
        times.append(StageTime(work, work, work, sent / bandwidth if bandwidth else 0.0))
    return tuple(times)


def _bytes(plan: Plan, body: str, value: tuple[str, int]) -> int:
    node = plan.graphs[body].nodes[value[0]]["node"]
    return _number(plan, node.outputs[value[1]].elements) * WIDTH[node.dtypes[value[1]]]


def _number(plan: Plan, size: object) -> int:
    value = substitute(size, plan.sizes)  # type: ignore[arg-type]
    assert isinstance(value, int), f"a symbolic size is left over: {value}"
    return value
