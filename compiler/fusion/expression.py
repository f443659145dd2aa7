"""Expressions of kernels: element-wise arithmetic on tiles of rows, with reductions over a row.

A value is of one kind: a "tile" [rows, columns], a "row" value [rows, 1], a "vector" [1, columns] or a "number".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["tile", "row", "vector", "number"]
REDUCTIONS: Final = ("sum", "mean", "max")
FUNCTIONS: Final = (
    "exp", "log", "sqrt", "rsqrt", "abs", "sin", "cos", "sigmoid", "tanh", "erf", "sign",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Expr:
    """One value. Those of one `Expressions` are equal where they are the same object.

    `op` is "input", "number", "add", "subtract", "multiply", "divide", "negate", "maximum" (with a number), "above"
    (a > number ? b : c), "equal" (1 where two values are), "constant" (has no gradient), "rounded" (to the format
    that it is stored in), one of FUNCTIONS, or one of REDUCTIONS.
    """

    op: str
    args: tuple[Expr, ...]
    kind: Kind
    number: float = 0.0
    name: str = ""


@dataclass
class Expressions:
    """Makes expressions: equal ones once, with numbers folded. `names` are those that readers know values by."""

    columns: int
    known: dict[tuple[object, ...], Expr] = field(default_factory=dict)
    names: dict[Expr, str] = field(default_factory=dict)

    def input(self, name: str, kind: Kind) -> Expr:
        """A tensor that the kernel is given."""
        return self._made("input", (), kind, name=name)

    def number(self, value: float) -> Expr:
        """A number."""
        return self._made("number", (), "number", float(value))

    def named(self, value: Expr, name: str) -> Expr:
        """The value itself; a reader knows it by this name."""
        if value.op not in ("input", "number"):
            self.names.setdefault(value, name)
        return value

    def add(self, a: Expr, b: Expr) -> Expr:
        """a + b."""
        if a.op == b.op == "number":
            return self.number(a.number + b.number)
        if a.op == "number":
            a, b = b, a
        if b.op == "number" and b.number == 0:
            return a
        if b.op == "negate":
            return self.subtract(a, b.args[0])
        return self.subtract(b, a.args[0]) if a.op == "negate" else self._made("add", (a, b))

    def subtract(self, a: Expr, b: Expr) -> Expr:
        """a - b."""
        if a.op == b.op == "number":
            return self.number(a.number - b.number)
        if b.op == "number" and b.number == 0:
            return a
        if a.op == "number" and a.number == 0:
            return self.negate(b)
        return self.add(a, b.args[0]) if b.op == "negate" else self._made("subtract", (a, b))

    def multiply(self, a: Expr, b: Expr) -> Expr:
        """a * b; a number comes first."""
        if a.op == b.op == "number":
            return self.number(a.number * b.number)
        if b.op == "number":
            a, b = b, a
        if a.op == "number":
            if a.number in (0.0, 1.0, -1.0):
                return a if a.number == 0 else b if a.number == 1 else self.negate(b)
            if _scaled(b):
                return self.multiply(self.number(a.number * b.args[0].number), b.args[1])
            if b.op == "negate":
                return self.multiply(self.number(-a.number), b.args[0])
        elif _scaled(a) or _scaled(b):
            x, y = (b, a) if _scaled(b) else (a, b)
            return self.multiply(x.args[0], self.multiply(x.args[1], y))
        if a.op == "negate" or b.op == "negate":
            left, right = (x.args[0] if x.op == "negate" else x for x in (a, b))
            product = self.multiply(left, right)
            return product if a.op == b.op else self.negate(product)
        return self._made("multiply", (a, b))

    def divide(self, a: Expr, b: Expr) -> Expr:
        """a / b."""
        if b.op == "number" and b.number in (1.0, -1.0):
            return a if b.number == 1 else self.negate(a)
        if a.op == b.op == "number" and b.number:
            return self.number(a.number / b.number)
        return self._made("divide", (a, b))

    def negate(self, a: Expr) -> Expr:
        """-a."""
        if a.op == "number":
            return self.number(-a.number)
        if a.op == "subtract":
            return self.subtract(a.args[1], a.args[0])
        return a.args[0] if a.op == "negate" else self._made("negate", (a,))

    def function(self, name: str, a: Expr) -> Expr:
        """One of FUNCTIONS."""
        assert name in FUNCTIONS
        return self._made(name, (a,))

    def maximum(self, a: Expr, least: float) -> Expr:
        """The larger of a value and a number."""
        return self._made("maximum", (a,), number=least)

    def above(self, a: Expr, bound: float, yes: Expr, no: Expr) -> Expr:
        """`yes` where a > bound, `no` elsewhere."""
        return self._made("above", (a, yes, no), number=bound)

    def equal(self, a: Expr, b: Expr) -> Expr:
        """1 where a = b, 0 elsewhere."""
        return self._made("equal", (a, b))

    def constant(self, a: Expr) -> Expr:
        """The value, without a gradient."""
        return self._made("constant", (a,))

    def rounded(self, a: Expr, output: str) -> Expr:
        """The value as it is stored in the output of this name."""
        return self._made("rounded", (a,), name=output)

    def reduce(self, op: str, a: Expr) -> Expr:
        """The sum, mean or maximum over the columns."""
        assert op in REDUCTIONS
        if op == "sum" and a.kind in ("row", "number"):
            return self.multiply(self.number(self.columns), a)
        if a.kind in ("row", "number"):
            return a
        return self._made(op, (a,), "row")

    def power(self, a: Expr, exponent: float) -> Expr | None:
        """a ** exponent for small whole exponents and square roots; None for others, which need a pow()."""
        if exponent == 0.5:
            return self.function("sqrt", a)
        if exponent == -0.5:
            return self.function("rsqrt", a)
        if exponent != int(exponent) or not 1 <= abs(exponent) <= 8:
            return None
        result = a
        for _ in range(int(abs(exponent)) - 1):
            result = self.multiply(result, a)
        return result if exponent > 0 else self.divide(self.number(1), result)

    def _made(
        self, op: str, args: tuple[Expr, ...], kind: Kind | None = None, number: float = 0.0, name: str = ""
    ) -> Expr:
        key = (op, tuple(id(a) for a in args), kind, number, math.copysign(1, number), name)
        if key not in self.known:
            self.known[key] = Expr(op, args, kind or joined(a.kind for a in args), number, name)
        return self.known[key]


def _scaled(expr: Expr) -> bool:
    return expr.op == "multiply" and expr.args[0].op == "number"


def joined(kinds: Iterable[Kind]) -> Kind:
    """The kind of an element-wise result."""
    found = set(kinds)
    if "tile" in found or {"row", "vector"} <= found:
        return "tile"
    return "row" if "row" in found else "vector" if "vector" in found else "number"


def ordered(roots: Iterable[Expr], ends: Iterable[Expr] = ()) -> Iterator[Expr]:
    """What leads to the roots, arguments first; `ends` are given, so what leads to them is left out."""
    seen: set[Expr] = set()
    known = set(ends)
    waiting = [(root, False) for root in reversed(list(roots))]
    while waiting:
        expr, ready = waiting.pop()
        if expr in seen:
            continue
        if ready or expr in known:
            seen.add(expr)
            yield expr
        else:
            waiting.append((expr, True))
            waiting += [(arg, False) for arg in reversed(expr.args)]


def replaced(made: Expressions, root: Expr, changes: dict[Expr, Expr], without: str = "") -> Expr:
    """The expression with some parts in the place of others; ops called `without` give their argument."""
    found = dict(changes)
    for expr in ordered([root], changes):
        if expr not in found:
            args = tuple(found[arg] for arg in expr.args)
            same = args == expr.args
            found[expr] = args[0] if expr.op == without else expr if same else _like(made, expr, args)
            if expr in made.names:
                made.names.setdefault(found[expr], made.names[expr])
    return found[root]


def _like(made: Expressions, expr: Expr, args: tuple[Expr, ...]) -> Expr:
    return made._made(expr.op, args, expr.kind, expr.number, expr.name)
