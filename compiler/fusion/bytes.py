"""Bytes that a group moves: op by op, and as kernels that read and write each tensor once."""

from __future__ import annotations

from collections.abc import Mapping

from ..dims import Dim
from ..formats import WIDTH
from ..node import Node, Tensor, Value
from ..ops import OPS
from ..ops.base import kept
from ..plan import Plan
from .group import Group
from .program import GRADIENT, Program, Stored


def one_by_one(plan: Plan, group: Group) -> tuple[Dim, Dim]:
    """What the ops move forward and backward, each a kernel of its own: inputs, results, what was kept, gradients."""
    nodes = {node.name: node for node in plan.nodes(group.body)}
    forward: Dim = 0
    backward: Dim = 0
    for name in group.nodes:
        node = nodes[name]
        inputs = [plan.tensor(group.body, value) for value in node.inputs]
        formats = [nodes[source].dtypes[output] for source, output in node.inputs]
        read = sum((t.elements * WIDTH[d] for t, d in zip(inputs, formats, strict=True)), start=_nothing())
        result = node.outputs[0].elements * WIDTH[node.dtypes[0]]
        forward = forward + read + result
        saved: Dim = 0
        for value, tensor in kept(OPS[node.op], node, inputs):
            saved = saved + tensor.elements * (WIDTH[nodes[value[0]].dtypes[value[1]]] if value else 4)
        backward = backward + result + saved + read
    for name in group.biases:  # the sum over the rows of the gradient
        backward = backward + nodes[name].outputs[0].elements * WIDTH[nodes[name].dtypes[0]]
    return forward, backward


def together(plan: Plan, group: Group, program: Program, stored: tuple[Stored, ...]) -> tuple[Dim, Dim]:
    """What the kernels move; `stored` are the gradients that are written."""
    sizes = formats_of(plan, group)
    width = {name: _size(group, kind) * WIDTH[dtype] for name, (kind, dtype) in sizes.items()}
    rows = _size(group, "row") * 4
    forward = sum((width[leaf.name] for leaf in program.inputs), start=_nothing())
    forward = forward + sum((width[each.name] for each in program.outputs), start=_nothing())
    forward = forward + rows * len(program.saved)
    backward = sum((width.get(name, rows) for name in program.loads), start=_nothing())
    backward = backward + sum((width[name.removeprefix(GRADIENT)] for name in program.incoming), start=_nothing())
    backward = backward + sum((width[e.name.removeprefix(GRADIENT)] for e in stored), start=_nothing())
    return forward, backward


def formats_of(plan: Plan, group: Group) -> dict[str, tuple[str, str]]:
    """Kind and format of each input and output by name."""
    nodes: Mapping[str, Node] = {node.name: node for node in plan.nodes(group.body)}
    found = {leaf.name: (str(leaf.kind), _format(nodes, leaf.value)) for leaf in group.inputs}
    for value in group.outputs:
        one = plan.tensor(group.body, value).shape != group.frame.shape
        found[value[0]] = ("row" if one else "tile", group.narrow.get(value) or _format(nodes, value))
    return found


def _format(nodes: Mapping[str, Node], value: Value | None) -> str:
    return nodes[value[0]].dtypes[value[1]] if value is not None else "fp32"


def _size(group: Group, kind: str) -> Dim:
    if kind == "vector":
        return group.columns
    return group.frame.elements if kind == "tile" else Tensor(group.frame.shape[:-1]).elements


def _nothing() -> Dim:
    return 0
