"""From files to a resolved spec."""

from __future__ import annotations

from pathlib import Path

from ..diagnostics import Diagnostic, Sink
from ..json_schema import failures
from ..read import read
from ..schema.base import Record
from ..source import Source, Span
from ..spec import Spec
from ..suggest import nearest
from .checks import check_unused, cross_check
from .collect import MAX_FINDINGS, Collector, Layered, layers
from .files import Loader, Unit
from .resolver import Resolver


def load(
    source: Source | Path | str, profile: str | None = None, overrides: tuple[str, ...] = (), *, tried: bool = False
) -> tuple[Spec | None, Sink]:
    """The resolved spec of a file or text, None when there are errors; `overrides` are `section.setting=value`.

    All profiles are checked, the chosen one is resolved. One of many that are only `tried` for their sizes is neither
    held against the schema, which takes longer than all the rest, nor are its other profiles checked.
    """
    sink = Sink()
    text = source if isinstance(source, Source) else _read(Path(source), sink)
    if text is None or sink.failed:
        return None, sink
    unit = Loader(sink).load(text, Path(text.name).absolute())
    units = unit.order()
    base = layers(units, sink)
    chosen = _overlaid(base, profile, overrides, unit, sink)
    run = Resolver(chosen, units, sink, profile)
    sections = _settle(run)
    if tried:
        return (None if sink.failed or base.forward is None else run.spec(sections)), sink
    spec = _gated(run, sections)
    check_unused(run)
    others = [*base.profiles, None] if profile is not None else base.profiles
    for other in others:
        if other != profile:
            _check_profile(base, units, sink, other)
    return (None if sink.failed else spec), sink


def _read(path: Path, sink: Sink) -> Source | None:
    try:
        return read(path, sink)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad path"
        sink.error("E0601", f"`{path}` cannot be read: {reason}", Span(Source(str(path), ""), 0, 0), "check the path")
        return None


def _overlaid(base: Layered, profile: str | None, flags: tuple[str, ...], unit: Unit, sink: Sink) -> Layered:
    """The settings with a profile and then flags over them."""
    over = base.copy()
    if profile is not None and profile in base.profiles:
        Collector(over, sink).profile(*base.profiles[profile])
    elif profile is not None:
        _unknown_profile(profile, base, sink)
    collector = Collector(over, sink)
    for flag in flags:
        collector.flag(flag, unit)
    return over


def _settle(run: Resolver) -> dict[str, Record | object]:
    """The sections, with all that is wrong between them reported."""
    if run.layered.forward is None and not run.broken:
        remedy = "write `model name { forward(...) { ... } }`"
        run.sink.error("E0214", "the spec has no `forward`", run.place("model."), remedy)
    try:
        sections = run.settle()
        cross_check(run)
    except RecursionError:  # deep expressions in a long chain of `let`: each is within its own bound
        run.sink.error("E0210", "values are nested too deeply", Span(run.main.source, 0, 0), "simplify them")
        return {}
    return sections


def _gated(run: Resolver, sections: dict[str, Record | object]) -> Spec | None:
    """The spec, once its JSON fits the schema."""
    if run.sink.failed or run.layered.forward is None:
        return None
    spec = run.spec(sections)
    for path, message in failures(spec.canonical()):
        place = spec.span(".".join(path.split(".")[:2])) or Span(run.main.source, 0, 0)
        run.sink.error("E0299", f"internal: resolved `{path}` does not fit the schema: {message[:200]}", place)
    return spec


def _check_profile(base: Layered, units: list[Unit], sink: Sink, name: str | None) -> None:
    """Adds what is wrong with a profile that was not chosen, and only with it; advice is for the one that is."""
    found = Sink()
    over = _overlaid(base, name, (), units[-1], found)
    _settle(Resolver(over, units, found, name))
    if not len(found) or len(sink) > MAX_FINDINGS:
        return
    known = {(d.code, d.span.source.name, d.span.start, d.span.end, d.message) for d in sink}
    where = f"in profile `{name}`" if name else "without a profile"
    for d in found:
        if d.severity == "error" and (d.code, d.span.source.name, d.span.start, d.span.end, d.message) not in known:
            sink.add(Diagnostic(d.code, f"{where}: {d.message}", d.span, d.help, d.severity, d.labels, d.fix))


def _unknown_profile(profile: str, base: Layered, sink: Sink) -> None:
    near = nearest(profile, base.profiles)
    names = ", ".join(base.profiles)
    remedy = f"the nearest is `{near}`" if near else f"profiles are {names}" if names else "the spec has no profiles"
    span = Span(Source("--profile", profile), 0, len(profile))
    sink.error("E0604", f"unknown profile `{profile[:80]}`", span, remedy)
