"""Which losses may have targets that do not count, so that their number has to be told among ranks."""

from __future__ import annotations

from dataclasses import replace

from ..node import Node, Value
from ..ops import OPS
from ..plan import Plan

VIEWS = ("slice", "select", "split", "concat", "rearrange", "transpose", "flatten", "expand")
"""Ops that make no new numbers."""


def with_masks(plan: Plan) -> Plan:
    """The plan with the attribute "masked" on losses and metrics some of whose targets may be ignored."""

    def change(body: str, node: Node) -> Node:
        if node.op not in OPS or "ignore" not in node.attrs or not _masked(plan, body, node):
            return node
        return replace(node, attrs={**node.attrs, "masked": True})

    return plan.rewrite(change)


def _masked(plan: Plan, body: str, node: Node) -> bool:
    """Data have no -100: only a spec that asks for another number, or computes targets, leaves some out."""
    targets = node.inputs[node.args.index("targets")]
    return node.attrs["ignore"] != -100 or body != "forward" or not _given(plan, targets)


def _given(plan: Plan, value: Value) -> bool:
    """Whether a value of the model holds nothing but numbers of its inputs."""
    made: Node = plan.graphs["forward"].nodes[value[0]]["node"]
    return made.op == "input" or (made.op in VIEWS and all(_given(plan, each) for each in made.inputs))
