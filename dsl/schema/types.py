"""The types of settings, read once from the annotations of the records."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

from ..values import AUTO, DIMENSIONS, Auto, Quantity
from .base import In, Record, Rule, written_name
from .sections import SECTIONS


@dataclass(frozen=True)
class Plain:
    """`int`, `float`, `bool`, `str`; with dimensions, a quantity of one of them, kept as Quantity if `tagged`."""

    kind: str
    dimensions: tuple[str, ...] = ()
    tagged: bool = False


@dataclass(frozen=True)
class Type:
    """What a setting admits: the union of all that is here."""

    plain: tuple[Plain, ...] = ()
    choices: tuple[str, ...] = ()
    kinds: tuple[type[Record], ...] = ()
    fixed: tuple[Type, ...] | None = None
    many: Type | None = None
    auto: bool = False
    none: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The bare names that mean something here."""
        return (*self.choices, *(k.kind for k in self.kinds), *(("auto",) if self.auto else ()))

    def kind(self, name: str) -> type[Record] | None:
        """The variant of that name."""
        return next((k for k in self.kinds if k.kind == name), None)


@dataclass(frozen=True)
class Setting:
    """One setting of a section or one argument of a variant; `attribute` is its name in Python."""

    name: str
    attribute: str
    type: Type
    rule: Rule
    default: object


_KNOWN: dict[type[Record], dict[str, Setting]] = {}


def settings_of(owner: type[Record]) -> dict[str, Setting]:
    """The settings of a record by the name in a spec, in order."""
    if owner not in _KNOWN:
        _KNOWN[owner] = _read_settings(owner)
    return _KNOWN[owner]


def _read_settings(owner: type[Record]) -> dict[str, Setting]:
    hints = get_type_hints(owner, include_extras=True)
    found = {}
    for f in fields(owner):  # type: ignore[arg-type]
        name = written_name(f.name)
        default = None if f.default is MISSING else f.default
        found[name] = Setting(name, f.name, read(hints[f.name]), f.metadata["rule"], default)
    return found


def read(annotation: object) -> Type:
    """The type that an annotation of the schema means."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    parts = [_read_one(option) for option in options]
    return Type(
        plain=tuple(p for part in parts for p in part.plain),
        choices=tuple(c for part in parts for c in part.choices),
        kinds=tuple(k for part in parts for k in part.kinds),
        fixed=next((part.fixed for part in parts if part.fixed), None),
        many=next((part.many for part in parts if part.many), None),
        auto=any(part.auto for part in parts),
        none=any(part.none for part in parts),
    )


def _read_one(option: object) -> Type:
    if option is NoneType:
        return Type(none=True)
    if option is Auto:
        return Type(auto=True)
    origin, args = get_origin(option), get_args(option)
    if origin is Annotated:
        base, mark = args
        assert isinstance(mark, In)
        tagged = base is Quantity
        return Type(plain=(Plain("float" if tagged else base.__name__, mark.dimensions, tagged),))
    if origin is Literal:
        return Type(choices=args)
    if origin is tuple:
        return Type(many=read(args[0])) if args[-1] is ... else Type(fixed=tuple(read(arg) for arg in args))
    assert isinstance(option, type), option
    return Type(kinds=(option,)) if issubclass(option, Record) else Type(plain=(Plain(option.__name__),))


_PLAIN = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text in quotes"}


def describe(type_: Type) -> str:
    """What a setting takes, in words: "steps, a time, `auto` or `none`"."""
    words = [DIMENSIONS[d][0] for p in type_.plain for d in p.dimensions]
    words += [_PLAIN[p.kind] for p in type_.plain if not p.dimensions]
    words += [f"`{c}`" for c in type_.choices]
    words += [f"`{signature(k)}`" for k in type_.kinds]
    if type_.fixed:
        words.append(f"({', '.join(describe(item) for item in type_.fixed)})")
    if type_.many:
        words.append(f"a list of {describe(type_.many)}")
    words += ["`auto`"] * type_.auto + ["`none`"] * type_.none
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def signature(kind: type[Record]) -> str:
    """A variant with the arguments that it needs: `budget(limit)`."""
    needed = [s.name for s in settings_of(kind).values() if s.rule.required]
    return f"{kind.kind}({', '.join(needed)})" if needed else kind.kind


def find(path: str) -> tuple[type[Record], Setting] | None:
    """The record and setting of `section.name` or `section.kind.name` (`optimizer.sgd.momentum`)."""
    section, *rest = path.split(".")
    for owner in SECTIONS.get(section, ()):
        if len(rest) == 2 and owner.kind != rest[0]:
            continue
        if rest and rest[-1] in settings_of(owner):
            return owner, settings_of(owner)[rest[-1]]
    return None


def to_json(value: object) -> object:
    """A value of the schema as plain JSON; a variant is `{"kind": ..., ...}`."""
    if isinstance(value, Record):
        head: dict[str, object] = {"kind": value.kind} if value.kind else {}
        return head | {s.name: to_json(getattr(value, s.attribute)) for s in settings_of(type(value)).values()}
    if isinstance(value, Quantity):
        return {"value": value.value, "unit": value.dimension}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return "auto" if value is AUTO else value
