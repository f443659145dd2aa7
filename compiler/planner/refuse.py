"""What cannot run, said before anything does: memory, with the nearest layout that fits; and what runs badly."""

from __future__ import annotations

from math import log2

from ...dsl.diagnostics import Label, Sink
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..cluster import Machine, machine_of
from ..layout import Layout, layout_of
from ..lower import Lowered
from ..memory import KINDS, memory_of
from ..plan import Plan
from . import network
from .choice import Choice, settings
from .confirm import memory_needed
from .search import every_choice, recomputed, samples_of
from .tables import Tables
from .text import size

MOST_TRIED = 6
"""Layouts near the one that does not fit that are planned in full."""


def review(plan: Plan, spec: Spec, lowered: Lowered, sink: Sink) -> None:
    """An error for what the machine cannot hold, advice against what it would do slowly."""
    layout, machine = layout_of(spec), machine_of(spec)
    _memory(plan, spec, lowered, sink, machine)
    if layout.tensor > 1:
        _across(spec, sink, layout, machine)
    _sample(plan, spec, sink)


def _sample(plan: Plan, spec: Spec, sink: Sink) -> None:
    """Advice where the text that a run shows at its end, because nothing else was said, is left out."""
    from ..emit.model import bodies_of
    from ..emit.train import is_cut, writes

    derived = spec.observe.sample is not None and spec.origins["observe.sample"].how == "derived"
    if not derived or not is_cut(plan.layout) or not writes(plan, bodies_of(plan)["forward"]):
        return
    axis, path = ("tensor", "parallel.tensor_model_parallel")
    if plan.layout.pipeline > 1:
        axis, path = ("pipeline", "parallel.pipeline_depth")
    message = f"no sample of the model's text is shown at the end: the {axis} axis shares one model among its ranks"
    where = spec.span(path) or spec.span("parallel.world_size") or Span(spec.source, 0, 0)
    sink.warning("W0942", message, where, "write `sample: none` in `observe`")


def _memory(plan: Plan, spec: Spec, lowered: Lowered, sink: Sink, machine: Machine) -> None:
    if machine.memory is None:
        return
    fullest = max(memory_of(plan, spec), key=lambda entry: entry.peak)
    if fullest.peak <= machine.memory:
        return
    kinds = ", ".join(f"{kind} {size(getattr(fullest, kind))}" for kind in KINDS if getattr(fullest, kind))
    place = f"stage {fullest.rank} needs" if plan.layout.pipeline > 1 else "a rank needs"
    message = f"{place} {size(fullest.peak)} of {size(machine.memory)}, in {fullest.moment}: {kinds}"
    path = next((p for p in ("cluster.memory", "cluster.gpu") if spec.span(p)), "cluster")
    where = spec.span("training.micro_batch_size") or spec.span("parallel.world_size") or spec.span(path)
    label = spec.span(path)
    labels = (Label(label, f"{size(machine.memory)} here"),) if label and where is not label else ()
    sink.error("E0422", message, where or Span(spec.source, 0, 0), _nearest(spec, lowered, machine), labels)


def _nearest(spec: Spec, lowered: Lowered, machine: Machine) -> str:
    """The layout that fits with the least changes, among those of as many ranks and samples."""
    assert machine.memory is not None, "it was compared"
    tables = Tables(spec, lowered, machine)
    here = _here(spec)
    near = sorted(_around(tables, spec, here), key=lambda choice: (_distance(here, choice), choice.key))
    tried = 0
    for choice in near:
        needed = tables.needed(choice)
        if needed is None or needed > machine.memory:
            continue
        tried += 1
        found = memory_needed(spec, lowered, choice)
        if found <= machine.memory:
            return f"the nearest that fits, with {size(found)}: {', '.join(_changes(here, choice))}"
        if tried >= MOST_TRIED:
            break
    return "no layout of as many ranks is near that fits; `dskc tune` looks at all of them, with more ranks too"


def _here(spec: Spec) -> Choice:
    way = spec.memory.checkpointing
    training = spec.training
    return Choice(
        layout_of(spec), training.micro_batch_size, training.gradient_accumulation,
        way if isinstance(way, str) else "given",
    )  # fmt: skip


def _around(tables: Tables, spec: Spec, here: Choice) -> list[Choice]:
    ways = recomputed(spec, tables.lowered) + (("given",) if here.checkpointing == "given" else ())
    return [choice for choice in every_choice(tables, spec, samples_of(spec), ways) if _distance(here, choice) <= 6]


def _distance(here: Choice, there: Choice) -> float:
    """How far a layout is: doublings of its axes, and a step for each other thing that is changed."""
    a, b = here.layout, there.layout
    sizes = ((a.pipeline, b.pipeline), (a.tensor, b.tensor), (here.micro_batch, there.micro_batch))
    far = sum(abs(log2(x / y)) * weight for (x, y), weight in zip(sizes, (1.5, 1.5, 1), strict=True))
    schedule = (a.schedule, a.chunks) != (b.schedule, b.chunks) and a.pipeline > 1 and b.pipeline > 1
    sequence = a.sequence_parallel != b.sequence_parallel and (a.tensor > 1) == (b.tensor > 1)
    return far + (a.shard != b.shard) + schedule + sequence + (here.checkpointing != there.checkpointing)


def _changes(here: Choice, there: Choice) -> list[str]:
    before = settings(here)
    return [f"`{path}: {value}`" for path, value in settings(there).items() if before.get(path) != value]


def _across(spec: Spec, sink: Sink, layout: Layout, machine: Machine) -> None:
    """A warning where the tensor axis leaves the node."""
    ranks = network.group(layout, "tensor", machine)
    where = spec.span("parallel.tensor_model_parallel")
    if ranks.nodes == 1 or where is None:
        return
    inside, between = machine.node_link.bandwidth / 1e9, machine.network.bandwidth / 1e9
    message = (
        f"the tensor axis of {layout.tensor} ranks spans {ranks.nodes} nodes of {machine.per_node}: each layer's "
        f"collectives run over {between:,.4g} GB/s instead of {inside:,.4g} GB/s"
    )
    sink.warning("W0921", message, where, f"set `tensor_model_parallel` to {machine.per_node} at most")
