"""Floating-point operations, bytes moved and bytes kept for backward, per node and per call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from ...dsl.spec import Spec
from ..dims import Dim
from ..lower.parameters import tied_names
from ..node import Body, Cost, Node, Parameter, Tensor, Value
from ..ops import OPS
from ..ops.base import kept
from ..plan import Plan
from .precision import STORED, WIDTH

Chain = tuple[Body, ...]


def cost(plan: Plan, _spec: Spec) -> Plan:
    """Fills `Node.cost`; what a shared call uses is counted where it is owned."""
    totals: dict[str, Cost] = {}
    chains = _chains(plan)
    return plan.rewrite(lambda body, node: replace(node, cost=_node_cost(plan, chains[body], node, totals)))


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


def model_cost(plan: Plan) -> Cost:
    """The cost of one forward pass, formats known; bytes that several nodes of a body keep count once."""
    return _body_total(plan, (plan.bodies["forward"],), {})


def _chains(plan: Plan) -> dict[str, Chain]:
    """For each body, the bodies around one of its calls, outermost first, and itself."""
    chains: dict[str, Chain] = {}

    def visit(chain: Chain) -> None:
        if chain[-1].name in chains:
            return
        chains[chain[-1].name] = chain
        for node in plan.nodes(chain[-1].name):
            if node.body:
                visit((*chain, plan.bodies[node.body]))

    for root in plan.roots:
        visit((plan.bodies[root],))
    return chains


def _body_total(plan: Plan, chain: Chain, totals: dict[str, Cost]) -> Cost:
    body = chain[-1].name
    if body not in totals:
        nodes = plan.nodes(body)
        costs = [_node_cost(plan, chain, node, totals) for node in nodes]
        inside = total(c for c, node in zip(costs, nodes, strict=True) if node.body)
        totals[body] = replace(total(costs), saved=inside.saved + _kept_bytes(plan, body, nodes))
    return totals[body]


def _node_cost(plan: Plan, chain: Chain, node: Node, totals: dict[str, Cost]) -> Cost:
    tied = tied_names(plan.bodies, chain, node)
    if node.op == "hold":
        assert node.cost is not None, "its parameters were counted where it was made"
        return node.cost
    if node.body:
        inner = total([_body_total(plan, (*chain, plan.bodies[node.body]), totals)], node.count)
        return replace(inner, parameters=0) if tied else inner
    owned = sum(_elements(p) for p in node.parameters if p.trained and p.name not in tied)
    if node.op not in OPS:  # inputs, and the user's own modules, whose inside is not known
        return Cost(parameters=owned)
    body = chain[-1].name
    inputs = [plan.tensor(body, value) for value in node.inputs]
    formats = [plan.graphs[body].nodes[source]["node"].dtypes[output] for source, output in node.inputs]
    weights = sum(_elements(p) for p in node.parameters) * WIDTH[_computed(node)]
    moved = _bytes(inputs, formats) + weights + _bytes(node.outputs, node.dtypes)
    return Cost(OPS[node.op].flops(node, inputs), moved, _kept_bytes(plan, body, [node]), owned)


def _kept_bytes(plan: Plan, body: str, nodes: Iterable[Node]) -> Dim:
    """Bytes that backward of some nodes of a body keeps: a value that several of them keep counts once."""
    amount: Dim = 0
    seen: set[Value] = set()
    for node in nodes:
        for value, tensor in _kept(plan, body, node):
            if value is None or value not in seen:
                amount = amount + _bytes([tensor], [_computed(node) if tensor.kind == "float" else STORED[tensor.kind]])
            if value is not None:
                seen.add(value)
    return amount


def _kept(plan: Plan, body: str, node: Node) -> tuple[tuple[Value | None, Tensor], ...]:
    if node.op not in OPS:
        return ()
    return kept(OPS[node.op], node, [plan.tensor(body, value) for value in node.inputs])


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
