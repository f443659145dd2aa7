"""Which values carry a gradient: I and R are one type for the others, since only their gradients differ."""

from __future__ import annotations

from ..node import Node, Value
from ..ops import OPS
from ..plan import Plan

Carrying = dict[str, frozenset[Value]]
"""By body, the values that depend on a trained parameter; of a body with several calls, in any of them."""


def carrying(plan: Plan) -> Carrying:
    """The values of each body that carry a gradient."""
    found: dict[str, set[Value]] = {body: set() for body in plan.graphs}
    size = -1
    while size != (size := sum(map(len, found.values()))):
        for body in plan.graphs:
            for node in plan.nodes(body):
                _visit(plan, body, node, found)
        _cross(plan, found)
    return {body: frozenset(values) for body, values in found.items()}


def _visit(plan: Plan, body: str, node: Node, found: dict[str, set[Value]]) -> None:
    mine = found[body]
    if node.op == "hold":  # owns the parameters of a block, and calls it with nothing
        return
    if node.body is not None:
        inputs = [inner.name for inner in plan.nodes(node.body) if inner.op == "input"]
        results = plan.results[node.body]
        found[node.body].update((name, 0) for name, v in zip(inputs, node.inputs, strict=True) if v in mine)
        mine.update((node.name, i) for i, value in enumerate(results) if value in found[node.body])
        if node.op == "repeat":
            carried = zip(inputs, results[: node.attrs["carried"]], strict=False)
            found[node.body].update((name, 0) for name, value in carried if value in found[node.body])
    elif node.op != "input" and differentiated(node):
        trained = node.op == "extern" or any(parameter.trained for parameter in node.parameters)
        if trained or any(value in mine for value in node.inputs):
            mine.update((node.name, i) for i, tensor in enumerate(node.outputs) if tensor.kind == "float")


def _cross(plan: Plan, found: dict[str, set[Value]]) -> None:
    """What a stage of the pipeline receives carries a gradient where it was made."""
    sent: dict[str, bool] = {}
    for stage in plan.stages:
        inputs = [node.name for node in plan.nodes(stage.body) if node.op == "input"]
        pairs = zip(inputs, stage.receives, strict=False)
        found[stage.body].update((name, 0) for name, received in pairs if sent.get(received))
        results = zip(stage.sends, plan.results[stage.body], strict=False)
        sent |= {name: value in found[stage.body] for name, value in results}


def differentiated(node: Node) -> bool:
    """Whether gradients flow through a node; none do through a metric."""
    return node.op not in OPS or OPS[node.op].category != "metric"
