"""A prediction as text of at most 100 columns, and as plain data."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Any

from ...dsl.spec import Spec
from ..layout import Layout
from ..memory import KINDS
from ..pipeline.schedule import rank_of
from ..plan import Plan
from ..recovery import recovery_of
from ..recovery.show import recovery_data
from ..recovery.show import shown as recovery_shown
from .predict import Prediction
from .reasons import Reason, reasons
from .text import columns, duration, scaled, share, size

WIDTH = 100
MOST_RANKS = 16
"""Ranks of a pipeline that a table shows; of more, the first, the slowest, the fullest and the last."""


def shown(plan: Plan, spec: Spec, found: Prediction) -> str:
    """The whole report."""
    blocks = [_head(plan, found), _stages(found), _memory(found), _traffic(found), _step(found)]
    blocks.append(recovery_shown(recovery_of(plan, spec)))
    return "\n\n".join("\n".join(block) for block in [*blocks, _reasons(plan, spec, found)])


def layout_text(layout: Layout) -> str:
    """The axes that have more than one rank: "data 8 x pipeline 8 x tensor 4"."""
    axes = (("data", layout.data), ("pipeline", layout.pipeline), ("tensor", layout.tensor))
    return " x ".join(f"{name} {count}" for name, count in axes if count > 1) or "one rank"


def _head(plan: Plan, found: Prediction) -> list[str]:
    machine, layout = found.machine, found.layout
    parameters = sum(part.parameters for part in found.parts)
    nodes = f"{machine.nodes} node{'s' if machine.nodes > 1 else ''}"
    batch = f"{found.samples:,} samples" + (f" ({found.tokens:,} tokens)" if found.tokens else "")
    unit = "tokens" if found.tokens else "samples"
    of_peak = share(found.rate, machine.peak("bf16"))
    return [
        f"{plan.name}: {layout.world:,} x {machine.name} on {nodes}, {layout_text(layout)}",
        f"{scaled(parameters)} parameters on each rank of the tensor axis; a step is {batch}",
        f"predicted: {duration(found.step.seconds)} a step, {found.per_second:,.0f} {unit}/s, "
        f"{found.per_second / layout.world:,.0f} per rank",
        f"           {scaled(found.rate)}FLOPS of the model per rank, {of_peak} of the bf16 peak",
    ]


def _ranks(found: Prediction) -> list[int]:
    count = found.layout.pipeline
    if count <= MOST_RANKS:
        return list(range(count))
    slowest = max(range(count), key=lambda rank: found.step.ranks[rank].micro_batch)
    fullest = max(range(count), key=lambda rank: found.memory[rank].peak)
    return sorted({0, 1, slowest, fullest, count - 2, count - 1})


def _stages(found: Prediction) -> list[str]:
    rows = []
    for rank in _ranks(found):
        parts = [part for stage, part in enumerate(found.parts) if rank_of(found.layout, stage) == rank]
        time = found.step.ranks[rank]
        rows.append((
            str(rank), " + ".join(str(part.layers) for part in parts), scaled(sum(part.parameters for part in parts)),
            duration(time.forward), duration(time.backward), duration(time.again), duration(time.tensor),
            duration(time.sending), duration(time.micro_batch),
        ))  # fmt: skip
    head = ("stage", "layers", "parameters", "forward", "backward", "again", "tensor", "sending", "micro-batch")
    note = "one micro-batch; again: recomputed in backward; tensor: collectives within forward and backward"
    return [*columns(head, rows), note]


def _memory(found: Prediction) -> list[str]:
    kinds = [kind for kind in KINDS if any(getattr(entry, kind) for entry in found.memory)]
    rows = [
        (str(rank), *(size(getattr(found.memory[rank], kind)) for kind in kinds), size(found.memory[rank].peak))
        for rank in _ranks(found)
    ]
    fullest = max(found.memory, key=lambda entry: entry.peak + entry.margin)
    names = {"communication": "buckets", "recompute": "again", "activations": "kept", "parameters": "params"}
    room = f" of {size(found.machine.memory)}" if found.machine.memory else ""
    note = (
        f"fullest: stage {fullest.rank}, {size(fullest.peak)} and up to {size(fullest.margin)} of the allocator{room}, "
        f"in {fullest.moment}"
    )
    return [*columns(("memory", *(names.get(kind, kind) for kind in kinds), "peak"), rows), *_wrapped(note)]


def _traffic(found: Prediction) -> list[str]:
    axes = [axis for axis in ("data", "pipeline", "tensor") if getattr(found.layout, axis) > 1]
    if not axes:
        return ["traffic: none"]
    rows = [
        (
            str(rank),
            *(size(found.traffic[rank].wire(axis)) for axis in axes),
            duration(found.step.data[rank][0]),
            duration(found.step.data[rank][1]),
        )
        for rank in _ranks(found)
    ]
    return [*columns(("sent per step", *axes, "data axis busy", "not hidden"), rows)]


def _step(found: Prediction) -> list[str]:
    step = found.step
    idle = step.bubble * step.seconds
    parts = [
        ("computing, slowest stage", step.busy), ("pipeline fills and empties", idle),
        ("data axis, not hidden", step.exposed), ("optimizer", step.optimizer),
    ]  # fmt: skip
    rows = [(name, duration(seconds), share(seconds, step.seconds)) for name, seconds in parts if seconds]
    return columns(("step", "time", "share"), [*rows, ("all", duration(step.seconds), "")])


def _reasons(plan: Plan, spec: Spec, found: Prediction) -> list[str]:
    lines = ["why:"]
    for reason in reasons(plan, spec, found):
        lines += _wrapped(f"{reason.what}: {reason.why}", "  ", "    ")
    return lines


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False)


def prediction_data(plan: Plan, spec: Spec, found: Prediction) -> dict[str, Any]:
    """The prediction as JSON has it: seconds, bytes, operations per second."""
    step, machine = found.step, found.machine
    return {
        "machine": {
            "name": machine.name, "memory": machine.memory, "per_node": machine.per_node, "nodes": machine.nodes,
        },
        "layout": asdict(found.layout),
        "step": {
            "seconds": step.seconds, "computing": step.busy, "bubble": step.bubble, "data_not_hidden": step.exposed,
            "optimizer": step.optimizer, "samples": found.samples, "tokens": found.tokens,
            "per_second": found.per_second, "flops_per_rank": found.rate,
        },
        "recovery": recovery_data(recovery_of(plan, spec)),
        "stages": [_rank_data(found, rank) for rank in range(found.layout.pipeline)],
        "reasons": [{"what": reason.what, "why": reason.why} for reason in reasons(plan, spec, found)],
    }  # fmt: skip


def _rank_data(found: Prediction, rank: int) -> dict[str, Any]:
    time, memory = found.step.ranks[rank], found.memory[rank]
    parts = [(stage, part) for stage, part in enumerate(found.parts) if rank_of(found.layout, stage) == rank]
    return {
        "rank": rank,
        "stages": [stage for stage, _ in parts],
        "layers": [part.layers for _, part in parts],
        "parameters": sum(part.parameters for _, part in parts),
        "memory": {kind: getattr(memory, kind) for kind in KINDS} | {"peak": memory.peak, "margin": memory.margin},
        "traffic": [asdict(row) for row in found.traffic[rank].rows],
        "seconds": {name: getattr(time, name) for name in ("forward", "backward", "again", "tensor", "sending")}
        | {"data": found.step.data[rank][0], "data_not_hidden": found.step.data[rank][1]},
    }


__all__ = ["Reason", "layout_text", "prediction_data", "shown"]
