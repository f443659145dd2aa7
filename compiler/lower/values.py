"""What an expression of a block stands for: a tensor, results, a function, or a value known when compiling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ...dsl.ast import Extern
from ...dsl.spec import Definition
from ...dsl.spec import Scope as Visible
from ..dims import Poly
from ..node import Tensor, Value
from ..ops.base import Op


@dataclass(frozen=True)
class Ref:
    """A tensor of the body that is being built."""

    value: Value
    tensor: Tensor


@dataclass(frozen=True)
class Several:
    """The results of a call that gives more than one, or none."""

    refs: tuple[Ref, ...]


@dataclass(frozen=True, eq=False)
class Function:
    """An op, a block or an extern op, by name; `visible` is what its text can name."""

    kind: Literal["op", "block", "extern"]
    name: str
    record: Op | Definition | Extern
    visible: Visible = field(default_factory=Visible)


class Poison:
    """The value of what is wrong; its error was reported, so whatever uses it stays silent."""

    def __repr__(self) -> str:
        return "POISON"


POISON: Final = Poison()

Meaning = Any
"""Ref, Several, Function, POISON, or a compile-time value: int, float, Poly, bool, str, None or a tuple of those."""


def is_fixed(meaning: Meaning) -> bool:
    """Whether it is a value known when compiling."""
    return not isinstance(meaning, Ref | Several | Function | Poison)


def is_number(meaning: Meaning) -> bool:
    """Whether it is a number or a symbolic size."""
    return isinstance(meaning, int | float | Poly) and not isinstance(meaning, bool)


def is_size(meaning: Meaning) -> bool:
    """Whether it is a whole number or a symbolic size."""
    return isinstance(meaning, int | Poly) and not isinstance(meaning, bool)


def shown(meaning: Meaning) -> str:
    """A value as the reader of a spec knows it."""
    if isinstance(meaning, Ref):
        return f"a tensor {meaning.tensor}"
    if isinstance(meaning, Several):
        return f"{len(meaning.refs)} results"
    if isinstance(meaning, Function):
        return f"the {meaning.kind} `{meaning.name}`"
    if meaning is None:
        return "none"
    if isinstance(meaning, bool):
        return str(meaning).lower()
    if isinstance(meaning, str):
        return f'"{meaning}"'
    if isinstance(meaning, tuple):
        return "(" + ", ".join(shown(item) for item in meaning) + ")"
    return str(meaning)


def key(meaning: Meaning) -> Any:
    """Hashable identity of a compile-time value: 1, 1.0 and true differ."""
    if isinstance(meaning, tuple):
        return tuple(key(item) for item in meaning)
    if isinstance(meaning, Function):
        return (meaning.kind, meaning.name, id(meaning.record))
    return (type(meaning).__name__, meaning)
