"""What `memory.checkpointing` asks for and the model does not allow."""

from __future__ import annotations

from collections.abc import Mapping

from ..dsl.diagnostics import Sink
from ..dsl.source import Span
from ..dsl.spec import Spec
from .lower.parameters import rises
from .node import Body


def check_recompute(spec: Spec, bodies: Mapping[str, Body], sink: Sink) -> None:
    """Layers that are recomputed are repeats, of which each iteration has its parameters to itself."""
    if spec.memory.checkpointing == "off":
        return
    span = spec.span("memory.checkpointing") or Span(spec.source, 0, 0)
    repeats = [n for b in bodies.values() for n in b.nodes if n.op == "repeat" and n.label is not None]
    if not repeats:
        message = "`memory.checkpointing` has no effect: the model repeats no layers that could be recomputed"
        sink.error("E0307", message, span, "remove it, or put layers into a `repeat`")
    for node in repeats:
        if rises(bodies, str(node.body)):
            message = f"the layers `{node.label}` use parameters of what is around them: none can be recomputed alone"
            sink.error("E0407", message, node.span, "give them parameters of their own, or set `checkpointing: off`")
