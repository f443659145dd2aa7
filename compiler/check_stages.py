"""Whether the stages of the pipeline fit each other: what one sends the next receives, in the same order and type."""

from __future__ import annotations

from collections.abc import Iterator

from .node import Node, Value
from .plan import Plan, Stage


def stage_faults(plan: Plan) -> Iterator[str]:
    """Edges of the pipeline that are missing, doubled or of another type, and inputs that are not the model's."""
    for stage in plan.stages:
        yield from (f"stage {stage.index} (`{stage.body}`): {fault}" for fault in _own_faults(plan, stage))
    for before, after in zip(plan.stages, plan.stages[1:], strict=False):
        yield from (f"stage {after.index} (`{after.body}`): {fault}" for fault in _edge_faults(plan, before, after))


def _own_faults(plan: Plan, stage: Stage) -> Iterator[str]:
    inputs = [node for node in plan.nodes(stage.body) if node.op == "input"]
    if len(inputs) != len(stage.receives) + len(stage.inputs):
        names = ", ".join(f"`{node.name}`" for node in inputs)
        received, given = ", ".join(stage.receives) or "nothing", ", ".join(stage.inputs) or "none"
        yield f"takes {names}, but receives {received}, and of the model's inputs has {given}"
        return
    model = {node.name: node for node in plan.nodes("forward") if node.op == "input"}
    for node, name in zip(inputs[len(stage.receives) :], stage.inputs, strict=True):
        if name not in model or node.name != name:
            yield f"`{node.name}`, {node.span}, is no input of the model, and nothing sends it"
        elif _type(model[name], 0) != _type(node, 0):
            yield f"`{name}`, {node.span}, is {_type(node, 0)}, but the model's input is {_type(model[name], 0)}"
    last = stage.index == len(plan.stages) - 1
    asked = [o.name for o in plan.objectives if o.kind != "exit"] if last else list(stage.sends)
    if len(plan.results[stage.body]) != len(asked):
        made = ", ".join(f"`{name}`" for name, _ in plan.results[stage.body])
        yield f"makes {made}, but {'the objectives are' if last else 'sends'} {', '.join(asked) or 'nothing'}"


def _edge_faults(plan: Plan, before: Stage, after: Stage) -> Iterator[str]:
    inputs = [node for node in plan.nodes(after.body) if node.op == "input"]
    spans = {name: node.span for name, node in zip(after.receives, inputs, strict=False)}
    spans |= {name: plan.graphs[before.body].nodes[value[0]]["node"].span for name, value in _sent(plan, before)}
    for name in dict.fromkeys((*before.sends, *after.receives)):
        sent, received = before.sends.count(name), after.receives.count(name)
        if sent != 1 or received != 1:
            place = f", {spans[name]}," if name in spans else ""
            yield f"`{name}`{place} is sent {sent} times by stage {before.index} and received {received} times"
    if before.sends != after.receives:
        yield f"receives {', '.join(after.receives)}, but stage {before.index} sends {', '.join(before.sends)}"
        return
    for (name, value), node in zip(_sent(plan, before), inputs, strict=False):
        made = _type(plan.graphs[before.body].nodes[value[0]]["node"], value[1])
        if made != _type(node, 0):
            yield f"`{name}`, {node.span}, is received as {_type(node, 0)}, but sent as {made}"


def _sent(plan: Plan, stage: Stage) -> list[tuple[str, Value]]:
    return list(zip(stage.sends, plan.results[stage.body], strict=False))


def _type(node: Node, output: int) -> str:
    """Shape, types on all axes, and number format."""
    places = node.placements[output] if node.placements else {}
    types = ", ".join(f"{place} on {axis}" for axis, place in sorted(places.items()))
    text = f"{node.outputs[output]} {node.dtypes[output] if node.dtypes else ''}".strip()
    return f"{text} ({types})" if types else text
