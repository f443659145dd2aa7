"""Floating-point operations, bytes moved and bytes kept for backward, per node and per call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from ...dsl.spec import Spec
from ..dims import Dim
from ..node import Cost, Node, Parameter, Tensor, Value
from ..ops import OPS
from ..ops.base import kept
from ..plan import Plan
from .precision import STORED, WIDTH


def cost(plan: Plan, _spec: Spec) -> Plan:
    """Fills `Node.cost`; what a shared call uses is counted where it is owned."""
    totals: dict[str, Cost] = {}
    return plan.rewrite(lambda body, node: replace(node, cost=_node_cost(plan, body, node, totals)))


def total(costs: Iterable[Cost], times: int = 1) -> Cost:
    """The sum of costs, `times` over."""
    flops: Dim = 0
    moved: Dim = 0
    saved: Dim = 0
    parameters = 0
    for each in costs:
        flops, moved, saved = flops + each.flops, moved + each.moved, saved + each.saved
        parameters += each.parameters
    return Cost(flops * times, moved * times, saved * times, parameters * times)


def body_cost(plan: Plan, body: str) -> Cost:
    """The cost of a body, formats known; bytes that several nodes keep count once."""
    return _body_total(plan, body, {})


def _body_total(plan: Plan, body: str, totals: dict[str, Cost]) -> Cost:
    if body not in totals:
        nodes = plan.nodes(body)
        costs = total(_node_cost(plan, body, node, totals) for node in nodes)
        totals[body] = replace(costs, saved=_saved(plan, body, nodes, totals))
    return totals[body]


def _saved(plan: Plan, body: str, nodes: Iterable[Node], totals: dict[str, Cost]) -> Dim:
    """Bytes that backward keeps in a body: a value that several nodes keep counts once."""
    amount: Dim = 0
    seen: set[Value] = set()
    for node in nodes:
        if node.body:
            amount = amount + _node_cost(plan, body, node, totals).saved
        for value, tensor in _kept(plan, body, node):
            if value is None or value not in seen:
                amount = amount + _bytes([tensor], [_kept_format(node, tensor)])
            if value is not None:
                seen.add(value)
    return amount


def _kept(plan: Plan, body: str, node: Node) -> tuple[tuple[Value | None, Tensor], ...]:
    if node.op not in OPS:
        return ()
    return kept(OPS[node.op], node, [plan.tensor(body, value) for value in node.inputs])


def _kept_format(node: Node, tensor: Tensor) -> str:
    return _computed(node) if tensor.kind == "float" else STORED[tensor.kind]


def _node_cost(plan: Plan, body: str, node: Node, totals: dict[str, Cost]) -> Cost:
    if node.body:
        inner = total([_body_total(plan, node.body, totals)], node.count)
        return replace(inner, parameters=0) if node.share else inner
    owned = 0 if node.share else sum(_elements(p) for p in node.parameters if p.trained)
    if node.op not in OPS:  # inputs, and the user's own modules, whose inside is not known
        return Cost(parameters=owned)
    inputs = [plan.tensor(body, value) for value in node.inputs]
    read = _bytes(inputs, [plan.graphs[body].nodes[source]["node"].dtypes[output] for source, output in node.inputs])
    weights = sum(_elements(p) for p in node.parameters) * WIDTH[_computed(node)]
    saved = [tensor for _, tensor in _kept(plan, body, node)]
    amount = _bytes(saved, [_kept_format(node, tensor) for tensor in saved])
    moved = read + weights + _bytes(node.outputs, node.dtypes)
    return Cost(OPS[node.op].flops(node, inputs), moved, amount, owned)


def _computed(node: Node) -> str:
    """The format that the op computes in: autocast keeps its low-precision copies for backward."""
    return next((d for d in node.dtypes if d in ("fp32", "bf16", "fp16")), "fp32")


def _bytes(tensors: Iterable[Tensor], formats: Iterable[str]) -> Dim:
    amount: Dim = 0
    for tensor, dtype in zip(tensors, formats, strict=True):
        amount = amount + tensor.elements * WIDTH[dtype]
    return amount


def _elements(parameter: Parameter) -> int:
    return prod(dim for dim in parameter.shape if isinstance(dim, int))
