"""What holds for every plan, before and after each pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import networkx as nx

from .check_placement import placement_faults
from .node import Node, Tensor
from .ops import OPS
from .plan import Plan

STRUCTURE = ("input", "call", "repeat", "extern", "collective", "hold")


class PlanError(Exception):
    """A plan that breaks its own rules: a defect of the compiler, not of the spec."""


def verify(plan: Plan, after: str = "lowering") -> Plan:
    """The plan itself, or a PlanError that lists all that is wrong with it."""
    wrong = [f"{body}: {text}" for body in plan.graphs for text in _body_faults(plan, body)]
    wrong += list(_plan_faults(plan))
    if not wrong:
        wrong = [*_type_faults(plan), *placement_faults(plan)]
    if wrong:
        raise PlanError(f"the plan is broken after {after}:\n  " + "\n  ".join(wrong))
    return plan


def _plan_faults(plan: Plan) -> Iterator[str]:
    if "forward" not in plan.graphs:
        yield "there is no body `forward`"
        return
    calls: nx.DiGraph[Any] = nx.DiGraph()
    calls.add_nodes_from(plan.graphs)
    calls.add_edges_from((body, node.body) for body in plan.graphs for node in plan.nodes(body) if node.body)
    if not nx.is_directed_acyclic_graph(calls):
        yield "bodies call each other in a circle: " + " -> ".join(a for a, _ in nx.find_cycle(calls))
    unused = set(plan.graphs).difference(plan.roots, *(nx.descendants(calls, root) for root in plan.roots))
    if unused:
        yield f"nothing calls {sorted(unused)}"
    for objective in plan.objectives:
        if objective.value[0] not in plan.graphs["forward"]:
            yield f"{objective.kind} `{objective.name}` reads `{objective.value[0]}`, which does not exist"


def _body_faults(plan: Plan, body: str) -> Iterator[str]:
    graph = plan.graphs[body]
    seen: set[str] = set()
    for node in plan.nodes(body):
        yield from (f"`{node.name}`: {text}" for text in _node_faults(plan, body, node, seen))
        seen.add(node.name)
    owners = Counter(node.label for node in plan.nodes(body) if node.label and not node.share)
    yield from (f"label `{label}` names {n} calls" for label, n in owners.items() if n > 1)
    for source, output in plan.results[body]:
        if source not in graph or output >= len(graph.nodes[source]["node"].outputs):
            yield f"result `{source}`[{output}] does not exist"


def _node_faults(plan: Plan, body: str, node: Node, seen: set[str]) -> Iterator[str]:
    graph = plan.graphs[body]
    if node.op not in OPS and node.op not in STRUCTURE:
        yield f"unknown op `{node.op}`"
    edges = {key: (source, data["output"]) for source, _, key, data in graph.in_edges(node.name, keys=True, data=True)}
    if edges != dict(enumerate(node.inputs)):
        yield f"edges {edges} are not its inputs {node.inputs}"
    for source, output in node.inputs:
        if source not in seen:
            yield f"reads `{source}` before it is made"
        elif output >= len(graph.nodes[source]["node"].outputs):
            yield f"reads output {output} of `{source}`, which has fewer"
    if node.op in ("call", "repeat") and node.body not in plan.graphs:
        yield f"its body `{node.body}` does not exist"


def _type_faults(plan: Plan) -> Iterator[str]:
    for body in plan.graphs:
        for node in plan.nodes(body):
            if node.op in ("call", "repeat"):
                yield from (f"{body}: `{node.name}`: {text}" for text in _call_faults(plan, body, node))


def _call_faults(plan: Plan, body: str, node: Node) -> Iterator[str]:
    assert node.body is not None
    expected = [_type(inner.outputs[0]) for inner in plan.nodes(node.body) if inner.op == "input"]
    given = [_type(plan.tensor(body, value)) for value in node.inputs if value[0] in plan.graphs[body]]
    if expected != given:
        yield f"passes {given} to `{node.body}`, which takes {expected}"
    results = [_type(plan.tensor(node.body, value)) for value in plan.results[node.body]]
    if results != [_type(t) for t in node.outputs]:
        yield f"has outputs {[str(t) for t in node.outputs]}, but `{node.body}` returns {results}"
    if node.count < 1:
        yield f"runs {node.count} times"


def _type(tensor: Tensor) -> str:
    return str(tensor)
