"""The tree of a parsed spec; every node knows its span."""

from __future__ import annotations

from dataclasses import dataclass

from .source import Span


@dataclass(frozen=True)
class Number:
    """`256`, `1e-3`, `5%` (unit "%"), `72 GiB`, `100 steps`, `450 GB/s`."""

    value: int | float
    unit: str | None
    span: Span


@dataclass(frozen=True)
class Literal:
    """A string, `true`, `false`, `none`; `auto` is the name `auto`."""

    value: str | bool | None
    span: Span


@dataclass(frozen=True)
class Name:
    """`x`, `data.vocab`, `layers.0.norm`."""

    path: tuple[str, ...]
    span: Span

    @property
    def text(self) -> str:
        """The path as written."""
        return ".".join(self.path)


@dataclass(frozen=True)
class Sequence:
    """A list `[a, b]` or a tuple `(a, b)`."""

    items: tuple[Expr, ...]
    is_list: bool
    span: Span


@dataclass(frozen=True)
class Unary:
    """`-a`, `not a`."""

    operator: str
    operand: Expr
    span: Span


@dataclass(frozen=True)
class Binary:
    """`+ - * / // % **`, comparisons, `and`, `or`."""

    operator: str
    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True)
class Argument:
    """Positional (`name` is None) or `name: value`."""

    name: str | None
    value: Expr
    span: Span
    name_span: Span | None = None


@dataclass(frozen=True)
class Call:
    """`f(a, b: c)`, then `as label` or `share label.path`; in a setting it is a variant `kind(arg: value)`."""

    function: Name
    arguments: tuple[Argument, ...]
    label: str | None
    share: Name | None
    span: Span
    label_span: Span | None = None


@dataclass(frozen=True)
class Hole:
    """What could not be parsed; it was reported already, so nothing is said of it again."""

    span: Span


Expr = Number | Literal | Name | Sequence | Unary | Binary | Call | Hole


@dataclass(frozen=True)
class Setting:
    """`name: value`; in a profile the path may cross sections (`training.steps: 10`)."""

    path: tuple[str, ...]
    value: Expr
    span: Span
    path_span: Span


@dataclass(frozen=True)
class Binding:
    """`name = value`, `(a, b) = value`."""

    names: tuple[str, ...]
    value: Expr
    span: Span
    name_spans: tuple[Span, ...]


@dataclass(frozen=True)
class Let:
    """`let name = value`: a constant of the file."""

    name: str
    value: Expr
    span: Span
    name_span: Span


@dataclass(frozen=True)
class Import:
    """`import std.transformer` (target "std.transformer") or `import "blocks.dsk"` (is_file)."""

    target: str
    is_file: bool
    span: Span


@dataclass(frozen=True)
class TensorType:
    """`[B, S, dim]` (kind "float") or `int[B, S]`, `bool[B, S]`."""

    kind: str
    dims: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True)
class ScalarType:
    """`int`, `float`, `bool`, `string`, `op` (the name of an op or block), `any`."""

    kind: str
    span: Span


Type = TensorType | ScalarType


@dataclass(frozen=True)
class Param:
    """`x: [B, S, D]` or `heads: int = 8`."""

    name: str
    type: Type
    default: Expr | None
    span: Span


@dataclass(frozen=True)
class Block:
    """`block name(params) -> [types] { }`; `forward` is the block of that name."""

    name: str
    params: tuple[Param, ...]
    results: tuple[TensorType, ...]
    body: tuple[Statement, ...]
    span: Span
    name_span: Span


@dataclass(frozen=True)
class Repeat:
    """`repeat count as label { }`."""

    count: Expr
    label: str | None
    body: tuple[Statement, ...]
    span: Span


@dataclass(frozen=True)
class If:
    """Compile-time `if condition { } else { }`."""

    condition: Expr
    body: tuple[Statement, ...]
    orelse: tuple[Statement, ...]
    span: Span


@dataclass(frozen=True)
class Return:
    """`return value` or `return (a, b)`."""

    values: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True)
class Objective:
    """`loss`, `metric` or `exit` (`kind`), options `loss(weight: 0.3) value`, and `as label`."""

    kind: str
    value: Expr
    options: tuple[Argument, ...]
    label: str | None
    span: Span


@dataclass(frozen=True)
class Extern:
    """`extern op name from "file.py:Class" (x: [B, S]) -> [B, S]`."""

    name: str
    target: str
    params: tuple[Param, ...]
    results: tuple[TensorType, ...]
    span: Span
    name_span: Span


@dataclass(frozen=True)
class Section:
    """`name title { }`: `model gpt { }`, `optimizer adamw { }`, `data { }`; nested in a section too."""

    name: str
    title: str | None
    body: tuple[Statement, ...]
    span: Span
    name_span: Span
    title_span: Span | None


@dataclass(frozen=True)
class Profile:
    """`profile name { section.setting: value }`."""

    name: str
    body: tuple[Statement, ...]
    span: Span
    name_span: Span


Statement = (
    Setting | Binding | Let | Import | Block | Repeat | If | Return | Objective | Extern | Section | Profile | Hole
)


@dataclass(frozen=True)
class File:
    """A parsed text; `version` is the number after `dsk`, None when the line is missing.

    `broken`: part of the text could not be read (it was reported), so what seems to be missing may be there.
    """

    version: int | None
    body: tuple[Statement, ...]
    span: Span
    broken: bool = False
