"""What crosses from each stage to the next: shape on one rank, format, and whether a gradient comes back."""

from __future__ import annotations

from dataclasses import dataclass

from ..dims import substitute
from ..node import Node, Value
from ..plan import Plan
from .units import learns, owning


@dataclass(frozen=True)
class Crossing:
    """One value; `name` as in `Stage.sends`."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    gradient: bool


def edges(plan: Plan) -> tuple[tuple[Crossing, ...], ...]:
    """For each stage but the last, the values that it sends."""
    learned = owning(plan)
    arriving: list[bool] = []
    found = []
    for stage in plan.stages[:-1]:
        flows = _flows(plan.nodes(stage.body), arriving, learned)
        results = plan.results[stage.body]
        rows = zip(stage.sends, results, strict=True)
        found.append(tuple(_crossing(plan, stage.body, name, value, value in flows) for name, value in rows))
        arriving = [value in flows for value in results]
    return tuple(found)


def _flows(nodes: tuple[Node, ...], arriving: list[bool], learned: set[str | None]) -> set[Value]:
    """The values of a stage that a gradient may flow through."""
    inputs = [node for node in nodes if node.op == "input"]
    found = {(node.name, 0) for node, flows in zip(inputs, arriving, strict=False) if flows}
    for node in nodes:
        own = any(p.trained for p in node.parameters) or node.op == "extern" or node.body in learned
        if node.op != "input" and (own or any(value in found for value in node.inputs)) and learns(node):
            found |= {(node.name, k) for k, tensor in enumerate(node.outputs) if tensor.kind == "float"}
    return found


def _crossing(plan: Plan, body: str, name: str, value: Value, gradient: bool) -> Crossing:
    node: Node = plan.graphs[body].nodes[value[0]]["node"]
    shape = tuple(substitute(dim, plan.sizes) for dim in node.outputs[value[1]].shape)
    assert all(isinstance(dim, int) for dim in shape), f"a symbolic size is left over: {shape}"
    return Crossing(name, shape, node.dtypes[value[1]], gradient)  # type: ignore[arg-type]
