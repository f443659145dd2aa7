"""What a layout would do slowly, said before anything runs."""

from __future__ import annotations

from ...dsl.diagnostics import Sink
from ...dsl.spec import Spec
from ..cluster import Machine, machine_of
from ..layout import Layout, layout_of
from . import network


def review(spec: Spec, sink: Sink) -> None:
    """Warnings for what the machine would do slowly."""
    layout, machine = layout_of(spec), machine_of(spec)
    if layout.tensor > 1:
        _across(spec, sink, layout, machine)


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
