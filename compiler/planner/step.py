"""The time of one optimizer step of a layout, from the costs of its units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ...dsl.spec import Spec
from ..cluster import Machine
from ..layout import Layout
from ..pipeline.schedule import rank_of
from ..pipeline.timeline import StageTime, simulate
from . import network
from .matmul import STREAM
from .units import Part, Unit

BUCKET: Final = 25 * (1 << 20)
"""Bytes that DistributedDataParallel adds up at a time."""
CHANNELS: Final = 24
"""Processors that a collective of NCCL occupies, of `Machine.units`: its channels over NVLink."""
SIMULATED: Final = 4
"""Micro-batches per stage that are simulated; what follows repeats."""

Again = Callable[[int, Unit], tuple[float, float]]
"""Seconds, and bytes on the tensor axis, that one step of a unit on a stage costs for being computed again."""
Stages = Sequence[tuple[int, Part]]
"""What a rank runs: number of the stage, and its part of the model."""


@dataclass(frozen=True)
class RankTime:
    """One rank of the pipeline: seconds of one micro-batch (`forward` and `backward` with their tensor collectives,
    `again` recomputed, `sending` to its neighbours), and of the step what the data axis (`data`: all of it, `exposed`:
    what nothing hides) and the optimizer take. `traffic` is bytes that the rank sends in a step, by axis.
    """

    forward: float
    backward: float
    again: float
    tensor: float
    sending: float
    data: float
    exposed: float
    optimizer: float
    traffic: dict[str, float]

    @property
    def micro_batch(self) -> float:
        """Seconds that a micro-batch occupies the rank."""
        return self.forward + self.backward + self.again


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step; `bubble` is the share of it in which the slowest rank waits for its pipeline."""

    ranks: tuple[RankTime, ...]
    seconds: float
    busy: float
    bubble: float
    exposed: float
    optimizer: float


def step_time(
    parts: Sequence[Part], layout: Layout, spec: Spec, machine: Machine, micro_batches: int, again: Again,
    exact: bool = True,
) -> StepTime:  # fmt: skip
    """The step of a cut model: pipeline, then what the data axis adds, then the optimizer.

    `exact` runs the schedule; otherwise its bubble is that of a closed form, for a search over thousands of layouts.
    """
    held = [_held(parts, rank, layout) for rank in range(layout.pipeline)]
    ranks = tuple(_rank(stages, layout, spec, machine, micro_batches, again) for stages in held)
    busiest = max(ranks, key=lambda rank: rank.micro_batch)
    busy = busiest.micro_batch * micro_batches
    if exact and layout.pipeline > 1:
        times = [_stage(stage, part, layout, machine, again) for stage, part in enumerate(parts)]
        idle = max(0.0, pipeline_seconds(layout, micro_batches, times) - busy)
    else:
        idle = _idle(ranks, busiest, layout, micro_batches)
    exposed = max(rank.exposed for rank in ranks)
    optimizer = max(rank.optimizer for rank in ranks)
    seconds = busy + idle + exposed + optimizer
    return StepTime(ranks, seconds, busy, idle / seconds, exposed, optimizer)


def pipeline_seconds(layout: Layout, micro_batches: int, times: Sequence[StageTime]) -> float:
    """Seconds of all micro-batches. Beyond a few rounds of the pipeline each further one takes as long as the last."""
    rounds = micro_batches // layout.pipeline
    if rounds <= SIMULATED:
        return simulate(layout, micro_batches, times).duration
    most = micro_batches - (rounds - SIMULATED) * layout.pipeline
    last, before = (simulate(layout, count, times).duration for count in (most, most - layout.pipeline))
    return last + (rounds - SIMULATED) * (last - before)


def _stage(stage: int, part: Part, layout: Layout, machine: Machine, again: Again) -> StageTime:
    """Backward in halves: what is computed again and everything but half the products goes with the inputs."""
    forward = sum(unit.forward * count for unit, count in part.pieces)
    backward = sum((unit.backward + again(stage, unit)[0]) * count for unit, count in part.pieces)
    weight = sum(unit.work.products[1] / 2 * count for unit, count in part.pieces)
    return StageTime(forward, backward - weight, weight, network.send(part.edge, layout, machine))


def _held(parts: Sequence[Part], rank: int, layout: Layout) -> Stages:
    return [(stage, part) for stage, part in enumerate(parts) if rank_of(layout, stage) == rank]


def _rank(stages: Stages, layout: Layout, spec: Spec, machine: Machine, micro_batches: int, again: Again) -> RankTime:
    forward = backward = repeated = tensor = 0.0
    tensor_bytes = 0.0
    for stage, part in stages:
        for unit, count in part.pieces:
            extra, extra_bytes = again(stage, unit)
            forward, backward = forward + unit.forward * count, backward + unit.backward * count
            repeated += extra * count
            tensor += sum(unit.tensor) * count
            tensor_bytes += (sum(unit.tensor_bytes) + extra_bytes) * count
    sending, handed = _sending(stages, layout, machine)
    parameters = sum(part.parameters for _, part in stages)
    data = _data(stages, layout, machine, parameters, forward, backward + repeated, spec, micro_batches)
    stored = parameters / (layout.data if layout.shard != "none" else 1)
    traffic = {"tensor": tensor_bytes * micro_batches, "pipeline": handed * micro_batches, "data": data[2]}
    return RankTime(
        forward, backward, repeated, tensor, sending, data[0], data[1], _optimizer(stored, spec, machine), traffic
    )


