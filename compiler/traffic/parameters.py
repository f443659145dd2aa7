"""What keeps parameters in step: gradients that are added up, and what FSDP2 gathers and scatters.

FSDP2 cuts each parameter on its first dimension into as many blocks as there are ranks, all of the size of the
largest, and moves a unit's parameters together: a unit of parameters p takes sum(ceil(rows / n) * n * row size)
elements, in the format that it computes in for the all-gather and in fp32 for the reduce-scatter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...dsl.spec import Spec
from ..lower.parameters import tied_names
from ..node import Body, Node, Parameter, is_split
from ..passes.precision import WIDTH
from ..plan import Plan, Stage
from .compute import ranks
from .flow import Flow
from .gathers import gathers
from .model import Traffic, row

BUCKET = 25 << 20
"""Bytes after which `runtime.replicated` begins another all-reduce."""


@dataclass(frozen=True)
class Held:
    """A parameter of a rank: its local shape, whether it gets a gradient, whether that is summed over the tensor axis.

    `unit` is the number of the unit that FSDP2 gathers it in, from 1; 0 is what is in no unit.
    """

    parameter: Parameter
    unit: int
    learns: bool
    summed: bool

    @property
    def elements(self) -> int:
        """Of one rank's copy, before the data axis cuts it."""
        return prod(dim for dim in self.parameter.shape if isinstance(dim, int))

    def padded(self, count: int) -> int:
        """Elements of all blocks together, where `count` ranks hold blocks of equal size."""
        rows = self.parameter.shape[0]
        assert isinstance(rows, int)
        return -(-rows // count) * count * (self.elements // rows)

    def first(self, count: int) -> int:
        """Elements that the first of `count` ranks holds."""
        return self.padded(count) // count if self.parameter.shape else self.elements


def synced(plan: Plan, spec: Spec, flow: Flow, rank: int) -> Iterator[Traffic]:
    """The parameters of one rank of the pipeline, in one step."""
    stages = [stage for stage in plan.stages if stage.rank == rank]
    models = [list(_held(plan, flow, body)) for body in [stage.body for stage in stages] or ["forward"]]
    everything = [each for held in models for each in held]
    sharded = plan.layout.shard != "none" and plan.layout.data > 1
    if plan.layout.data > 1:
        whole = [each for each in everything if not (sharded and each.parameter.shape)]
        for axis in ("data", "replica") if plan.layout.expert > 1 else ("data",):
            chosen = [
                each for each in reversed(whole) if each.learns and is_split(each.parameter) == (axis == "replica")
            ]
            if ranks(plan, axis) > 1:
                yield from _added(axis, chosen, ranks(plan, axis))
    if sharded:
        counts = gathers(plan.layout, spec.training.gradient_accumulation, rank)
        for held, index in zip(models, [stage.index for stage in stages] or [0], strict=True):
            yield from _sharded(plan, spec, [each for each in held if each.parameter.shape], counts[index])
    cut = ranks(plan, "data") if sharded else 1
    if plan.layout.tensor > 1:
        size = sum(each.first(cut) for each in everything if each.summed and each.learns) * WIDTH["fp32"]
        if size:
            yield row("tensor", "all_reduce", "gradients", size, ranks(plan, "tensor"))
    yield from _tied(plan, stages, cut)


def _tied(plan: Plan, stages: Sequence[Stage], cut: int) -> Iterator[Traffic]:
    """Parameters that several ranks of the pipeline hold: each sends its gradient to all others."""
    seen: set[str] = set()
    for stage in stages:
        for sync in plan.syncs:
            node: Node = plan.graphs[sync.body].nodes[sync.node]["node"]
            path = f"{node.label}.{sync.parameter}"
            if sync.axis != "pipeline" or sync.body != stage.body or stage.index not in sync.stages or path in seen:
                continue
            seen.add(path)
            holders = {plan.stages[index].rank for index in sync.stages}
            parameter = _inside(plan, node, sync.parameter.split("."))
            size = Held(parameter, 0, True, False).first(cut) * WIDTH["fp32"]
            for kind in ("send", "recv"):
                yield row("pipeline", kind, "gradients", size, 2).times(len(holders) - 1)


def _inside(plan: Plan, node: Node, path: list[str]) -> Parameter:
    """The parameter at a path of labels inside a node."""
    while len(path) > 1:
        assert node.body is not None
        node = next(inner for inner in plan.nodes(node.body) if inner.label == path[0])
        path = path[1:]
    return next(parameter for parameter in node.parameters if parameter.name == path[0])


def _added(axis: str, held: Iterable[Held], count: int) -> Iterator[Traffic]:
    """All-reduces of buckets of gradients, the last parameters first."""
    size = 0
    for each in held:
        if size >= BUCKET:
            yield row(axis, "all_reduce", "gradients", size, count)
            size = 0
        size += each.elements * WIDTH["fp32"]
    if size:
        yield row(axis, "all_reduce", "gradients", size, count)


def _sharded(plan: Plan, spec: Spec, held: Sequence[Held], gathered: tuple[int, int]) -> Iterator[Traffic]:
    """The units of one model or stage; `gathered`: how often each, and what is in none."""
    count, micro = ranks(plan, "data"), spec.training.gradient_accumulation
    low = WIDTH[spec.precision.compute]
    for unit in sorted({each.unit for each in held}):
        mine = [each for each in held if each.unit == unit]
        size = sum(each.padded(count) for each in mine)
        yield row("data", "all_gather", "parameters", size * low, count).times(gathered[0 if unit else 1])
        learned = sum(each.padded(count) for each in mine if each.learns) * WIDTH["fp32"]
        if learned:
            times = 1 if plan.layout.shard == "optimizer" or plan.stages else micro
            yield row("data", "reduce_scatter", "gradients", learned, count).times(times)


def _held(plan: Plan, flow: Flow, body: str) -> Iterator[Held]:
    """The parameters of a model or stage in the order of its modules; each iteration of an outer repeat is a unit."""
    bodies = {name: _as_left(plan, name) for name in plan.bodies}
    summed = {(s.body, s.node, s.parameter) for s in plan.syncs if s.axis == "tensor"}
    unit = 0
    for node in bodies[body].nodes:
        found = list(_owned(plan, flow, bodies, (bodies[body],), node, summed))
        if node.op != "repeat" or node.label is None:
            yield from found
            continue
        for _ in range(node.count):
            unit += 1
            yield from (replace(each, unit=unit) for each in found)


def _as_left(plan: Plan, name: str) -> Body:
    return replace(plan.bodies[name], nodes=plan.nodes(name), results=plan.results[name])


def _owned(
    plan: Plan, flow: Flow, bodies: Mapping[str, Body], chain: tuple[Body, ...], node: Node,
    summed: set[tuple[str, str, str]],
) -> Iterator[Held]:  # fmt: skip
    """Trained parameters that a node owns, those of one iteration for a repeat; tied ones are their owner's."""
    if node.label is None:
        return
    tied = tied_names(bodies, chain, node)
    body = chain[-1].name
    learns = node.op == "hold" or any(flow.gradient(body, (node.name, i)) for i in range(len(node.outputs)))
    for parameter in node.parameters:
        if parameter.trained and parameter.name not in tied:
            yield Held(parameter, 0, learns, (body, node.name, parameter.name) in summed)
    if node.body is not None and not tied:
        for inner in bodies[node.body].nodes:
            each = _owned(plan, flow, bodies, (*chain, bodies[node.body]), inner, summed)
            times = inner.count if inner.op == "repeat" else 1
            yield from (held for held in list(each) for _ in range(times))
