"""Refuses to compile what this version has no back end for: a setting is never ignored."""

from __future__ import annotations

from collections.abc import Iterator

from ..dsl.diagnostics import Sink
from ..dsl.schema.base import Record
from ..dsl.schema.sections import SECTIONS
from ..dsl.schema.types import Setting, settings_of
from ..dsl.source import Span
from ..dsl.spec import Spec
from ..dsl.values import AUTO
from .layout import layout_of
from .proof import combination, nearest, proven

# What a setting is where it asks for nothing.
ONE_PROCESS = {"parallel.context_parallel": 1}


def gate(spec: Spec, sink: Sink) -> None:
    """An error for each setting that asks for more than one plain process does."""
    for section in SECTIONS:
        owner = getattr(spec, section)
        place = spec.span(section) or Span(spec.source, 0, 0)
        if not type(owner).compiled:
            _refuse(sink, f"{section} {owner.kind}", place)
        for setting in settings_of(type(owner)).values():
            path = f"{section}.{setting.name}"
            if spec.origins[path].span is None:
                continue
            for what in missing(path, setting, getattr(owner, setting.attribute)):
                _refuse(sink, what, spec.span(path) or place)
    if not sink.failed:
        gate_layout(spec, sink)


def gate_layout(spec: Spec, sink: Sink) -> None:
    """An error for a layout of a kind that no parity test has passed, and for what works in one process only."""
    layout = layout_of(spec)
    place = spec.span("parallel.world_size") or Span(spec.source, 0, 0)
    if layout.world == 1:
        return
    name = combination(layout)
    if name not in proven():
        near = next(nearest(name), None)
        help = f"the nearest that is proven: {near}; docs/parity.md lists all" if near else "docs/parity.md lists them"
        sink.error("E0701", f"the layout {name} (pipeline/data/tensor) has no parity test", place, help)
    cut = layout.tensor > 1 or layout.pipeline > 1
    if cut and spec.observe.sample is not None and spec.origins["observe.sample"].how != "derived":
        what = "observe.sample on ranks that share a model"
        _refuse(sink, what, spec.span("observe.sample") or place)
    if layout.pipeline > 1 and spec.training.execution == "compiled":
        _refuse(sink, "training.execution: compiled in a pipeline", spec.span("training.execution") or place)


def missing(path: str, setting: Setting, value: object) -> Iterator[str]:
    """The settings in a value, by path, that no back end reads; none where they are what one process does."""
    if value in (setting.default, ONE_PROCESS.get(path, setting.default)):
        return
    compiled = setting.rule.compiled
    word = "auto" if value is AUTO else value.kind if isinstance(value, Record) else value
    if compiled is False or (isinstance(compiled, tuple) and word not in compiled):
        yield path if compiled is False else f"{path}: {'none' if word is None else word}"
    else:
        yield from _inside(path, value)


def _inside(path: str, value: object) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _inside(path, item)
    elif isinstance(value, Record) and not type(value).compiled:
        yield f"{path}: {value.kind}"
    elif isinstance(value, Record):
        for setting in settings_of(type(value)).values():
            yield from missing(f"{path}.{setting.name}", setting, getattr(value, setting.attribute))


def _refuse(sink: Sink, what: str, span: Span) -> None:
    message = f"setting `{what}` is not compiled yet by this version"
    sink.error("E0701", message, span, "remove it; `dskc check` validates it")
