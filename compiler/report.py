"""What `dskc plan` tells: parameters, operations and memory of each component."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .dims import substitute
from .node import Cost, Node
from .passes.cost import model_cost, total
from .plan import Plan


@dataclass(frozen=True)
class Row:
    """One component: `path` as in checkpoint keys, numbers for all its repetitions in one micro-batch."""

    path: str
    depth: int
    op: str
    count: int
    shape: str
    parameters: int
    flops: int
    saved: int


def rows(plan: Plan, body: str = "forward", prefix: str = "", depth: int = 0, times: int = 1) -> Iterator[Row]:
    """Components that own parameters, outermost first, then the rest of each body as one line."""
    rest: list[Cost] = []
    for node in plan.nodes(body):
        assert node.cost is not None, "the pass `cost` comes first"
        if node.label is None and not node.body:
            rest.append(node.cost)
            continue
        path = f"{prefix}{node.label or node.name}" + (".*" if node.op == "repeat" else "")
        yield _row(plan, path, depth, node, times)
        if node.body:
            yield from rows(plan, node.body, path + ".", depth + 1, times * node.count)
    others = total(rest, times)
    if others.flops or others.saved:
        yield Row(f"{prefix}(other)", depth, "", 1, "", 0, _number(plan, others.flops), _number(plan, others.saved))


def _row(plan: Plan, path: str, depth: int, node: Node, times: int) -> Row:
    cost = total([node.cost] if node.cost else [], times)
    shape = " ".join(str(tensor) for tensor in node.outputs)
    flops, saved = _number(plan, cost.flops), _number(plan, cost.saved)
    return Row(path, depth, node.op, node.count, shape, cost.parameters, flops, saved)


def summary(plan: Plan) -> Cost:
    """The cost of one forward pass over one micro-batch."""
    return model_cost(plan)


def _number(plan: Plan, dim: Any) -> int:
    value = substitute(dim, plan.sizes)
    assert isinstance(value, int), f"a symbolic size is left over: {value}"
    return value
