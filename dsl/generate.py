"""Files made from the schema: `python -m dskc.dsl.generate` writes them, a test compares them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .evaluate import describe as describe_value
from .json_schema import json_schema
from .schema.base import Record, Rule
from .schema.sections import SECTIONS
from .schema.types import Setting, Type, describe, settings_of, signature
from .values import DIMENSIONS, UNITS, Quantity

ROOT = Path(__file__).parents[1]
_BOUNDS = (("least", "at least"), ("most", "at most"), ("above", "above"), ("below", "below"))


def files() -> dict[str, str]:
    """Content by path from the root of the repository."""
    return {
        "dsl/schema.json": _json(json_schema()),
        "docs/reference.md": reference(),
    }


def reference() -> str:
    """The reference of all settings, as Markdown."""
    lines = [
        "# Settings",
        "",
        "Made from the schema by `python -m dskc.dsl.generate`. "
        "Settings marked *later* are checked in full, but compiling a spec that sets them is an error.",
        "",
        "## Units",
        "",
        "| dimension | units | example |",
        "| --- | --- | --- |",
    ]
    for dimension, (name, example) in DIMENSIONS.items():
        units = ", ".join(f"`{unit}`" for unit, (d, _) in UNITS.items() if d == dimension)
        lines.append(f"| {name} | {units} | `{example}` |")
    for section, owners in SECTIONS.items():
        for owner in owners:
            lines += ["", *_section(section, owner)]
    return "\n".join(lines) + "\n"


def _section(name: str, owner: type[Record]) -> Iterator[str]:
    later = "" if owner.compiled else " *Later.*"
    yield from (f"## {name} {owner.kind}".rstrip(), "", f"{owner.__doc__}{later}", *_table(owner))
    for kind in list(_with_kinds(owner))[1:]:
        later = "" if kind.compiled else " *Later.*"
        yield from ("", f"### `{signature(kind)}` in `{name}`", "", f"{kind.__doc__}{later}", *_table(kind))


def _table(owner: type[Record]) -> list[str]:
    settings = settings_of(owner).values()
    head = ["", "| name | takes | default | |", "| --- | --- | --- | --- |"] if settings else []
    return [*head, *(_row(s) for s in settings)]


def _row(s: Setting) -> str:
    takes = describe(s.type) + _limits(s.rule)
    default = "needed" if s.rule.required else f"`{shown(s.default, s.type)}`"
    later = s.rule.compiled if isinstance(s.rule.compiled, tuple) else ()
    note = " *Later.*" if s.rule.compiled is False else f" *So far {', '.join(later)}.*" if later else ""
    return f"| `{s.name}` | {takes} | {default} | {s.rule.doc}{note} |".replace("||", "\\|\\|")


def _limits(rule: Rule) -> str:
    bounds = [(word, getattr(rule, name)) for name, word in _BOUNDS]
    # the largest number that a machine holds is no news
    given = [f"{word} {bound:g}" for word, bound in bounds if bound is not None and bound < 2**31 - 1]
    return f" ({', '.join(given)})" if given else ""


def shown(value: object, type_: Type) -> str:
    """A default as it would be written in a spec."""
    if isinstance(value, Record):
        return value.kind
    if isinstance(value, tuple):
        return f"({', '.join(shown(item, type_) for item in value)})" if value else "[]"
    if isinstance(value, float) and any(plain.dimensions == ("share",) for plain in type_.plain):
        return str(Quantity(value, "share"))
    return value or '""' if isinstance(value, str) else describe_value(value).replace("`", "")


def _with_kinds(owner: type[Record]) -> Iterator[type[Record]]:
    """A record and every variant that can stand in it, each once."""
    found: list[type[Record]] = [owner]
    for record in found:
        for setting in settings_of(record).values():
            found += [kind for kind in _kinds(setting.type) if kind not in found]
    yield from found


def _kinds(type_: Type) -> Iterator[type[Record]]:
    yield from type_.kinds
    for item in (*(type_.fixed or ()), *((type_.many,) if type_.many else ())):
        yield from _kinds(item)


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in files().items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
