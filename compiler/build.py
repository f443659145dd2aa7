"""From a spec's text to its plan: what `check`, `plan`, `compile` and `run` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..dsl import load
from ..dsl.diagnostics import Sink
from ..dsl.source import Source
from ..dsl.spec import Spec
from ..dsl.values import AUTO
from .check_recompute import check_recompute
from .lower import Lowered, lower, sizes

if TYPE_CHECKING:
    from .plan import Plan


@dataclass(frozen=True)
class Checked:
    """A spec that was read and lowered; `lowered` is None when the sink holds an error."""

    spec: Spec | None
    lowered: Lowered | None
    sink: Sink


def check(source: Source, profile: str | None = None, overrides: Sequence[str] = (), *, tried: bool = False) -> Checked:
    """Everything that can be said of a spec without a plan; imports neither networkx nor jinja2."""
    spec, sink = load(source, profile, tuple(overrides), tried=tried)
    lowered = lower(spec, sink) if spec is not None else None
    if spec is not None and lowered is not None:
        check_recompute(spec, lowered.bodies, sink)
    return Checked(spec, None if sink.failed else lowered, sink)


def make_plan(spec: Spec, lowered: Lowered, last: str | None = None) -> Plan:
    """The plan after all passes, or after the one called `last`; a lowered spec serves for any of its layouts."""
    from .layout import layout_of
    from .passes import run_passes
    from .plan import build_plan

    layout = layout_of(spec)
    plan = build_plan(lowered.name, lowered.bodies, lowered.objectives, sizes(spec), lowered.targets, layout)
    return run_passes(plan, spec, last)


def settled(checked: Checked) -> Checked:
    """The same with every `auto` of `parallel` filled in by the planner; without a spec where no layout fits."""
    if checked.spec is None or checked.lowered is None:
        return checked
    if all(value is not AUTO for value in vars(checked.spec.parallel).values()):
        return checked
    from .planner.fill import filled

    return replace(checked, spec=filled(checked.spec, checked.lowered, checked.sink))


def planned(checked: Checked, last: str | None = None) -> Plan | None:
    """The plan of a checked and settled spec; where it cannot be laid out or held, the finding in the sink."""
    from .planner.refuse import review
    from .refused import Refused

    if checked.spec is None or checked.lowered is None:
        return None
    try:
        plan = make_plan(checked.spec, checked.lowered, last)
    except Refused as refused:
        checked.sink.add(refused.diagnostic)
        return None
    for finding in plan.findings:
        checked.sink.add(finding)
    if last is None:
        review(plan, checked.spec, checked.lowered, checked.sink)
        _review_recovery(plan, checked.spec, checked.sink)
    return plan


def _review_recovery(plan: Plan, spec: Spec, sink: Sink) -> None:
    """Findings about what failures cost, where the spec says how much they may or how often they come."""
    if sink.failed or (spec.checkpoint.recover_within is None and spec.cluster.mtbf is None):
        return
    from .recovery import recovery_of
    from .recovery.review import review

    review(recovery_of(plan, spec), spec, sink)
