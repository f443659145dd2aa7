"""What cannot run, said before anything does: memory, with the nearest layout that fits; and what runs badly."""

from __future__ import annotations

from ...dsl.diagnostics import Label, Sink
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..cluster import Machine, machine_of
from ..layout import Layout, layout_of
from ..lower import Lowered
from ..memory import KINDS, memory_of
from ..plan import Plan
from . import network
from .text import size


def review(plan: Plan, spec: Spec, lowered: Lowered, sink: Sink) -> None:
    """An error for what the machine cannot hold, advice against what it would do slowly."""
    layout, machine = layout_of(spec), machine_of(spec)
    _memory(plan, spec, lowered, sink, machine)
    if layout.tensor > 1:
        _across(spec, sink, layout, machine)
    _sample(plan, spec, sink)


def _sample(plan: Plan, spec: Spec, sink: Sink) -> None:
    """Advice where the text that a run shows at its end, because nothing else was said, is left out."""
    derived = spec.observe.sample is not None and spec.origins["observe.sample"].how == "derived"
    if not derived or plan.layout.tensor * plan.layout.pipeline == 1:
        return
    from ..emit.model import bodies_of
    from ..emit.train import writes

    if not writes(plan, bodies_of(plan)["forward"]):
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
    from .near import nearest  # with all of the search, which a plan that fits does without

    kinds = ", ".join(f"{kind} {size(getattr(fullest, kind))}" for kind in KINDS if getattr(fullest, kind))
    place = f"stage {fullest.rank} needs" if plan.layout.pipeline > 1 else "a rank needs"
    message = f"{place} {size(fullest.peak)} of {size(machine.memory)}, in {fullest.moment}: {kinds}"
    path = next((p for p in ("cluster.memory", "cluster.gpu") if spec.span(p)), "cluster")
    where = spec.span("training.micro_batch_size") or spec.span("parallel.world_size") or spec.span(path)
    label = spec.span(path)
    labels = (Label(label, f"{size(machine.memory)} here"),) if label and where is not label else ()
    sink.error("E0422", message, where or Span(spec.source, 0, 0), nearest(spec, lowered, machine), labels)


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
