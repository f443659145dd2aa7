"""Advice where micro-batches do not add up to the batch that they make together."""

from __future__ import annotations

from ..masks import unknown
from ..node import Body
from .bounds import nodes_with_places
from .state import State

REMEDY = "take larger micro-batches and a smaller `gradient_accumulation`"


def advise_batches(state: State, forward: Body) -> None:
    """A warning per kind of op whose result over a batch is not the mean of its results over parts of it."""
    parts, told = state.spec.training.gradient_accumulation, set[str]()
    bodies = {**state.bodies, forward.name: forward}
    batches = 2 if state.spec.data.validation else parts
    for body, node, place in nodes_with_places(state, forward):
        message = help = None
        if node.op == "cross_entropy" and batches > 1 and unknown(bodies, body.name, node):
            message = "how many targets count is known only once the model has run: each micro-batch has its own mean"
            help = "state the loss in `forward`, with targets that ops without parameters make of its inputs"
        elif node.op == "contrastive" and parts > 1:
            message = f"`contrastive` compares the {state.spec.training.micro_batch_size} samples of a micro-batch only"
            help = f"`gradient_accumulation: {parts}` adds no pairs; {REMEDY}"
        elif node.op == "batch_norm" and parts > 1:
            message = f"`batch_norm` sees the {state.spec.training.micro_batch_size} samples of a micro-batch only"
            help = f"`gradient_accumulation: {parts}` does not change that; {REMEDY}, or use `group_norm`"
        if message is not None and node.op not in told:
            told.add(node.op)
            state.report.sink.warning("W0914", message, place, help)
