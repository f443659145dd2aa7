"""What a pipeline cannot run as asked."""

from __future__ import annotations

from collections.abc import Sequence

from ...dsl.diagnostics import Diagnostic
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..layout import Layout
from ..node import Sync
from ..plan import Stage
from ..refused import Refused
from .schedule import is_v


def check_schedule(spec: Spec, layout: Layout) -> None:
    """Enough micro-batches for the schedule, in groups that it can take; and a way to run it."""
    depth, micro = layout.pipeline, spec.training.gradient_accumulation
    grouped = layout.schedule == "zero_bubble" and not is_v(layout)
    if layout.schedule != "gpipe" and not is_v(layout) and micro < depth:
        there = "there is 1" if micro == 1 else f"there are {micro}"
        message = f"a pipeline of {depth} ranks needs at least {depth} micro-batches for `{layout.schedule}`; {there}"
        _refuse(spec, "E0404", "parallel.pipeline_depth", message, f"set `gradient_accumulation` to {4 * depth}")
    if grouped and micro % (micro // depth):
        message = f"{micro} micro-batches do not divide into {micro // depth} groups of equal size"
        _refuse(spec, "E0404", "parallel.schedule", message, f"set `gradient_accumulation` to a multiple of {depth}")
    if layout.schedule == "zero_bubble" and layout.shard == "parameters":
        message = "`zero_bubble` computes gradients of parameters later, when ZeRO-3 has let the parameters go"
        _refuse(spec, "E0407", "parallel.schedule", message, "use `shard: gradients`, or `schedule: one_f_one_b`")
    for setting, asked in _whole_model(spec).items():
        if asked:
            message = f"`{setting}` is not compiled yet for a pipeline, where no rank has the whole model"
            _refuse(spec, "E0701", setting, message, "remove it, or set `pipeline_depth` to 1")


def _whole_model(spec: Spec) -> dict[str, bool]:
    """Settings that need the model in one piece, and whether they are asked for."""
    return {
        "training.execution": spec.training.execution == "compiled",
        "model.weights": spec.model.weights is not None,
        "export.huggingface": spec.export.huggingface is not None,
        "observe.sample": spec.observe.sample is not None and spec.origins["observe.sample"].how != "derived",
    }


def check_copies(spec: Spec, layout: Layout, copies: Sequence[Sync], stages: Sequence[Stage]) -> None:
    """Two stages of one rank share a parameter as one; FSDP2 cannot, since it gathers one in one place."""
    for sync in copies if layout.shard != "none" else ():
        ranks = [stages[index].rank for index in sync.stages]
        if len(set(ranks)) < len(ranks):
            message = f"{sync.reason}, of which two are on one rank: ZeRO cannot cut up what they share"
            _refuse(spec, "E0407", "parallel.schedule", message, "use `shard: none`, or another schedule")


def _refuse(spec: Spec, code: str, setting: str, message: str, help: str) -> None:
    span = spec.span(setting) or spec.span("parallel.pipeline_depth") or Span(spec.source, 0, 0)
    raise Refused(Diagnostic(code, message, span, help))
