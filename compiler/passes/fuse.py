"""Groups of nodes that one kernel can run, and who runs them."""

from __future__ import annotations

from dataclasses import replace

from ...dsl.diagnostics import Diagnostic
from ...dsl.source import Span
from ...dsl.spec import Spec
from ...dsl.values import AUTO
from ..fusion.families import groups_of
from ..fusion.group import Group
from ..fusion.measured import speedup
from ..plan import Plan


def fuse(plan: Plan, spec: Spec) -> Plan:
    """Fills `Plan.groups`, of each body in program order, and decides which of them are generated kernels."""
    found = [group for body in plan.graphs for group in groups_of(plan, body)]
    groups = tuple(replace(group, generated=_generated(group, spec)) for group in found)
    findings = [] if groups or spec.training.kernels != "generated" else [_nothing(spec)]
    return replace(plan, groups=groups, findings=(*plan.findings, *findings))


def _generated(group: Group, spec: Spec) -> bool:
    if spec.training.kernels == AUTO:
        return speedup(spec.cluster.gpu, group.family, group.kind) > 1
    return spec.training.kernels == "generated"


def _nothing(spec: Spec) -> Diagnostic:
    message = "`training.kernels` has no effect: nothing in this model can be fused into a kernel"
    help = "remove it; `dskc plan` lists what can be fused"
    return Diagnostic("W0917", message, spec.span("training.kernels") or Span(spec.source, 0, 0), help)
