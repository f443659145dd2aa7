"""A plan as plain data: what `dskc plan --json` prints and `plan.json` holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..dsl.source import Span
from .fusion.show import groups_data
from .node import Cost, Node, Objective, Parameter
from .placement import Placement
from .plan import Plan


def plan_data(plan: Plan) -> dict[str, Any]:
    """The plan as dicts, lists, strings and numbers; symbolic sizes are text such as "B*S"."""
    data: dict[str, Any] = {
        "name": plan.name,
        "sizes": dict(plan.sizes),
        "targets": list(plan.targets),
        "objectives": [_objective(objective) for objective in plan.objectives],
        "bodies": {
            body: {
                "nodes": [_node(node) for node in plan.nodes(body)],
                "results": [list(value) for value in plan.results[body]],
            }
            for body in plan.graphs
        },
    }
    if plan.layout.world > 1:
        data |= {"layout": asdict(plan.layout), "syncs": [asdict(sync) for sync in plan.syncs]}
        data |= {"stages": [asdict(stage) for stage in plan.stages]} if plan.stages else {}
    if any(group.generated for group in plan.groups):
        data |= {"groups": groups_data(plan)}
    return {name: plain(value) for name, value in data.items()}


def _objective(objective: Objective) -> dict[str, Any]:
    return {
        "kind": objective.kind,
        "name": objective.name,
        "value": list(objective.value),
        "weight": objective.weight,
        "place": place(objective.span),
    }


def _node(node: Node) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": node.name,
        "op": node.op,
        "inputs": [list(value) for value in node.inputs],
        "outputs": [str(tensor) for tensor in node.outputs],
        "place": place(node.span),
    }
    optional = {
        "attributes": {name: plain(value) for name, value in sorted(node.attrs.items())},
        "parameters": [_parameter(parameter) for parameter in node.parameters],
        "whole": {name: plain(value) for name, value in sorted(node.whole.items())},
        "placements": [_placement(placement) for placement in node.placements if placement],
        "moves": [{"axis": axis, **{name: plain(v) for name, v in asdict(move).items()}} for axis, move in node.moves],
        "formats": list(node.dtypes),
        "label": node.label,
        "share": list(node.share) if node.share else None,
        "body": node.body,
        "count": node.count if node.body else None,
        "cost": _cost(node.cost) if node.cost else None,
        "recompute": [asdict(part) for part in node.recompute],
    }
    return data | {name: value for name, value in optional.items() if value not in (None, [], {})}


def _placement(placement: Placement) -> dict[str, str]:
    return {axis: str(place) for axis, place in sorted(placement.items())}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    data = {
        "name": parameter.name,
        "shape": [plain(dim) for dim in parameter.shape],
        "init": parameter.init,
        "trained": parameter.trained,
        "decays": parameter.decays,
    }
    return data | ({"placement": _placement(parameter.placement)} if parameter.placement else {})


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "flops": plain(cost.flops),
        "moved": plain(cost.moved),
        "saved": plain(cost.saved),
        "parameters": cost.parameters,
    }


def place(span: Span) -> str:
    """File name and line; without the folder, so that a plan does not depend on where it was made."""
    return f"{span.source.name.replace(chr(92), '/').rsplit('/', 1)[-1]}:{span.line}"


def plain(value: object) -> Any:
    """A value of an attribute as JSON has it; what JSON does not know becomes its text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    return str(value)
