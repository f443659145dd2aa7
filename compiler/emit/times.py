"""The time-outs of a run as its program has them: one constant, in the order of the ladder."""

from __future__ import annotations

from typing import Final

from ...dsl.spec import Spec
from ..recovery import Recovery
from ..recovery.ladder import RUNGS
from .layout import commented
from .text import literal, place

ABOUT: Final = (
    "# How long this run waits for what, in seconds. Each is shorter than the next: what knows most",
    "# about a fault is the first to notice it.",
)


def times(spec: Spec, recovery: Recovery) -> list[str]:
    """`TIMES`, with the line of the budget that it follows from."""
    rungs = [f"    {name}={literal(getattr(recovery.ladder, name))},  # {about}" for name, about in RUNGS.items()]
    head = commented(["TIMES = recovery.Times("], place(spec.span("checkpoint.recover_within")), 0)
    return [*ABOUT, *head, *rungs, ")"]
