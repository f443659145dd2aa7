"""What the search tells about experts that `expert_parallel` cannot split."""

from __future__ import annotations

from typing import Final

from ...dsl.diagnostics import Diagnostic, Label
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..refused import Refused
from .search import Search
from .walk import Use, uses_of

SETTING: Final = "parallel.expert_parallel"


def refuse_whole_experts(search: Search, spec: Spec) -> None:
    """Refuses a layout whose expert axis leaves experts whole, or finds none."""
    place = spec.span(SETTING) or spec.span("parallel") or Span(spec.source, 0, 0)
    used = [use for use in uses_of(search) if use.node.op == "expert_linear"]
    if not used:
        message = f"`expert_parallel: {search.size}` splits nothing: `{search.plan.name}` has no experts"
        raise Refused(Diagnostic("E0412", message, place, "set it to 1: the ranks of the data axis share the samples"))
    for use in used:
        if not _split(use):
            raise Refused(_whole(search, use, place))


def _split(use: Use) -> bool:
    return use.solved.choice is not None and use.solved.choice.parameters == ("S0",)


def _whole(search: Search, use: Use, place: Span) -> Diagnostic:
    experts, size = use.node.parameters[0].shape[0], search.size
    assert isinstance(experts, int)
    labels = (Label(use.node.span, f"has the matrices of {experts} experts"),)
    if experts % size == 0:
        message = f"`{use.node.name}` cannot be split over the {size} ranks of the expert axis"
        help = (
            "rows go from `dispatch` to `combine` through `expert_linear` and ops that take each row by itself; "
            "their order and number are those of other samples"
        )
        return Diagnostic("E0412", message, place, help, labels=labels)
    message = f"{experts} experts do not divide by `expert_parallel` {size}"
    ranks = max(n for n in range(1, size + 1) if experts % n == 0 and size % n == 0)
    up = -(-experts // size) * size
    sizes = f"{up}" if experts < size else f"{up - size} or {up}"
    return Diagnostic(
        "E0411", message, place, f"set `expert_parallel` to {ranks}, or `experts` to {sizes}", labels=labels
    )
