"""The words of the language, read from the schema: what editors, lexers and completion know by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .schema.base import Record
from .schema.sections import SECTIONS
from .schema.types import Type, settings_of
from .values import UNITS

CONTROL = ("repeat", "if", "else", "return")
OBJECTIVES = ("loss", "metric", "exit")
TYPES = ("int", "float", "bool", "string", "op", "any")
CONSTANTS = ("true", "false", "none", "auto")
WORD_OPERATORS = ("and", "or", "not")


@dataclass(frozen=True)
class Words:
    """Names with a meaning of their own, each list sorted."""

    sections: tuple[str, ...]
    settings: tuple[str, ...]
    kinds: tuple[str, ...]
    choices: tuple[str, ...]
    units: tuple[str, ...]


def words() -> Words:
    """The words of the schema as it is."""
    settings: set[str] = set()
    kinds: set[str] = set()
    choices: set[str] = set()
    for owner in _records():
        settings |= settings_of(owner).keys()
        kinds |= {owner.kind} - {""}
        choices |= {choice for s in settings_of(owner).values() for choice in _choices(s.type)}
    return Words(
        sections=tuple(SECTIONS),
        settings=tuple(sorted(settings)),
        kinds=tuple(sorted(kinds)),
        choices=tuple(sorted(choices)),
        units=tuple(sorted(UNITS.keys() - {"%"}, key=lambda unit: (-len(unit), unit))),
    )


def _records() -> Iterator[type[Record]]:
    """The record of every section and variant, each once."""
    waiting = [owner for owners in SECTIONS.values() for owner in owners]
    seen: set[type[Record]] = set()
    while waiting:
        owner = waiting.pop()
        if owner not in seen:
            seen.add(owner)
            yield owner
            waiting += [kind for s in settings_of(owner).values() for kind in _kinds(s.type)]


def _parts(type_: Type) -> Iterator[Type]:
    yield type_
    for part in (*(type_.fixed or ()), *((type_.many,) if type_.many else ())):
        yield from _parts(part)


def _kinds(type_: Type) -> list[type[Record]]:
    return [kind for part in _parts(type_) for kind in part.kinds]


def _choices(type_: Type) -> list[str]:
    return [choice for part in _parts(type_) for choice in part.choices]
