"""The single numbers of a step: the loss and the norm of the gradients."""

from __future__ import annotations

from collections.abc import Iterator

from ...dsl.spec import Spec
from ..plan import Plan
from .model import Traffic, row


def scalars(plan: Plan, _spec: Spec) -> Iterator[Traffic]:
    """The loss over the data axis and over the stages, the square of the norm over all ranks."""
    layout = plan.layout
    if layout.data > 1:
        yield row("data", "all_reduce", "scalars", 4, layout.data)
    if layout.pipeline > 1:
        yield row("pipeline", "all_reduce", "scalars", 4, layout.pipeline)
    yield row("world", "all_reduce", "scalars", 4, layout.world)
