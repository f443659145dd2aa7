"""A budget that cannot be met, with the part that is too long; and failures that take too much of the time."""

from __future__ import annotations

from math import ceil, floor

from ...dsl.diagnostics import Label, Sink
from ...dsl.source import Span
from ...dsl.spec import Spec
from ...dsl.values import AUTO, Quantity
from ..planner.text import duration, size
from .budget import Part, Recovery, compiles, near, seconds

WASTEFUL = 0.1
"""The share of time lost to saves and failures that is worth a word."""


def review(recovery: Recovery, spec: Spec, sink: Sink) -> None:
    """Findings about the recovery of a run."""
    if recovery.budget is not None:
        _budget(recovery, spec, sink, recovery.budget)
    share = recovery.lost
    if share is not None and share > WASTEFUL and recovery.mtbf is not None and not sink.failed:
        _wasteful(recovery, spec, sink, share, recovery.mtbf)


def _budget(recovery: Recovery, spec: Spec, sink: Sink, budget: float) -> None:
    where = spec.span("checkpoint.recover_within") or Span(spec.source, 0, 0)
    if recovery.shortest > recovery.most:
        parts = [*recovery.fixed, _least_replay(recovery)]
        said = ", ".join(f"{part.name} {duration(part.seconds)}" for part in parts)
        longest = max(parts, key=lambda part: part.seconds)
        message = (
            f"a recovery takes {duration(seconds(parts))} at worst, and recover_within is {duration(budget)}: {said}; "
            f"the longest part is {longest.name}: {longest.source}"
        )
        cause, change = _remedy(longest.name, recovery, spec)
        span = spec.span(cause)
        labels = (Label(span, f"{longest.name} follows from this"),) if span is not None and span is not where else ()
        least = f"`recover_within: {_written(seconds(parts))}`"
        sink.error("E0801", message, where, f"{change}; or {least}", labels)
    elif spec.checkpoint.every is not AUTO and (recovery.interval is None or recovery.interval > recovery.most):
        _interval(recovery, spec, sink, where, budget)


def _interval(recovery: Recovery, spec: Spec, sink: Sink, where: Span, budget: float) -> None:
    every, left = spec.checkpoint.every, duration(recovery.most)
    timed = isinstance(every, Quantity) and every.dimension == "seconds"
    steps = floor(recovery.most / recovery.step)
    fits = f"{floor(recovery.most)} s" if timed else f"{steps:,} step{'s' if steps > 1 else ''}"
    help = f"write `every: {fits}`" + (", or `every: auto`" if recovery.mtbf else "")
    message = (
        f"{_between(recovery, every)}, but a recovery within {duration(budget)} leaves {left} for what is done again"
    )
    place = spec.span("checkpoint.every")
    labels = (Label(where, f"{left} of it are left for steps"),) if place is not None else ()
    sink.error("E0802", message, place or where, help, labels)


def _between(recovery: Recovery, every: object) -> str:
    """How often is saved, in the words of the spec."""
    if not isinstance(every, Quantity):
        return "nothing is saved before the end of training"
    if recovery.interval is None:
        return "how long an epoch takes is known when the data are read"
    if every.dimension == "seconds":
        return f"saves are {duration(every.value)} apart"
    return f"saves are {recovery.every:,} steps of {duration(recovery.step)} apart"


def _least_replay(recovery: Recovery) -> Part:
    """What is replayed when a save begins as soon as it can."""
    least = recovery.shortest + recovery.lag
    save = f"a save of {size(recovery.state.written)} is written in {duration(recovery.writing)}"
    if recovery.lag > recovery.step:
        return Part("replay", least, f"{save}, so that the last one that is complete may be twice as old")
    return Part("replay", least, f"one step of {duration(recovery.step)}" + (f", and {save}" if recovery.lag else ""))


def _remedy(name: str, recovery: Recovery, spec: Spec) -> tuple[str, str]:
    """The setting that a part follows from, and the change that makes it shorter."""
    storage = recovery.machine.shared_storage
    if name == "detection" and recovery.stall > recovery.step:
        return "checkpoint.async", f"a rank must not hang for a save of {duration(recovery.stall)}: write `async: true`"
    if name == "detection":
        return "training.gradient_accumulation", f"make a step shorter than {duration(recovery.step)}: {_shorter(spec)}"
    if name == "replay" and recovery.lag > recovery.step:
        return "cluster.storage", f"storage that writes faster than {storage.write / 1e9:,.4g} GB/s: `cluster.storage`"
    if name == "replay":
        return "training.gradient_accumulation", f"make a step shorter than {duration(recovery.step)}: {_shorter(spec)}"
    if name == "load" and not near(spec, recovery.machine) and recovery.machine.nodes > 1:
        return "cluster.storage", "read from the memory of other nodes: `peer_copy: true` in `checkpoint`"
    if name == "load":
        return "cluster.storage", f"storage that reads faster than {storage.read / 1e9:,.4g} GB/s: `cluster.storage`"
    if name == "restart":
        return "cluster.start_up", "keep Python and its packages on disks of the nodes, and write `cluster.start_up`"
    if name == "warm-up":
        change = "start without compilation: `execution: eager` in `training`"
        return (
            ("training.execution", change) if compiles(spec) else ("cluster.warm_up", "measure it: `cluster.warm_up`")
        )
    return "parallel.world_size", "fewer ranks find each other sooner"


def _shorter(spec: Spec) -> str:
    accumulation = spec.training.gradient_accumulation
    if accumulation > 1:
        return f"`gradient_accumulation: {accumulation // 2}`, or more ranks"
    return "fewer samples in a step, or more ranks"


def _wasteful(recovery: Recovery, spec: Spec, sink: Sink, share: float, mtbf: float) -> None:
    assert recovery.interval is not None
    assert recovery.mean is not None
    saving = recovery.stall / recovery.interval
    replayed = recovery.mean / mtbf
    starting = seconds(recovery.fixed) / mtbf
    message = (
        f"saves and failures take {share:.0%} of the time: {saving:.1%} stalls of saves, {replayed:.1%} training that "
        f"is done again, {starting:.1%} until it goes on"
    )
    worst = max((saving, "saves"), (replayed, "replay"), (starting, "starting"))[1]
    remedy = {
        "saves": "`async: true` saves while training goes on" if not recovery.lag else "save less often",
        "replay": "`every: auto` finds the interval that loses least",
        "starting": f"half of this part would be {duration(seconds(recovery.fixed) / 2)}: `dskc plan` shows its parts",
    }[worst]
    if worst == "replay" and spec.checkpoint.every is AUTO:
        remedy = "a save that stalls training less can come more often: `async: true`, or faster storage"
    where = spec.span("cluster.mtbf") or Span(spec.source, 0, 0)
    place = spec.span("checkpoint.every")
    labels = (Label(place, f"a save every {duration(recovery.interval)}"),) if place is not None else ()
    sink.warning("W0951", message, where, remedy, labels)


def _written(time: float) -> str:
    """A time as a spec has it, rounded up."""
    return f"{ceil(time)} s" if time < 300 else f"{ceil(time / 60)} min"
