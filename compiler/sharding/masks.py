"""Losses and metrics whose targets may be ignored are told: ranks and micro-batches divide by the same count."""

from __future__ import annotations

from dataclasses import replace

from ..masks import counts_of, masked, number
from ..node import Node
from ..plan import Plan


def with_masks(plan: Plan) -> Plan:
    """The plan with "counted" on such nodes, the number of their mask, or "masked" where only the model tells it."""
    counts = counts_of(plan.bodies)

    def change(body: str, node: Node) -> Node:
        if not masked(plan.bodies, body, node):
            return node
        mine = number(counts, plan.bodies, body, node)
        extra = {"masked": True} if mine is None else {"counted": mine}
        return replace(node, attrs={**node.attrs, **extra})

    return replace(plan.rewrite(change), counts=counts)
