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
from .units import Part

BUCKET: Final = 25 * (1 << 20)
"""Bytes that DistributedDataParallel adds up at a time."""
CHANNELS: Final = 24
"""Processors that a collective of NCCL occupies, of `Machine.units`: its channels over NVLink."""
SIMULATED: Final = 3
"""Micro-batches per stage that are simulated; what follows repeats."""

Again = Callable[[int, Part], float]
"""Seconds that a stage, and its part of the model, cost in backward for what is computed again."""


@dataclass(frozen=True)
class RankWork:
    """What a rank of the pipeline does in one micro-batch, in seconds: `forward` and `backward` with their collectives
    (`tensor`: these alone), `again` recomputed, `sending` to its neighbours. `parameters` are trained elements,
    `pieces` the steps of the model that it runs.
    """

    forward: float
    backward: float
    again: float
    tensor: float
    sending: float
    parameters: int
    pieces: int

    @property
    def micro_batch(self) -> float:
        """Seconds that a micro-batch occupies the rank."""
        return self.forward + self.backward + self.again


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step; `bubble` is the share of it in which the slowest rank waits for its pipeline.

    `data` is what each rank sends on the data axis, `exposed` what nothing hides of the longest of these.
    """

    ranks: tuple[RankWork, ...]
    data: tuple[tuple[float, float], ...]
    seconds: float
    busy: float
    bubble: float
    exposed: float
    optimizer: float


def rank_works(parts: Sequence[Part], layout: Layout, machine: Machine, again: Again) -> tuple[RankWork, ...]:
    """The work of each rank; it depends neither on what is sharded nor on the number of micro-batches."""
    rows: list[list[tuple[int, Part]]] = [[] for _ in range(layout.pipeline)]
    for stage, part in enumerate(parts):
        rows[rank_of(layout, stage)].append((stage, part))
    return tuple(_work(stages, layout, machine, again) for stages in rows)


def step_time(
    parts: Sequence[Part], layout: Layout, spec: Spec, machine: Machine, micro_batches: int, again: Again
) -> StepTime:
    """The step of a cut model: its schedule simulated, then what the data axis adds, then the optimizer."""
    ranks = rank_works(parts, layout, machine, again)
    idle = simulated_idle(parts, ranks, layout, machine, micro_batches, again)
    return step_of_works(ranks, idle, layout, spec, machine, micro_batches)


def simulated_idle(
    parts: Sequence[Part], ranks: Sequence[RankWork], layout: Layout, machine: Machine, micro_batches: int, again: Again
) -> float:
    """Seconds in which the slowest rank has nothing to do, as the schedule runs."""
    if layout.pipeline == 1:
        return 0.0
    times = [_stage(stage, part, layout, machine, again) for stage, part in enumerate(parts)]
    return max(0.0, pipeline_seconds(layout, micro_batches, times) - _busy(ranks, micro_batches))


def quick_step(ranks: Sequence[RankWork], layout: Layout, spec: Spec, machine: Machine, micro_batches: int) -> StepTime:
    """The same with the bubble in closed form, for a search over thousands of layouts."""
    return step_of_works(ranks, idle_seconds(ranks, layout, micro_batches), layout, spec, machine, micro_batches)


def _busy(ranks: Sequence[RankWork], micro_batches: int) -> float:
    return max(rank.micro_batch for rank in ranks) * micro_batches


def step_of_works(
    ranks: Sequence[RankWork], idle: float, layout: Layout, spec: Spec, machine: Machine, micro_batches: int
) -> StepTime:
    """The step from the work of its ranks and what they idle."""
    data = tuple(_data(rank, layout, machine, spec, micro_batches) for rank in ranks)
    exposed = max(each[1] for each in data)
    shards = layout.data if layout.shard != "none" else 1
    optimizer = _optimizer(max(rank.parameters for rank in ranks) / shards, spec, machine)
    busy = _busy(ranks, micro_batches)
    seconds = busy + idle + exposed + optimizer
    return StepTime(tuple(ranks), data, seconds, busy, idle / seconds if seconds else 0.0, exposed, optimizer)


def pipeline_seconds(layout: Layout, micro_batches: int, times: Sequence[StageTime]) -> float:
    """Seconds of all micro-batches. Beyond a few rounds of the pipeline each further one takes as long as the last."""
    rounds = micro_batches // layout.pipeline
    if rounds <= SIMULATED:
        return simulate(layout, micro_batches, times).duration
    most = micro_batches - (rounds - SIMULATED) * layout.pipeline
    last, before = (simulate(layout, count, times).duration for count in (most, most - layout.pipeline))
    return last + (rounds - SIMULATED) * (last - before)


def work_items(layout: Layout, micro_batches: int) -> int:
    """Work items that `pipeline_seconds` simulates."""
    once = 3 * layout.stages * min(micro_batches, (SIMULATED + 1) * layout.pipeline)
    return 0 if layout.pipeline == 1 else once if micro_batches <= SIMULATED * layout.pipeline else 2 * once


def _stage(stage: int, part: Part, layout: Layout, machine: Machine, again: Again) -> StageTime:
    """Backward in halves: what is computed again and everything but half the products goes with the inputs."""
    inputs = part.backward - part.weights + again(stage, part)
    return StageTime(part.forward, inputs, part.weights, network.send(part.edge, layout, machine))


def _work(stages: Sequence[tuple[int, Part]], layout: Layout, machine: Machine, again: Again) -> RankWork:
    sending = 0.0
    for stage, part in stages:
        if stage + 1 < layout.stages and rank_of(layout, stage + 1) != rank_of(layout, stage):
            sending += 2 * network.send(part.edge, layout, machine)
    return RankWork(
        sum(part.forward for _, part in stages), sum(part.backward for _, part in stages),
        sum(again(stage, part) for stage, part in stages), sum(part.tensor for _, part in stages), sending,
        sum(part.parameters for _, part in stages), max(1, sum(part.steps for _, part in stages)),
    )  # fmt: skip


def idle_seconds(ranks: Sequence[RankWork], layout: Layout, micro_batches: int) -> float:
    """Seconds in which the slowest rank has nothing to do, in closed form.

    The pipeline fills and empties: one micro-batch of each other rank for 1F1B and GPipe, 1/chunks of it interleaved
    (Narayanan et al. 2021, section 2.2); with zero bubbles the gradients of parameters, half of backward, fill
    the rest as far as there are any (Qi et al. 2023, ZB-H1). A rank of 1F1B has no more micro-batches in flight than
    there are stages behind it, so each waits for a message there and back; a deeper queue hides that.
    """
    if layout.pipeline == 1:
        return 0.0
    busiest = max(ranks, key=lambda rank: rank.micro_batch)
    others = [rank for rank in ranks if rank is not busiest]
    sending = max(rank.sending for rank in ranks)
    waits = micro_batches * sending if layout.schedule == "one_f_one_b" else 0.0
    if layout.schedule == "zero_bubble":
        least = sum(rank.forward + rank.again + rank.sending for rank in others)
        whole = sum(rank.micro_batch + rank.sending for rank in others)
        return max(least, whole - micro_batches * busiest.backward / 2) / layout.chunks
    return waits + sum(rank.micro_batch + rank.sending for rank in others) / layout.chunks


def _data(rank: RankWork, layout: Layout, machine: Machine, spec: Spec, micro_batches: int) -> tuple[float, float]:
    """Seconds of a rank on the data axis in a step, and those by which the step gets longer.

    Gradients are fp32. Without sharding they are added up once, in the backward pass of the last micro-batch. With
    `optimizer` they are reduce-scattered once and the parameters gathered once; with `gradients` they are
    reduce-scattered in every micro-batch; with `parameters` these are gathered in both passes of every micro-batch.
    What is gathered or scattered is copied into and out of a buffer (FSDP2), which nothing hides.
    """
    if layout.data == 1:
        return 0.0, 0.0
    ranks, parameters = network.group(layout, "data", machine), rank.parameters
    low = 2 if spec.precision.compute in ("bf16", "fp16", "fp8") else 4
    hidden = _Hidden(machine, rank.pieces, spec.communication.overlap)
    backward, stream = rank.backward + rank.again, machine.bandwidth * STREAM
    if layout.shard == "none":
        seconds = network.all_reduce(4 * parameters, ranks, machine, max(1, round(4 * parameters / BUCKET)))
        return seconds, hidden.exposed(seconds, backward)
    reduce = network.all_gather(4 * parameters, ranks, machine, rank.pieces)
    gather = network.all_gather(low * parameters, ranks, machine, rank.pieces)
    before = hidden.exposed(gather, rank.forward) + 2 * low * parameters / stream
    if layout.shard == "parameters":
        both = hidden.exposed(reduce + gather, backward) + (3 * low + 4) * parameters / stream
        return micro_batches * (reduce + 2 * gather), micro_batches * (before + both)
    after = hidden.exposed(reduce, backward) + (low + 4) * parameters / stream
    reduces = 1 if layout.shard == "optimizer" else micro_batches
    return reduces * reduce + gather, reduces * after + before


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
