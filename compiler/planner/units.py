"""The model as the planner sees it: units in a row, between which a pipeline can cut, with their costs on one rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ...dsl.spec import Spec
from ..cluster import Machine
from ..layout import Layout
from ..node import Node, Value
from ..plan import Plan
from . import network
from .work import Work, Worker


@dataclass(frozen=True)
class Unit:
    """`count` equal steps of the model in a row; all numbers are those of one of them, on one rank.

    `parameters` are trained elements, `saved` the bytes that backward keeps, `edge` those that cross to the next step;
    `tensor` are the (forward, backward) seconds of collectives on the tensor axis and `tensor_bytes` what a rank sends
    in them.
    """

    name: str
    count: int
    work: Work
    parameters: int
    saved: int
    edge: int
    tensor: tuple[float, float]
    tensor_bytes: tuple[float, float]
    repeated: bool

    @property
    def forward(self) -> float:
        """Seconds of one forward pass."""
        return self.work.forward + self.tensor[0]

    @property
    def backward(self) -> float:
        """Seconds of one backward pass, nothing recomputed."""
        return self.work.backward + self.tensor[1]


def units_of(plan: Plan, spec: Spec, machine: Machine, layout: Layout, micro_batch: int | None = None) -> tuple[Unit, ...]:
    """The units of an uncut plan, at a number of samples per micro-batch (that of the plan where None)."""
    sizes = dict(plan.sizes)
    if micro_batch is not None and "B" in sizes:
        sizes["B"] = micro_batch
    worker = Worker(plan, machine, sizes, spec.precision.compute, _fuses(spec))
    found = list(_units(plan, worker, "forward", ""))
    return tuple(_timed(unit, layout, machine) for unit in _joined(found))


def _fuses(spec: Spec) -> bool:
    """`auto` compiles where there is a compiler, as on every GPU."""
    execution = spec.training.execution
    return execution in ("compiled", "cuda_graph") or (execution != "eager" and spec.cluster.gpu is not None)


def _units(plan: Plan, worker: Worker, body: str, prefix: str) -> Iterator[Unit]:
    nodes = [node for node in plan.nodes(body) if node.op != "input"]
    for position, node in enumerate(nodes):
        name = f"{prefix}{node.label or node.name}"
        if node.op == "call" and node.body and _repeats(plan, node.body):
            yield from _units(plan, worker, node.body, f"{name}.")
            continue
        edge = _crossing(plan, worker, body, nodes[: position + 1], nodes[position + 1 :])
        repeated = node.op == "repeat" and node.body is not None
        inner = worker.body(node.body) if repeated and node.body else worker.of(body, [node])
        times = node.count if repeated else 1
        assert node.cost is not None, "the pass `cost` comes first"
        saved = worker.number(node.cost.saved) // times
        yield Unit(name, times, inner, node.cost.parameters // times, saved, edge, (0, 0), (0, 0), repeated)


def _repeats(plan: Plan, body: str) -> bool:
    return any(node.op == "repeat" or (node.body and _repeats(plan, node.body)) for node in plan.nodes(body))


def _crossing(plan: Plan, worker: Worker, body: str, before: list[Node], after: list[Node]) -> int:
    """Bytes of the values that a cut here would hand on; inputs of the model are on every stage."""
    made = {node.name for node in before}
    used: set[Value] = {value for node in after for value in node.inputs if value[0] in made}
    used |= {value for value in plan.results[body] if value[0] in made} if body != "forward" else set()
    return sum(worker.value_bytes(body, value) for value in used)


def _joined(units: list[Unit]) -> list[Unit]:
    """Units that cost nothing join their neighbour, so that a cut falls where something ends."""
    result: list[Unit] = []
    for unit in units:
        free = not unit.repeated and not unit.work.forward and not unit.parameters
        if free and result and not result[-1].repeated:
            result[-1] = replace(result[-1], edge=unit.edge)
        elif not free or not result:
            result.append(unit)
    return result


def _timed(unit: Unit, layout: Layout, machine: Machine) -> Unit:
    """The collectives inside a unit as seconds and bytes."""
    seconds, sent = [0.0, 0.0], [0.0, 0.0]
    for (axis, kind, amount), counts in unit.work.moves.items():
        ranks = network.group(layout, axis, machine)
        for side in (0, 1):
            seconds[side] += counts[side] * network.COLLECTIVES[kind](amount, ranks, machine)
            sent[side] += counts[side] * network.sent(kind, amount, ranks.size)
    return replace(unit, tensor=(seconds[0], seconds[1]), tensor_bytes=(sent[0], sent[1]))


def model_flops(units: tuple[Unit, ...]) -> float:
    """Operations of one forward pass of one micro-batch on one rank."""
    return sum(unit.work.flops * unit.count for unit in units)


Sizes = Mapping[str, int]
