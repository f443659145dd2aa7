"""Why a layout is as it is: each choice with the numbers that speak for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...dsl.schema.base import Record
from ...dsl.spec import Spec
from ..plan import Plan
from . import network
from .predict import Prediction
from .text import duration, scaled, share, size


@dataclass(frozen=True)
class Reason:
    """A choice, and what speaks for it."""

    what: str
    why: str


def reasons(plan: Plan, spec: Spec, found: Prediction) -> list[Reason]:
    """All of them, in the order of the spec's sections."""
    del plan
    found_reasons = (_tensor, _pipeline, _execution, _data, _checkpointing)
    return [reason for each in found_reasons for reason in each(spec, found)]


def _tensor(spec: Spec, found: Prediction) -> Iterator[Reason]:
    layout, machine = found.layout, found.machine
    if layout.tensor == 1:
        return
    ranks = network.group(layout, "tensor", machine)
    slowest = max(found.step.ranks, key=lambda rank: rank.micro_batch)
    cost = f"its collectives take {share(slowest.tensor, slowest.micro_batch)} of a micro-batch"
    if ranks.nodes == 1:
        link = f"{machine.node_link.bandwidth / 1e9:,.0f} GB/s"
        yield Reason(
            f"tensor {layout.tensor}", f"inside a node of {machine.per_node}, where a link carries {link}; {cost}"
        )
    else:
        link = f"{machine.network.bandwidth / 1e9:,.1f} GB/s a rank"
        yield Reason(f"tensor {layout.tensor}", f"spans {ranks.nodes} nodes, over a network of {link}; {cost}")
    yield _sequence(spec, found)


def _sequence(spec: Spec, found: Prediction) -> Reason:
    part = 1 - 1 / found.layout.tensor
    if spec.parallel.sequence_parallel:
        return Reason(
            "sequence parallel",
            f"norms and residuals hold 1/{found.layout.tensor} of the sequence on each rank; the all-reduces become "
            "reduce-scatters and all-gathers of the same bytes",
        )
    return Reason(
        "no sequence parallel",
        f"every rank keeps all norms and residuals; `sequence_parallel: true` would take {part:.0%} of these off it "
        "for the same traffic",
    )


def _pipeline(spec: Spec, found: Prediction) -> Iterator[Reason]:
    layout, step = found.layout, found.step
    if layout.pipeline == 1:
        return
    times = [rank.micro_batch for rank in step.ranks]
    slowest, mean = max(times), sum(times) / len(times)
    layers = [part.layers for part in found.parts]
    kinds = f"{min(layers)} to {max(layers)}" if min(layers) != max(layers) else str(layers[0])
    extra = ", ".join(_extras(found))
    yield Reason(
        f"cut into {layout.stages} stages",
        f"the slowest rank is {slowest / mean - 1:.1%} above the mean: {kinds} layers a stage"
        + (f"; {extra}" if extra else ""),
    )
    micro, depth = spec.training.gradient_accumulation, layout.pipeline
    bound = {
        "one_f_one_b": f"({depth} - 1) / {micro}",
        "gpipe": f"({depth} - 1) / {micro}",
        "interleaved": f"({depth} - 1) / ({micro} x {layout.chunks})",
        "zero_bubble": f"({depth} - 1) / {micro}, less what gradients of parameters fill",
    }[layout.schedule]
    yield Reason(
        f"schedule {layout.schedule}",
        f"{step.bubble:.1%} of the step is its bubble, {bound} of computing; sending takes "
        f"{duration(max(rank.sending for rank in step.ranks))} of a micro-batch",
    )


def _execution(spec: Spec, found: Prediction) -> Iterator[Reason]:
    if found.layout.pipeline > 1 and spec.training.execution != "eager":
        yield Reason(
            "execution eager",
            "the schedule runs forward and backward of each stage itself and takes its graph apart, which a compiled "
            "stage does not have; no kernels are joined, and the times above are those of kernels that are not",
        )


def _extras(found: Prediction) -> Iterator[str]:
    """What beside layers weighs on a stage."""
    layer = max((unit for part in found.parts for unit, _ in part.pieces if unit.repeated), key=_weight, default=None)
    if layer is None:
        return
    for stage, part in enumerate(found.parts):
        for unit, count in part.pieces:
            weight = _weight(unit) * count / _weight(layer) if _weight(layer) else 0
            if not unit.repeated and weight >= 0.1:
                yield f"`{unit.name}` on stage {stage} weighs as much as {weight:.1f} layers"


def _weight(unit: object) -> float:
    return float(unit.forward + unit.backward)  # type: ignore[attr-defined]


def _data(spec: Spec, found: Prediction) -> Iterator[Reason]:
    layout, step = found.layout, found.step
    if layout.data == 1:
        return
    ranks = network.group(layout, "data", found.machine)
    busy, exposed = max(step.data)
    where = "inside nodes" if ranks.nodes == 1 else f"across {ranks.nodes} nodes"
    hidden = f"{duration(busy)} of traffic a step, which makes it {duration(exposed)} longer"
    yield Reason(f"data {layout.data}", f"{where}; {hidden}" + ("" if spec.communication.overlap else " (no overlap)"))
    parameters = max(sum(unit.parameters * n for unit, n in part.pieces) for part in found.parts) * layout.chunks
    saved = {"none": 0, "optimizer": 8, "gradients": 12, "parameters": 16}[layout.shard]
    if saved:
        off = saved * parameters * (1 - 1 / layout.data)
        yield Reason(f"shard {layout.shard}", f"takes {size(off)} off a rank of {scaled(parameters)} parameters")
    else:
        off = 8 * parameters * (1 - 1 / layout.data)
        yield Reason("no sharding", f"`shard: optimizer` would take {size(off)} off a rank")


def _checkpointing(spec: Spec, found: Prediction) -> Iterator[Reason]:
    asked = spec.memory.checkpointing
    name = asked.kind if isinstance(asked, Record) else str(asked)
    again = sum(rank.again for rank in found.step.ranks)
    busy = sum(rank.micro_batch for rank in found.step.ranks)
    kept = max(entry.activations for entry in found.memory)
    if again:
        why = f"computing again takes {share(again, busy)} of the time; {size(kept)} are kept at most"
    else:
        why = f"nothing is computed again; {size(kept)} are kept at most"
    yield Reason(f"checkpointing {name}", why)
