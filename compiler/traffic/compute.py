"""What the model itself moves in one micro-batch: its collective nodes, and the collectives inside its ops."""

from __future__ import annotations

from collections.abc import Iterator

from ..dims import Dim, substitute
from ..node import Node
from ..ops import OPS
from ..ops.base import kept
from ..passes.precision import WIDTH
from ..placement import CONVERSIONS
from ..plan import Plan
from .flow import Flow
from .model import Traffic, row

OPPOSITE = {"all_gather": "reduce_scatter", "reduce_scatter": "all_gather"}


def computed(plan: Plan, flow: Flow, body: str) -> Iterator[Traffic]:
    """Forward and backward of one run of a body, and what backward computes again."""
    for node in _live(plan, flow, body):
        if node.body is not None and node.op != "hold":
            yield from (each.times(node.count) for each in computed(plan, flow, node.body))
            for part in node.recompute:
                yield from (each.times(part.stop - part.start) for each in forward(plan, flow, node.body))
                # torch ends the second forward of a segment when backward has all that it needs of it.
                segments = (part.stop - part.start) // part.segment
                yield from (each.times(-segments) for each in _tail(plan, flow, node.body)[0])
        else:
            yield from _own(plan, flow, body, node)


def forward(plan: Plan, flow: Flow, body: str) -> Iterator[Traffic]:
    """Forward of one run of a body."""
    for node in _live(plan, flow, body):
        if node.body is not None and node.op != "hold":
            yield from (each.times(node.count) for each in forward(plan, flow, node.body))
        else:
            yield from _own(plan, flow, body, node, backward=False)


def _tail(plan: Plan, flow: Flow, body: str) -> tuple[list[Traffic], bool]:
    """What a body moves forward after the last value that backward needs; whether it needs any."""
    rows: list[Traffic] = []
    for node in reversed(_live(plan, flow, body)):
        if node.body is not None and node.op != "hold":
            inner, needed = _tail(plan, flow, node.body)
            rows += inner if needed else [each.times(node.count) for each in inner]
        else:
            needed = _keeps(plan, body, node)
            rows += [] if needed else list(_own(plan, flow, body, node, backward=False))
        if needed:
            return rows, True
    return rows, False


def _keeps(plan: Plan, body: str, node: Node) -> bool:
    """Whether backward of an op needs a value of it."""
    if node.op not in OPS:
        return node.op == "extern"
    return bool(node.parameters or kept(OPS[node.op], node, [plan.tensor(body, value) for value in node.inputs]))


def _live(plan: Plan, flow: Flow, body: str) -> list[Node]:
    """The nodes that something reads; no program holds the others."""
    used = flow.used[body]
    return [n for n in plan.nodes(body) if any((n.name, i) in used for i in range(len(n.outputs)))]


def _own(plan: Plan, flow: Flow, body: str, node: Node, backward: bool = True) -> Iterator[Traffic]:
    """What one node moves by itself."""
    backward = backward and _differentiated(flow, body, node)
    return _converted(plan, body, node, backward) if node.op == "collective" else _moved(plan, node, backward)


def _converted(plan: Plan, body: str, node: Node, backward: bool) -> Iterator[Traffic]:
    """A change of type: the larger of what it takes and what it gives, in the format of the value."""
    axis = str(node.attrs["axis"])
    conversion = CONVERSIONS[node.attrs["source"].kind, node.attrs["target"].kind]
    before, after = plan.tensor(body, node.inputs[0]), node.outputs[0]
    size = max(number(plan, before.elements), number(plan, after.elements)) * WIDTH[node.dtypes[0]]
    for kind in (conversion.forward, conversion.backward if backward else None):
        if kind is not None:
            yield row(axis, kind, "activations", size, ranks(plan, axis))


def _moved(plan: Plan, node: Node, backward: bool) -> Iterator[Traffic]:
    """Collectives inside an op; `Move` counts the numbers that a rank hands in, fp32 if it does not say otherwise.

    The rows that go to experts and back depend on the data: counted are as many as there would be if all experts were
    used evenly, an estimate.
    """
    for axis, move in node.moves:
        count = ranks(plan, axis)
        width = WIDTH[node.dtypes[0] if move.format == "value" else move.format]
        blocks = count if move.kind == "all_gather" else 1
        given = ((move.kind, move.forward), (OPPOSITE.get(move.kind, move.kind), move.backward if backward else 0))
        for kind, size in given:
            if size:
                yield row(axis, kind, "activations", number(plan, size) * width * blocks, count)


def _differentiated(flow: Flow, body: str, node: Node) -> bool:
    """Whether backward runs through a node: it passes a gradient on, or has parameters that learn."""
    arrives = any(flow.gradient(body, (node.name, i)) for i in range(len(node.outputs)))
    onward = any(value in flow.trained[body] for value in node.inputs)
    return arrives and (onward or any(parameter.trained for parameter in node.parameters))


def number(plan: Plan, dim: Dim) -> int:
    """A size of this run."""
    value = substitute(dim, plan.sizes)
    assert isinstance(value, int), f"a symbolic size is left over: {value}"
    return value


def ranks(plan: Plan, axis: str) -> int:
    """Number of ranks on an axis, or of the whole run."""
    layout = plan.layout
    parts = {"expert": layout.expert, "replica": layout.replicas}  # of the data axis
    return {"data": layout.data, "tensor": layout.tensor, "pipeline": layout.pipeline, "world": layout.world, **parts}[
        axis
    ]
