"""What a setting is, in words, from the schema: for `dskc explain optimizer.lr`."""

from __future__ import annotations

import types
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from .schema.base import In, Record, written_name
from .schema.sections import SECTIONS
from .values import DIMENSIONS, Auto

_PLAIN = {bool: "true or false", int: "integer", float: "number", str: "string", Auto: "`auto`", type(None): "`none`"}


def subjects() -> list[str]:
    """Every section and every `section.setting`."""
    settings = {
        f"{name}.{written_name(f.name)}" for name, records in SECTIONS.items() for r in records for f in _own(r)
    }
    return [*SECTIONS, *sorted(settings)]


def describe(subject: str) -> str | None:
    """A section, `section.setting`, or the name of a setting in any section; None where nothing is called so."""
    section, _, name = subject.partition(".")
    if subject in SECTIONS:
        return "\n\n".join(_section(subject, record) for record in SECTIONS[subject])
    places = [section] if name else list(SECTIONS)
    found = [
        _setting(f"{place}.{written_name(f.name)}", record, f)
        for place in places
        for record in SECTIONS.get(place, ())
        for f in _own(record)
        if written_name(f.name) == (name or section)
    ]
    return "\n\n".join(dict.fromkeys(found)) or None


def _section(name: str, record: type[Record]) -> str:
    lines = [f"{name} {record.kind}".strip(), f"  {_first_line(record)}", ""]
    width = max((len(written_name(f.name)) for f in _own(record)), default=0)
    for f in _own(record):
        lines.append(f"  {written_name(f.name):<{width}}  {f.metadata['rule'].doc}")
    return "\n".join(lines)


def _setting(path: str, record: type[Record], f: Field[Any]) -> str:
    rule = f.metadata["rule"]
    hint = get_type_hints(record, include_extras=True)[f.name]
    bounds = [("at least", rule.least), ("at most", rule.most), ("above", rule.above), ("below", rule.below)]
    limits = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
    kinds, records = _type(hint)
    default = _shown(f.default, "share" in str(hint))
    head = f"{path}: {' or '.join(kinds)}" + (f" ({', '.join(limits)})" if limits else "")
    lines = [head + (f"   in `{record.kind}`" if record.kind else ""), f"  {rule.doc}"]
    lines.append("  required" if f.default is MISSING else f"  default: {default}")
    for variant in records:
        arguments = ", ".join(_argument(variant, a) for a in _own(variant))
        lines.append(f"  {variant.kind}({arguments}): {_first_line(variant)}")
    lines += _not_compiled(rule.compiled, records)
    return "\n".join(lines)


def _not_compiled(compiled: bool | tuple[str, ...], records: list[type[Record]]) -> list[str]:
    if compiled is False:
        return ["  checked, but not compiled yet"]
    if isinstance(compiled, tuple):
        return [f"  compiled so far: {', '.join(compiled)}"]
    missing = [variant.kind for variant in records if not variant.compiled]
    return [f"  not compiled yet: {', '.join(missing)}"] if missing else []


def _argument(record: type[Record], f: Field[Any]) -> str:
    hint = get_type_hints(record, include_extras=True)[f.name]
    kinds, records = _type(hint)
    text = f"{written_name(f.name)}: {' or '.join([*kinds, *(r.kind for r in records)])}"
    return text if f.default is MISSING else f"{text} = {_shown(f.default, 'share' in str(hint))}"


def _type(hint: Any) -> tuple[list[str], list[type[Record]]]:
    """The kinds of value in words, and the variants among them."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, *extras = get_args(hint)
        quantities = [extra for extra in extras if isinstance(extra, In)]
        if not quantities:
            return _type(base)
        return [f"{DIMENSIONS[d][0]} such as {DIMENSIONS[d][1]}" for q in quantities for d in q.dimensions], []
    if origin in (Union, types.UnionType):
        parts = [_type(part) for part in get_args(hint)]
        kinds = [kind for part in parts for kind in part[0]]
        return kinds + (["a variant"] if any(part[1] for part in parts) else []), [r for part in parts for r in part[1]]
    if origin is Literal:
        return [f"`{choice}`" for choice in get_args(hint)], []
    if origin is tuple:
        inner = [part for part in get_args(hint) if part is not Ellipsis]
        text = ", ".join(" or ".join(_type(part)[0]) for part in inner)
        return [f"({text}{', ...' if Ellipsis in get_args(hint) else ''})"], []
    if isinstance(hint, type) and issubclass(hint, Record):
        return [], [hint]
    return [_PLAIN.get(hint, getattr(hint, "__name__", str(hint)).lower())], []


def _shown(value: object, is_share: bool) -> str:
    if is_share and isinstance(value, float):
        return f"{value * 100:g}%"
    if isinstance(value, Record):
        return type(value).kind or "the section's defaults"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) and not value.isidentifier() else str(value)


def _own(record: type[Record]) -> tuple[Field[Any], ...]:
    return fields(record)  # type: ignore[arg-type]


def _first_line(record: type[Record]) -> str:
    return (record.__doc__ or "").partition("\n")[0]
