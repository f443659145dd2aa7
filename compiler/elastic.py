"""Layouts that a run goes on with when machines are lost: `parallel.elastic`, each compiled beforehand.

The batch stays: where the data axis is shorter, a rank takes more micro-batches. The other axes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..dsl.diagnostics import Sink
from ..dsl.source import Span
from ..dsl.spec import Spec
from .lower import lower
from .plan import Plan
from .planner.choice import changed


@dataclass(frozen=True)
class Sibling:
    """The same run on fewer ranks."""

    spec: Spec
    plan: Plan

    @property
    def world(self) -> int:
        """Its ranks."""
        return self.plan.layout.world

    @property
    def folder(self) -> str:
        """Where its program lies."""
        return f"world_{self.world}"


def siblings(spec: Spec, sink: Sink) -> tuple[Sibling, ...]:
    """One for each smaller size, the largest first; errors in the sink where one cannot be."""
    sizes = sorted(set(spec.parallel.elastic or ()) - {spec.parallel.world_size}, reverse=True)
    found = []
    for world in sizes:
        smaller = _smaller(spec, world, sink)
        plan = _plan(smaller, world, sink) if smaller is not None else None
        if smaller is not None and plan is not None:
            found.append(Sibling(smaller, plan))
    return tuple(found)


def _plan(spec: Spec, world: int, sink: Sink) -> Plan | None:
    """Its plan; what is found that was not found of the whole run too is told with the number of ranks."""
    from .build import Checked, planned
    from .gate import gate

    own, known = Sink(), {finding.code for finding in sink}
    lowered = lower(spec, own)
    gate(spec, own)
    plan = planned(Checked(spec, lowered, own)) if not own.failed else None
    for finding in own:
        if finding.severity == "error" or finding.code not in known:
            sink.add(replace(finding, message=f"on {world} ranks: {finding.message}"))
    return plan


def _smaller(spec: Spec, world: int, sink: Sink) -> Spec | None:
    """The spec on so many ranks; None, and an error, where the batch cannot be kept."""
    fits = dict(_fitting(spec))
    if world in fits:
        data, micro, accumulation = fits[world]
        parallel = changed(spec.parallel, world_size=world, data_parallel=data, elastic=None)
        training = changed(spec.training, micro_batch_size=micro, gradient_accumulation=accumulation)
        return replace(spec, parallel=parallel, training=training)
    whole = spec.parallel.world_size
    place = spec.span("parallel.elastic") or Span(spec.source, 0, 0)
    can = ", ".join(f"{size:,}" for size in sorted(fits, reverse=True)[:6])
    help = (
        f"sizes that keep it: {can}" if can else "no smaller size keeps it: more micro-batches, or smaller ones, would"
    )
    sink.error("E0409", f"{world:,} ranks {_why(spec, world, whole)}", place, help)
    return None


def _why(spec: Spec, world: int, whole: int) -> str:
    if world > whole:
        return f"are more than `world_size`, {whole:,}: the run starts with all of them"
    per_node, rest = _number(spec.parallel.gpu_per_node), _rest(spec)
    if world % per_node:
        return f"are not whole machines of {per_node}: what is lost is a machine"
    if world % rest:
        return f"do not divide by the other axes: pipeline and tensor take {rest}"
    data, samples = world // rest, samples_of(spec)
    experts = _number(spec.parallel.expert_parallel)
    if data % experts:
        return f"leave a data axis of {data}, which {experts} ranks that share experts do not divide"
    return f"cannot keep the batch of {samples:,} samples: they leave a data axis of {data}"


def _fitting(spec: Spec) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Smaller sizes with their data axis, samples of a micro-batch and micro-batches of a step."""
    per_node, rest, experts = (
        _number(spec.parallel.gpu_per_node), _rest(spec), _number(spec.parallel.expert_parallel),
    )  # fmt: skip
    samples, depth = samples_of(spec), _number(spec.parallel.pipeline_depth)
    interleaved = getattr(spec.parallel.schedule, "kind", "") == "interleaved"
    for data in range(_number(spec.parallel.data_parallel) - 1, 0, -1):
        world = data * rest
        if world % per_node or data % experts or samples % data:
            continue
        for micro in range(spec.training.micro_batch_size, 0, -1):
            parts = samples // data
            if parts % micro == 0 and not (interleaved and parts // micro % depth):
                yield world, (data, micro, parts // micro)
                break


def samples_of(spec: Spec) -> int:
    """Samples of a step."""
    training = spec.training
    return training.micro_batch_size * training.gradient_accumulation * _number(spec.parallel.data_parallel)


def _rest(spec: Spec) -> int:
    """Ranks of a place on the data axis."""
    return _number(spec.parallel.pipeline_depth) * _number(spec.parallel.tensor_model_parallel)


def _number(value: object) -> int:
    assert isinstance(value, int), "the planner fills every `auto` before"
    return value
