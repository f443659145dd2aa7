"""Floating-point operations, bytes moved and bytes kept for backward, per node and per call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from ...dsl.spec import Spec
from ..dims import Dim
from ..node import Cost, Node, Parameter, Tensor
from ..ops import OPS
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


def _body_total(plan: Plan, body: str, totals: dict[str, Cost]) -> Cost:
    if body not in totals:
        totals[body] = total(_node_cost(plan, body, node, totals) for node in plan.nodes(body))
    return totals[body]


def _node_cost(plan: Plan, body: str, node: Node, totals: dict[str, Cost]) -> Cost:
    if node.body:
        inner = total([_body_total(plan, node.body, totals)], node.count)
        return replace(inner, parameters=0) if node.share else inner
    owned = 0 if node.share else sum(_elements(p) for p in node.parameters if p.trained)
    if node.op not in OPS:  # inputs, and the user's own modules, whose inside is not known
        return Cost(parameters=owned)
    inputs = [plan.tensor(body, value) for value in node.inputs]
    formats = [plan.graphs[body].nodes[source]["node"].dtypes[output] for source, output in node.inputs]
    read = _bytes(inputs, formats)
    written = _bytes(node.outputs, node.dtypes)
    weights = sum(_elements(p) for p in node.parameters) * WIDTH[_computed(node)]
    saved = OPS[node.op].saved(node, inputs)
    kept = _bytes(saved, [_computed(node) if t.kind == "float" else STORED[t.kind] for t in saved])
    return Cost(OPS[node.op].flops(node, inputs), read + weights + written, kept, owned)


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
