"""What the model itself moves in one micro-batch: its collective nodes, and the collectives inside its ops."""

from __future__ import annotations

from collections.abc import Iterator

from ..dims import Dim, substitute
from ..node import Node
from ..passes.precision import WIDTH
from ..placement import CONVERSIONS
from ..plan import Plan
from .flow import Flow
from .model import Traffic, row

OPPOSITE = {"all_gather": "reduce_scatter", "reduce_scatter": "all_gather"}


def computed(plan: Plan, flow: Flow, body: str) -> Iterator[Traffic]:
    """Forward and backward of one run of a body."""
    for node in plan.nodes(body):
        if not any((node.name, i) in flow.used[body] for i in range(len(node.outputs))):
            continue  # nothing reads it, and no program holds it
        if node.op == "collective":
            yield from _converted(plan, flow, body, node)
        elif node.op in ("call", "repeat"):
            assert node.body is not None
            yield from (each.times(node.count) for each in computed(plan, flow, node.body))
        else:
            yield from _moved(plan, flow, body, node)


def _converted(plan: Plan, flow: Flow, body: str, node: Node) -> Iterator[Traffic]:
    """A change of type: the larger of what it takes and what it gives, in the format of the value."""
    axis = str(node.attrs["axis"])
    conversion = CONVERSIONS[node.attrs["source"].kind, node.attrs["target"].kind]
    before, after = plan.tensor(body, node.inputs[0]), node.outputs[0]
    size = max(number(plan, before.elements), number(plan, after.elements)) * WIDTH[node.dtypes[0]]
    if conversion.forward is not None:
        yield row(axis, conversion.forward, "activations", size, ranks(plan, axis))
    if conversion.backward is not None and _differentiated(flow, body, node):
        yield row(axis, conversion.backward, "activations", size, ranks(plan, axis))


def _moved(plan: Plan, flow: Flow, body: str, node: Node) -> Iterator[Traffic]:
    """Collectives inside an op; they move fp32 numbers, and `Move` counts those that a rank hands in."""
    for axis, move in node.moves:
        count = ranks(plan, axis)
        forward, backward = number(plan, move.forward) * 4, number(plan, move.backward) * 4
        gathers = move.kind == "all_gather"
        if forward:
            yield row(axis, move.kind, "activations", forward * (count if gathers else 1), count)
        if backward and _differentiated(flow, body, node):
            kind = OPPOSITE.get(move.kind, move.kind)
            yield row(axis, kind, "activations", backward * (count if gathers else 1), count)


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
    return {"data": layout.data, "tensor": layout.tensor, "pipeline": layout.pipeline, "world": layout.world}[axis]
