"""`memory.checkpointing: budget(X)`: the least recomputation that keeps every rank below a size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from ...dsl.diagnostics import Diagnostic
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..node import Node, Recompute
from ..passes.recompute import Marks, Place, marked
from ..plan import Plan
from ..refused import Refused
from .model import memory_of

Layers = Mapping[Place, Node]
LONGEST = 16
"""Layers of the longest segment that is tried: it is in memory as a whole."""


def within(plan: Plan, spec: Spec, layers: Layers, limit: int) -> Plan:
    """The plan with as little recomputed as fits.

    In this order: nothing; the cheap parts of some layers, then of all; all of some layers, then of all; all, in
    segments of several layers, of which one at a time is in memory. Matrix products, which `selective` keeps, are
    nearly all of the operations, so that any of the first is cheaper than any of the second.
    """
    plain = marked(plan, {})
    least = _peak(plain, spec)
    if least <= limit:
        return replace(plain, findings=(*plain.findings, _unneeded(spec, least, limit)))
    steps = max((node.count for node in layers.values()), default=0)
    tried = [least]

    def fits(marks: Callable[[int], Marks], step: int) -> bool:
        tried.append(_peak(marked(plan, marks(step)), spec))
        return tried[-1] <= limit

    def cheap(step: int) -> Marks:
        return {place: (Recompute("selective", 0, _share(node, step, steps)),) for place, node in layers.items()}

    def whole(step: int) -> Marks:
        return _mixed(layers, step, steps)

    for marks in (cheap, whole):
        if steps and fits(marks, steps):
            return marked(plan, marks(_first(partial(fits, marks), steps)))
    for length in range(2, min(steps, LONGEST) + 1):
        if fits(partial(_segments, layers), length):
            return marked(plan, _segments(layers, length))
    raise Refused(_too_small(spec, min(tried), limit))


def _first(holds: Callable[[int], bool], last: int) -> int:
    """The first step that holds; those after it do, and the last one does."""
    low, high = 1, last
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high


def _share(node: Node, step: int, steps: int) -> int:
    return -(-node.count * step // steps)


def _mixed(layers: Layers, step: int, steps: int) -> Marks:
    """The first layers as a whole, the others in their cheap parts."""
    marks: Marks = {}
    for place, node in layers.items():
        whole = _share(node, step, steps)
        parts = (Recompute("full", 0, whole), Recompute("selective", whole, node.count))
        marks[place] = tuple(part for part in parts if part.stop > part.start)
    return marks


def _segments(layers: Layers, length: int) -> Marks:
    """All layers as a whole, in segments of a number of them."""
    marks: Marks = {}
    for place, node in layers.items():
        mine = min(length, node.count)
        even = node.count - node.count % mine
        parts = (Recompute("full", 0, even, mine), Recompute("full", even, node.count, node.count - even))
        marks[place] = tuple(part for part in parts if part.stop > part.start)
    return marks


def _peak(plan: Plan, spec: Spec) -> int:
    return max(rank.peak for rank in memory_of(plan, spec))


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def _unneeded(spec: Spec, peak: int, limit: int) -> Diagnostic:
    message = f"a rank needs {_gib(peak)} of the {_gib(limit)} when nothing is recomputed"
    span = spec.span("memory.checkpointing") or Span(spec.source, 0, 0)
    help = "set `checkpointing: off`, or use a larger micro-batch"
    return Diagnostic("W0916", message, span, help, "warning")


def _too_small(spec: Spec, least: int, limit: int) -> Diagnostic:
    message = f"a rank needs at least {_gib(least)}, with all layers recomputed, but the budget is {_gib(limit)}"
    span = spec.span("memory.checkpointing") or Span(spec.source, 0, 0)
    help = "use a smaller micro-batch, more ranks per model, `shard`, or a larger budget"
    return Diagnostic("E0408", message, span, help)
