"""Through which values gradients flow, in the model or in the stages of its pipeline one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..node import Node, Value
from ..ops import OPS
from ..plan import Plan

Values = dict[str, set[Value]]


@dataclass(frozen=True)
class Flow:
    """By body: values that depend on a trained parameter, that a loss depends on, and that anything depends on.

    A gradient passes through a value that is in the first two. Of a body with several calls: in any of them.
    """

    trained: Mapping[str, set[Value]]
    wanted: Mapping[str, set[Value]]
    used: Mapping[str, set[Value]]

    def gradient(self, body: str, value: Value) -> bool:
        """Whether a gradient flows through a value."""
        return value in self.trained[body] and value in self.wanted[body]


def flow(plan: Plan) -> Flow:
    """Follows parameters forward, and losses and results back, until nothing is added."""
    trained: Values = {body: set() for body in plan.graphs}
    wanted: Values = {body: set() for body in plan.graphs}
    used: Values = {body: set() for body in plan.graphs}
    last = plan.stages[-1].body if plan.stages else "forward"
    for number, objective in enumerate(o for o in plan.objectives if o.kind != "exit"):
        value = plan.results[last][number] if plan.stages else objective.value
        used[last].add(value)
        if objective.kind == "loss":
            wanted[last].add(value)
    size = -1
    while size != (size := sum(len(values) for kind in (trained, wanted, used) for values in kind.values())):
        for body in plan.graphs:
            for node in plan.nodes(body):
                _forward(plan, body, node, trained)
            for node in reversed(plan.nodes(body)):
                _back(plan, body, node, wanted, True)
                _back(plan, body, node, used, False)
        for left, right in _edges(plan):
            for source, target in _pairs(plan, left, right):
                if source in trained[left]:
                    trained[right].add(target)
                for kind in (wanted, used):
                    if target in kind[right]:
                        kind[left].add(source)
    return Flow(trained, wanted, used)


def _edges(plan: Plan) -> Iterator[tuple[str, str]]:
    """The bodies of stages that follow each other."""
    for before, after in zip(plan.stages, plan.stages[1:], strict=False):
        yield before.body, after.body


def _pairs(plan: Plan, left: str, right: str) -> Iterator[tuple[Value, Value]]:
    """Results of a stage and the inputs of the next that receive them."""
    inputs = [(node.name, 0) for node in plan.nodes(right) if node.op == "input"]
    yield from zip(plan.results[left], inputs, strict=False)


def _inner(plan: Plan, node: Node) -> tuple[list[Value], tuple[Value, ...]]:
    assert node.body is not None
    return [(n.name, 0) for n in plan.nodes(node.body) if n.op == "input"], plan.results[node.body]


def _forward(plan: Plan, body: str, node: Node, trained: Values) -> None:
    mine = trained[body]
    if node.op == "hold" or node.op == "input":
        return
    if node.body is None:
        learns = node.op == "extern" or any(parameter.trained for parameter in node.parameters)
        if _differentiable(node) and (learns or any(value in mine for value in node.inputs)):
            mine.update((node.name, i) for i, tensor in enumerate(node.outputs) if tensor.kind == "float")
        return
    inputs, results = _inner(plan, node)
    inside = trained[node.body]
    inside.update(target for target, value in zip(inputs, node.inputs, strict=True) if value in mine)
    mine.update((node.name, i) for i, value in enumerate(results[: len(node.outputs)]) if value in inside)
    if node.op == "repeat":
        inside.update(target for target, value in zip(inputs, results, strict=False) if value in inside)


def _back(plan: Plan, body: str, node: Node, needed: Values, gradients: bool) -> None:
    mine = needed[body]
    outputs = [i for i in range(len(node.outputs)) if (node.name, i) in mine]
    if not outputs or node.op in ("input", "hold"):
        return
    if node.body is None:
        if not gradients or _differentiable(node):
            mine.update(node.inputs)
        return
    inputs, results = _inner(plan, node)
    inside = needed[node.body]
    inside.update(results[i] for i in outputs)
    if node.op == "repeat":
        inside.update(value for target, value in zip(inputs, results, strict=False) if target in inside)
    mine.update(value for target, value in zip(inputs, node.inputs, strict=True) if target in inside)


def _differentiable(node: Node) -> bool:
    return node.op != "stop_gradient" and (node.op not in OPS or OPS[node.op].category != "metric")
