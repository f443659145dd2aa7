"""`auto` in `parallel`: the fastest layout that fits, with everything that the spec settles kept."""

from __future__ import annotations

from dataclasses import replace

from ...dsl.diagnostics import Sink
from ...dsl.schema.parallel import Interleaved, ZeroBubble
from ...dsl.source import Span
from ...dsl.spec import Spec
from ...dsl.values import AUTO
from ..lower import Lowered
from .choice import changed, settings, spec_of
from .search import Fixed, Found, search

SEARCHED = ("data_parallel", "pipeline_depth", "tensor_model_parallel", "shard", "schedule")
"""Settings that the planner fills; `expert_parallel` and `context_parallel` become 1."""


def filled(spec: Spec, lowered: Lowered, sink: Sink) -> Spec | None:
    """The spec with every `auto` of `parallel` settled; None, and an error, where no layout fits.

    The samples of a step stay; how they are cut into micro-batches is the layout's.
    """
    ones = {name: 1 for name in ("expert_parallel", "context_parallel") if getattr(spec.parallel, name) is AUTO}
    spec = replace(spec, parallel=changed(spec.parallel, **ones))
    found = search(spec, lowered, 1, _fixed(spec))
    if not found.best:
        _refuse(spec, found, sink)
        return None
    chosen = spec_of(spec, found.best[0].choice)
    derived = {path: replace(spec.origins[path], how="derived") for path in settings(found.best[0].choice)}
    return replace(chosen, origins={**spec.origins, **derived})


def _fixed(spec: Spec) -> Fixed:
    asked = spec.parallel

    def number(value: object) -> int | None:
        return value if isinstance(value, int) else None

    schedule: tuple[str, int] | None = None
    if isinstance(asked.schedule, Interleaved | ZeroBubble):
        schedule = (asked.schedule.kind, asked.schedule.chunks)
    elif asked.schedule is not AUTO and _given(spec, "schedule"):
        schedule = (str(asked.schedule), 1)
    return Fixed(
        data=number(asked.data_parallel),
        pipeline=number(asked.pipeline_depth),
        tensor=number(asked.tensor_model_parallel),
        shard=None if asked.shard is AUTO else str(asked.shard),
        schedule=schedule,
        sequence=asked.sequence_parallel if _given(spec, "sequence_parallel") else None,
        checkpointing=True,
    )


def _given(spec: Spec, name: str) -> bool:
    return spec.span(f"parallel.{name}") is not None


def _refuse(spec: Spec, found: Found, sink: Sink) -> None:
    asked = [f"parallel.{name}" for name, value in vars(spec.parallel).items() if value is AUTO]
    place = next((span for path in asked if (span := spec.span(path))), None) or Span(spec.source, 0, 0)
    groups = sorted(found.groups.values(), key=lambda group: -group.count)
    why = "; ".join(f"{group.count:,}: {group.why} ({group.example})" for group in groups[:3])
    message = f"none of {found.looked:,} layouts of {spec.parallel.world_size} ranks runs: {why}"
    sink.error(
        "E0421", message, place, "`dskc tune` lists all reasons; more ranks, or `memory { checkpointing: full }`"
    )
