"""Whether each parameter is held as its gradients ask: the last step of the check of placements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from .node import Node, is_split
from .placement import Axis, Kind
from .plan import Plan
from .sharding.ties import Site, owned_sites, sites, ties_of

GRADIENT: Final[dict[Kind, str]] = {"I": "whole", "R": "partial", "P": "whole", "S": "sharded"}
"""What each rank has of the gradient of a value of a type: the duals of `placement`."""


def parameter_faults(plan: Plan, axes: Sequence[Axis]) -> Iterator[str]:
    """A parameter whose gradient is not whole, or sharded as it is stored, after all `Sync`s; or is added up twice."""
    expected: Counter[tuple[Site, str, str]] = Counter()
    for site, _ in owned_sites(plan):
        for axis in axes:
            expected.update((site, *found) for found in _expected(plan, site, axis))
    expected.update((site, "pipeline", "all_reduce") for site in _on_several_stages(plan))
    found = Counter[tuple[Site, str, str]](((s.body, s.node, s.parameter), s.axis, s.kind) for s in plan.syncs)
    for (site, name, kind), count in (expected - found).items():
        yield f"{_named(plan, site)} is partial on the {name} axis: {count} `{kind}` of its gradient is missing"
    for (site, name, kind), count in (found - expected).items():
        yield f"{_named(plan, site)}: {count} `{kind}` on the {name} axis too many: it would be added up again"
    yield from _tie_faults(plan, axes)


def _expected(plan: Plan, site: Site, axis: Axis) -> Iterator[tuple[str, str]]:
    """Axis and kind of the sync that a parameter needs on an axis: experts on that of the ranks with the same ones."""
    node: Node = plan.graphs[site[0]].nodes[site[1]]["node"]
    parameter = next((p for p in node.parameters if p.name == site[2]), None)
    if parameter is None:  # of a user's own module, which sees each data rank's samples
        partial = axis == "data"
    else:
        partial = parameter.trained and GRADIENT[parameter.placement[axis].kind] == "partial"
    if partial and axis == "data" and parameter is not None and is_split(parameter):
        if plan.layout.replicas > 1:
            yield "replica", "all_reduce"
    elif partial:
        yield axis, "shard" if axis == "data" and plan.layout.shard != "none" else "all_reduce"


def _on_several_stages(plan: Plan) -> Iterator[Site]:
    """Parameters that more than one stage of the pipeline holds, in each of them, by their path from the stage."""
    holders: dict[str, set[int]] = {}
    held: dict[Site, str] = {}
    for stage in plan.stages:
        for node in plan.nodes(stage.body):
            if node.label is not None and node.op != "repeat":
                names = [p.name for p in node.parameters]
                names += [path for path, _ in sites(plan, node.body)] if node.body is not None else []
                for name in names:
                    holders.setdefault(f"{node.label}.{name}", set()).add(stage.index)
                    held[stage.body, node.name, name] = f"{node.label}.{name}"
    return (site for site, path in held.items() if len(holders[path]) > 1)


def _named(plan: Plan, site: Site) -> str:
    body, name, parameter = site
    if body not in plan.graphs or name not in plan.graphs[body]:
        return f"the gradient of `{parameter}` of `{name}` in {body}, which does not exist,"
    node: Node = plan.graphs[body].nodes[name]["node"]
    return f"`{node.name}` in {plan.bodies[body].block}, {node.span}: the gradient of its `{parameter}`"


def _tie_faults(plan: Plan, axes: Sequence[Axis]) -> Iterator[str]:
    groups: dict[str, list[Site]] = {}
    for site, group in ties_of(plan).groups.items():
        groups.setdefault(group, []).append(site)
    for members in groups.values():
        for axis in axes:
            types = {site: _place(plan, site, axis) for site in members}
            if len(set(types.values())) > 1:
                first, other = next((a, b) for a in members for b in members if types[a] != types[b])
                yield (
                    f"{_named(plan, first)} is tied to that of `{other[1]}`, but the one is used as {types[first]}, "
                    f"the other as {types[other]} on the {axis} axis"
                )


def _place(plan: Plan, site: Site, axis: Axis) -> str:
    node: Node = plan.graphs[site[0]].nodes[site[1]]["node"]
    return next(str(p.placement[axis]) for p in node.parameters if p.name == site[2])
