"""JSON Schema (draft 2020-12) of a resolved spec, made from the records; the last gate before compiling."""

from __future__ import annotations

from functools import cache
from typing import Any

from .schema.base import Record, Rule
from .schema.sections import SECTIONS
from .schema.types import Plain, Setting, Type, settings_of, to_json

_BOUNDS = (("least", "minimum"), ("most", "maximum"), ("above", "exclusiveMinimum"), ("below", "exclusiveMaximum"))
_PLAIN = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}


@cache
def json_schema() -> dict[str, Any]:
    """The schema of all sections."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dskc resolved spec, version 1",
        "type": "object",
        "properties": {"profile": {"type": ["string", "null"]}}
        | {name: section_schema(name) for name in SECTIONS}
        | {"constants": {"type": "object"}},
        "required": [*SECTIONS, "constants"],
        "additionalProperties": False,
    }


def section_schema(name: str) -> dict[str, Any]:
    """The schema of one section; KeyError where there is none."""
    return _either([_record(owner) for owner in SECTIONS[name]])


def failures(resolved: object) -> list[tuple[str, str]]:
    """Path and message of each place where a resolved spec does not fit."""
    errors = [sharp for error in _validator().iter_errors(resolved) for sharp in _sharpen(error)]
    return [(error.json_path.removeprefix("$."), error.message) for error in errors]


def _sharpen(error: Any) -> list[Any]:
    """Of a variant that fits none of its kinds, what is wrong with the kind that it says it is."""
    branches: dict[int, list[Any]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    same = [errors for errors in branches.values() if not any(_of_another_kind(e) for e in errors)]
    return [sharp for inner in same[0] for sharp in _sharpen(inner)] if len(same) == 1 else [error]


def _of_another_kind(error: Any) -> bool:
    """Whether a value is not even of the kind, or type, of the branch."""
    at = list(error.path)
    return (error.validator == "const" and at == ["kind"]) or (error.validator in ("type", "enum") and not at)


@cache
def _validator() -> Any:
    # ~90 ms: only here.
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json_schema())


def _record(owner: type[Record]) -> dict[str, Any]:
    settings = settings_of(owner).values()
    kind = {"kind": {"const": owner.kind}} if owner.kind else {}
    properties = kind | {s.name: _setting(s) for s in settings}
    return {
        "type": "object",
        "description": owner.__doc__,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _setting(setting: Setting) -> dict[str, Any]:
    head: dict[str, Any] = {"description": setting.rule.doc}
    if not setting.rule.required:
        head["default"] = to_json(setting.default)
    return head | _type(setting.type, setting.rule)


def _type(type_: Type, rule: Rule) -> dict[str, Any]:
    options = [_plain(plain, rule) for plain in type_.plain]
    if type_.choices or type_.auto:
        options.append({"enum": [*type_.choices, *(["auto"] if type_.auto else [])]})
    options += [_record(kind) for kind in type_.kinds]
    if type_.fixed:
        items = [_type(item, rule) for item in type_.fixed]
        options.append({"type": "array", "prefixItems": items, "items": False, "minItems": len(items)})
    if type_.many:
        options.append({"type": "array", "items": _type(type_.many, rule)})
    return _either([*options, {"type": "null"}] if type_.none else options)


def _plain(plain: Plain, rule: Rule) -> dict[str, Any]:
    number: dict[str, Any] = {"type": _PLAIN[plain.kind]}
    if plain.kind in ("int", "float"):
        number |= {word: getattr(rule, name) for name, word in _BOUNDS if getattr(rule, name) is not None}
    if not plain.tagged:
        return number
    unit = {"enum": list(plain.dimensions)}
    return {
        "type": "object",
        "properties": {"value": number, "unit": unit},
        "required": ["value", "unit"],
        "additionalProperties": False,
    }


def _either(options: list[dict[str, Any]]) -> dict[str, Any]:
    return options[0] if len(options) == 1 else {"anyOf": options}
