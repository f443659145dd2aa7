"""Which activations backward computes again, by `memory.checkpointing`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import sqrt
from typing import Literal

from ...dsl.schema.memory import Budget
from ...dsl.spec import Spec
from ..dims import substitute
from ..node import Node, Recompute
from ..plan import Plan

Place = tuple[str, str]
"""A node by its body and name."""
Marks = dict[Place, tuple[Recompute, ...]]


def recompute(plan: Plan, spec: Spec) -> Plan:
    """Fills `Node.recompute` of the model's layers; the pass `cost` comes first."""
    asked = spec.memory.checkpointing
    if asked == "off":
        return plan
    layers = layers_of(plan)
    if isinstance(asked, Budget):
        from ..memory.budget import within

        return within(plan, spec, layers, asked.limit)
    if asked == "sqrt":
        return marked(plan, _by_root(plan, layers))
    kind: Literal["full", "selective"] = "selective" if asked == "selective" else "full"
    return marked(plan, {place: (Recompute(kind, 0, node.count),) for place, node in layers.items()})


def marked(plan: Plan, marks: Marks) -> Plan:
    """The plan with these parts recomputed and no others."""
    return plan.rewrite(lambda body, node: replace(node, recompute=marks.get((body, node.name), ())))


def layers_of(plan: Plan) -> dict[Place, Node]:
    """The model's layers in program order: its outermost repeats, and other calls of the blocks that these repeat."""
    repeats = [node for _, node in _outermost(plan, frozenset()) if node.op == "repeat"]
    return dict(_outermost(plan, frozenset(plan.bodies[str(node.body)].block for node in repeats)))


def _outermost(plan: Plan, blocks: frozenset[str]) -> Iterator[tuple[Place, Node]]:
    """Repeats, and calls of these blocks, that lie in no other."""
    waiting = [stage.body for stage in plan.stages] or ["forward"]
    seen: set[str] = set()

    def visit(body: str) -> Iterator[tuple[Place, Node]]:
        seen.add(body)
        for node in plan.nodes(body):
            if node.body is None or (node.label is None and node.op == "repeat"):
                continue
            if node.op == "repeat" or plan.bodies[node.body].block in blocks:
                yield (body, node.name), node
            elif node.body not in seen:
                yield from visit(node.body)

    for body in waiting:
        yield from visit(body)


def _by_root(plan: Plan, layers: dict[Place, Node]) -> Marks:
    """About the root of the number of layers as the number of segments, of about equal kept bytes (Chen et al. 2016).

    The very last segment stays: backward begins with it, so recomputing it would save nothing.
    """
    count = sum(node.count for node in layers.values())
    kept = {place: saved_bytes(plan, node) / node.count for place, node in layers.items()}
    target = sum(kept[place] * node.count for place, node in layers.items()) / sqrt(max(count, 1))
    marks: Marks = {}
    for place, node in layers.items():
        length = min(max(round(target / max(kept[place], 1)), 1), node.count)
        rest = node.count - (node.count - 1) // length * length
        parts = [Recompute("full", 0, node.count - rest, length)]
        if place != list(layers)[-1]:
            parts.append(Recompute("full", node.count - rest, node.count, rest))
        marks[place] = tuple(part for part in parts if part.stop > part.start)
    return marks


def saved_bytes(plan: Plan, node: Node) -> int:
    """What backward keeps of a node, in one micro-batch."""
    assert node.cost is not None, "the pass `cost` comes first"
    value = substitute(node.cost.saved, plan.sizes)
    assert isinstance(value, int), f"a symbolic size is left over: {value}"
    return value