def _sending(stages: Stages, layout: Layout, machine: Machine) -> tuple[float, float]:
    """Seconds and bytes of a micro-batch: each stage hands its values on, and the gradients of what it got back.

    With as many micro-batches in flight as stages, a stage waits for both (Narayanan et al. 2021, section 4.1).
    """
    seconds = handed = 0.0
    for stage, part in stages:
        if stage + 1 < layout.stages and rank_of(layout, stage + 1) != rank_of(layout, stage):
            seconds += 2 * network.send(part.edge, layout, machine)
            handed += part.edge
        if stage > 0 and rank_of(layout, stage - 1) != rank_of(layout, stage):
            handed += part.enters
    return seconds, handed


def _idle(ranks: Sequence[RankTime], busiest: RankTime, layout: Layout, micro_batches: int) -> float:
    """Seconds in which the slowest rank has nothing to do, in closed form.

    The pipeline fills and empties: one micro-batch of each other rank for 1F1B and GPipe, 1/chunks of it interleaved
    (Narayanan et al. 2021, section 2.2); with zero bubbles the gradients of parameters, half of backward, fill the
    rest (Qi et al. 2023, ZB-H1). A rank of 1F1B has no more micro-batches in flight than there are stages behind it,
    so each waits for a message there and back; a deeper queue hides that.
    """
    if layout.pipeline == 1:
        return 0.0
    others = [rank for rank in ranks if rank is not busiest]
    sending = max(rank.sending for rank in ranks)
    waits = micro_batches * sending if layout.schedule == "one_f_one_b" else 0.0
    if layout.schedule == "zero_bubble":
        return sum(rank.forward + rank.again + rank.sending for rank in others) / layout.chunks
    return waits + sum(rank.micro_batch + rank.sending for rank in others) / layout.chunks


def _data(
    stages: Stages, layout: Layout, machine: Machine, parameters: float,
    forward: float, backward: float, spec: Spec, micro_batches: int,
) -> tuple[float, float, float]:  # fmt: skip
    """Seconds on the data axis in a step, those that nothing hides, and the bytes that a rank sends.

    Gradients are fp32. Without sharding they are added up once, in the backward pass of the last micro-batch. With
    `optimizer` they are reduce-scattered once and the parameters gathered once; with `gradients` they are
    reduce-scattered in every micro-batch; with `parameters` these are gathered in both passes of every micro-batch.
    What is gathered or scattered is copied into and out of a buffer (FSDP2), which nothing hides.
    """
    if layout.data == 1:
        return 0.0, 0.0, 0.0
    ranks = network.group(layout, "data", machine)
    low = 2 if spec.precision.compute in ("bf16", "fp16", "fp8") else 4
    pieces = max(1, sum(count for _, part in stages for _, count in part.pieces))
    share = (layout.data - 1) / layout.data * parameters
    hidden = _Hidden(machine, pieces, spec.communication.overlap)
    if layout.shard == "none":
        calls = max(1, round(4 * parameters / BUCKET))
        seconds = network.all_reduce(4 * parameters, ranks, machine, calls)
        return seconds, hidden.exposed(seconds, backward), 8 * share
    reduce = network.all_gather(4 * parameters, ranks, machine, pieces)
    gather = network.all_gather(low * parameters, ranks, machine, pieces)
    stream = machine.bandwidth * STREAM
    after = hidden.exposed(reduce, backward) + (low + 4) * parameters / stream
    before = hidden.exposed(gather, forward) + 2 * low * parameters / stream
    reduces = 1 if layout.shard == "optimizer" else micro_batches
    if layout.shard != "parameters":
        return reduces * reduce + gather, reduces * after + before, (4 * reduces + low) * share
    both = hidden.exposed(reduce + gather, backward) + (3 * low + 4) * parameters / stream
    return micro_batches * (reduce + 2 * gather), micro_batches * (before + both), micro_batches * (4 + 2 * low) * share


@dataclass(frozen=True)
class _Hidden:
    """Traffic beside computing: all but one of its pieces can hide, and takes processors from the computing."""

    machine: Machine
    pieces: int
    hides: bool

    def exposed(self, seconds: float, window: float) -> float:
        """Seconds by which traffic makes a step longer, beside so much computing."""
        if not self.hides:
            return seconds
        left = max(seconds - window, seconds / self.pieces)
        return left + (seconds - left) * min(0.5, CHANNELS / self.machine.units)


def _optimizer(stored: float, spec: Spec, machine: Machine) -> float:
    """Reads parameters, gradients and states and writes all but the gradients; clipping reads and scales gradients."""
    states = 2 if spec.optimizer.kind != "sgd" else 1
    clips = 3 if spec.setting("optimizer.clip") is not None else 0
    return stored * 4 * (3 + 2 * states + clips) / (machine.bandwidth * STREAM)
