"""Tensor, data and expert parallelism: a type for every value, collectives wherever a value changes its type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...dsl.spec import Spec
from ..node import Sync, is_split
from ..placement import Axis
from ..plan import Plan
from ..sharding.experts import refuse_whole_experts
from ..sharding.findings import refuse_impossible, refuse_torn_sequence, refuse_unsplit, unused_sequence
from ..sharding.masks import with_masks
from ..sharding.prices import rates_of
from ..sharding.rewrite import placed
from ..sharding.search import Search
from ..sharding.ties import owned_sites


def shard(plan: Plan, spec: Spec) -> Plan:
    """Places every value on the axes of more than one rank, at the least cost; sizes are those of one rank then."""
    layout = plan.layout
    plan = with_masks(plan)
    axes: tuple[tuple[Axis, int], ...] = (("tensor", layout.tensor), ("data", layout.data), ("expert", layout.expert))
    refuse_torn_sequence(plan, spec)
    for axis, size in axes:
        if size > 1:
            search = Search(plan, axis, size, layout.sequence_parallel, size, rates_of(spec))
            refuse_impossible(search, spec)
            if axis == "tensor":
                refuse_unsplit(search, spec)
            if axis == "expert":
                refuse_whole_experts(search, spec)
            plan = placed(search)
    findings = (*plan.findings, *unused_sequence(plan, spec))
    return replace(plan, syncs=tuple(_syncs(plan)), findings=findings)


def _syncs(plan: Plan) -> Iterator[Sync]:
    """What keeps each parameter in step: one that every rank uses whole has a part of its gradient on each."""
    layout = plan.layout
    for (body, name, parameter), _ in owned_sites(plan):
        node = plan.graphs[body].nodes[name]["node"]
        found = next((p for p in node.parameters if p.name == parameter), None)
        if found is not None and not found.trained:
            continue
        if layout.tensor > 1 and found is not None and found.placement["tensor"].kind == "R":
            reason = "every rank uses it for its part of the work"
            yield Sync(body, name, parameter, "tensor", "all_reduce", reason)
        if found is not None and is_split(found):
            if layout.replicas > 1:
                reason = "ranks with the same experts see other tokens"
                yield Sync(body, name, parameter, "replica", "all_reduce", reason)
        elif layout.data > 1:
            kind = "all_reduce" if layout.shard == "none" else "shard"
            yield Sync(body, name, parameter, "data", kind, "every rank uses it for its samples")  # type: ignore[arg-type]
