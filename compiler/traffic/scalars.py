"""The small sums of a step: counts of targets, the loss, the norm of the gradients, the loads of experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..ops import OPS
from ..plan import Plan
from .model import Traffic, row


def scalars(plan: Plan, bodies: Sequence[str]) -> Iterator[Traffic]:
    """Counts of targets (int64) and loads over the data axis; the norm and the loss, with a word more, over all ranks.

    `bodies` are those that a rank runs.
    """
    layout = plan.layout
    if layout.data > 1:
        counts = 8 * len(plan.counts.masks)
        yield from (row("data", "all_reduce", "scalars", counts, layout.data),) if counts else ()
        for body in bodies:
            yield from _loads(plan, body)
    yield row("world", "all_reduce", "scalars", 4, layout.world)
    yield row("world", "all_reduce", "scalars", 8, layout.world)


def _loads(plan: Plan, body: str) -> Iterator[Traffic]:
    """The tokens of each expert, fp32, that are added up after a step."""
    for node in plan.nodes(body):
        if node.op in OPS and OPS[node.op].after_step is not None:
            experts = node.parameters[0].shape[0]
            assert isinstance(experts, int)
            yield row("data", "all_reduce", "scalars", experts * 4, plan.layout.data)
        elif node.body is not None and node.op != "hold":
            yield from (each.times(node.count) for each in _loads(plan, node.body))
