"""What crosses from stage to stage: activations forward, their gradients back, in every micro-batch."""

from __future__ import annotations

from collections.abc import Iterator

from ..node import Value
from ..passes.precision import WIDTH
from ..plan import Plan, Stage
from .compute import number
from .flow import Flow
from .model import Traffic, row


def crossed(plan: Plan, flow: Flow, stage: Stage) -> Iterator[Traffic]:
    """Messages of one stage in one micro-batch; stages of one rank need none."""
    if stage.index > 0 and plan.stages[stage.index - 1].rank != stage.rank:
        inputs: list[Value] = [(node.name, 0) for node in plan.nodes(stage.body) if node.op == "input"]
        yield from _messages(plan, flow, stage, inputs[: len(stage.receives)], "recv", "send")
    if stage.index + 1 < len(plan.stages) and plan.stages[stage.index + 1].rank != stage.rank:
        yield from _messages(plan, flow, stage, list(plan.results[stage.body]), "send", "recv")


def _messages(
    plan: Plan, flow: Flow, stage: Stage, values: list[Value], forward: str, backward: str
) -> Iterator[Traffic]:
    for value in values:
        tensor = plan.tensor(stage.body, value)
        dtype = plan.graphs[stage.body].nodes[value[0]]["node"].dtypes[value[1]]
        size = number(plan, tensor.elements) * WIDTH[dtype]
        yield row("pipeline", forward, "activations", size, 2)
        if flow.gradient(stage.body, value):
            yield row("pipeline", backward, "activations", size, 2)
