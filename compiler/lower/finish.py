"""Last steps of a body: calls without parameters get names, the one call of an iteration is put in line."""

from __future__ import annotations

from dataclasses import replace

from ..node import Body, Node, Value
from .ownership import usable
from .scope import Scope


def finished(scope: Scope) -> tuple[Node, ...]:
    """The nodes, inputs first; a call without parameters gets a label that no other call has."""
    nodes = [replace(n, bound=scope.bound[n.name]) if n.name in scope.bound else n for n in scope.nodes]
    ordered = [node for node in nodes if node.op == "input"] + [node for node in nodes if node.op != "input"]
    taken = {*scope.owned, *(node.label for node in ordered if node.label)}
    return tuple(_labelled(node, taken) if node.body and not (node.label or node.share) else node for node in ordered)


def _labelled(node: Node, taken: set[str]) -> Node:
    first = label = node.name if usable(node.name) else f"{node.name.strip('_')}_"
    number = 1
    while label in taken:
        number += 1
        label = f"{first}_{number}"
    taken.add(label)
    return replace(node, label=label)


def inlined(
    scope: Scope, nodes: tuple[Node, ...], results: tuple[Value, ...], call: Node, body: Body
) -> tuple[tuple[Node, ...], tuple[Value, ...]]:
    """Nodes and results with the nodes of `body` in the place of its call, so that its labels become theirs."""
    inputs = [node for node in body.nodes if node.op == "input"]
    renamed: dict[str, str] = {}
    given = dict(zip((node.name for node in inputs), call.inputs, strict=True))

    def moved(value: Value) -> Value:
        return given[value[0]] if value[0] in given else (renamed[value[0]], value[1])

    inner = []
    for node in body.nodes[len(inputs) :]:
        renamed[node.name] = scope.unique(node.name)
        inner.append(replace(node, name=renamed[node.name], inputs=tuple(moved(value) for value in node.inputs)))
    outputs = {(call.name, index): moved(value) for index, value in enumerate(body.results)}

    def redirected(value: Value) -> Value:
        return outputs.get(value, value)

    position = nodes.index(call)
    after = [replace(n, inputs=tuple(redirected(v) for v in n.inputs)) for n in nodes[position + 1 :]]
    return (*nodes[:position], *inner, *after), tuple(redirected(value) for value in results)
