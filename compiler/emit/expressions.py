"""Expressions of kernels as text: in Triton for tiles, in PyTorch for whole tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..fusion.expression import REDUCTIONS, Expr, ordered
from .layout import assignment
from .text import fitting

LEAST = 'float("-inf")'
LONG = 56
"""Longest expression that is written inside another."""
SUM, PRODUCT, UNARY, ATOM = 1, 2, 3, 4
SIGNS = {"add": (" + ", SUM, SUM), "subtract": (" - ", SUM, PRODUCT), "multiply": (" * ", PRODUCT, PRODUCT),
         "divide": (" / ", PRODUCT, UNARY)}  # fmt: skip
TRITON = {name: f"tl.{name}" for name in ("exp", "log", "sqrt", "rsqrt", "abs", "sin", "cos", "sigmoid", "erf")}
TORCH = {name: f"torch.{name}" for name in (*TRITON, "tanh", "sign")}


@dataclass
class Text:
    """What is written so far: the text and how tightly it binds by expression, and the statements."""

    triton: bool
    exact: bool
    names: Mapping[Expr, str]
    formats: Mapping[str, str]
    taken: set[str]
    done: dict[Expr, tuple[str, int]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def of(self, expr: Expr, level: int = 0) -> str:
        """The text of an expression, in parentheses if it binds less tightly than `level`."""
        text, own = self.done[expr]
        return text if own >= level else f"({text})"

    def free(self, name: str) -> str:
        """The name, with a number where it is taken."""
        number, found = 1, name
        while found in self.taken:
            number += 1
            found = f"{name}_{number}"
        self.taken.add(found)
        return found


def statements(
    roots: Sequence[Expr],
    inputs: Mapping[str, str],
    names: Mapping[Expr, str],
    formats: Mapping[str, str],
    taken: Iterable[str],
    triton: bool,
    exact: bool = True,
    indent: int = 4,
) -> tuple[list[str], list[str]]:
    """Statements that compute the roots, and the roots' own texts; `inputs` are variables by the inputs' names.

    `formats` are expressions of the formats that outputs are stored in, `taken` names that are in use.
    `exact`: the tile has no columns beyond the row, so that nothing has to be left out of a sum.
    """
    order = list(ordered(roots))
    uses = Counter(arg for expr in order for arg in expr.args)
    uses.update(roots)
    text = Text(triton, exact, names, formats, {*taken, *inputs.values()})
    for expr in order:
        if expr.op == "input":
            text.done[expr] = (inputs[expr.name], ATOM)
            continue
        written, level = _written(text, expr)
        own = uses[expr] > 1 or expr.op in REDUCTIONS or len(written) > LONG
        if own and expr.op != "number":
            name = text.free(fitting(names.get(expr, "part")))
            text.lines += assignment(f"{name} = ", written, indent)
            written, level = name, ATOM
        text.done[expr] = (written, level)
    return text.lines, [text.of(root) for root in roots]


def _written(text: Text, expr: Expr) -> tuple[str, int]:
    args = expr.args
    if expr.op == "number":
        return _number(expr.number), ATOM if expr.number >= 0 else UNARY
    if expr.op in SIGNS:
        sign, left, right = SIGNS[expr.op]
        return f"{text.of(args[0], left)}{sign}{text.of(args[1], right)}", left
    if expr.op == "negate":
        return f"-{text.of(args[0], UNARY)}", UNARY
    if expr.op in REDUCTIONS:
        return _reduction(text, expr)
    if expr.op == "constant":
        return (text.of(args[0]) if text.triton else f"{text.of(args[0], ATOM)}.detach()"), ATOM
    return _function(text, expr)


def _function(text: Text, expr: Expr) -> tuple[str, int]:
    args = expr.args
    if expr.op == "maximum":
        bound = _number(expr.number)
        return (
            (f"tl.maximum({text.of(args[0])}, {bound})" if text.triton else f"{text.of(args[0], ATOM)}.clamp({bound})"),
            ATOM,
        )
    module = "tl" if text.triton else "torch"
    if expr.op == "above":
        test = f"{text.of(args[0], SUM)} > {_number(expr.number)}"
        return f"{module}.where({test}, {text.of(args[1])}, {text.of(args[2])})", ATOM
    if expr.op == "equal":
        return f"{module}.where({text.of(args[0], SUM)} == {text.of(args[1], SUM)}, 1.0, 0.0)", ATOM
    if expr.op == "rounded":
        stored, wide = (text.formats[expr.name], "WIDE" if text.triton else "wide")
        return f"{text.of(args[0], ATOM)}.to({stored}).to({wide})", ATOM
    value = text.of(args[0])
    if text.triton and expr.op == "tanh":
        return f"2 * tl.sigmoid(2 * {text.of(args[0], UNARY)}) - 1", SUM
    if text.triton and expr.op == "sign":
        return f"tl.where({value} > 0, 1.0, tl.where({value} < 0, -1.0, 0.0))", ATOM
    return f"{(TRITON if text.triton else TORCH)[expr.op]}({value})", ATOM


def _reduction(text: Text, expr: Expr) -> tuple[str, int]:
    value = text.of(expr.args[0])
    if not text.triton:
        name = "amax" if expr.op == "max" else expr.op
        return f"{text.of(expr.args[0], ATOM)}.{name}(-1, keepdim=True)", ATOM
    if not text.exact:
        value = f"tl.where(column < COLUMNS, {value}, {LEAST if expr.op == 'max' else '0.0'})"
    if expr.op == "max":
        return f"tl.max({value}, 1, keep_dims=True)", ATOM
    total = f"tl.sum({value}, 1, keep_dims=True)"
    return (f"{total} / COLUMNS", PRODUCT) if expr.op == "mean" else (total, ATOM)


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e6 else repr(value)
