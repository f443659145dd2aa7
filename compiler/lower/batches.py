"""Advice where micro-batches do not add up to the batch that they make together."""

from __future__ import annotations

from ..node import Body, Node
from .bounds import nodes_with_places
from .state import State

REMEDY = "take larger micro-batches and a smaller `gradient_accumulation`"


def advise_batches(state: State, forward: Body) -> None:
    """A warning per kind of op whose result over a batch is not the mean of its results over parts of it."""
    parts, told = state.spec.training.gradient_accumulation, set[str]()
    for body, node, place in nodes_with_places(state, forward):
        message = help = None
        if node.op == "cross_entropy" and _masked(body, node) and (parts > 1 or state.spec.data.validation):
            message = (
                "targets are left out of the mean of each micro-batch; the means count alike, however few are left"
            )
            help = "this changes accumulated gradients and evaluations a little, unless as many are left out each time"
        elif node.op == "contrastive" and parts > 1:
            message = f"`contrastive` compares the {state.spec.training.micro_batch_size} samples of a micro-batch only"
            help = f"`gradient_accumulation: {parts}` adds no pairs; {REMEDY}"
        elif node.op == "batch_norm" and parts > 1:
            message = f"`batch_norm` sees the {state.spec.training.micro_batch_size} samples of a micro-batch only"
            help = f"`gradient_accumulation: {parts}` does not change that; {REMEDY}, or use `group_norm`"
        if message is not None and node.op not in told:
            told.add(node.op)
            state.report.sink.warning("W0914", message, place, help)


def _masked(body: Body, node: Node) -> bool:
    """Whether some targets do not count: data have no -100, so only what the spec says can leave them out."""
    made = next(each for each in body.nodes if each.name == node.inputs[1][0])
    return node.attrs["ignore"] != -100 or made.op in ("where", "shift")
