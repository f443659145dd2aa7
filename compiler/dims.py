"""Sizes of tensors: integers and polynomials over symbolic sizes such as `B` and `S`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Monomial = tuple[str, ...]


class Quotient(str):
    """The symbol of a quotient that leaves a remainder, or may; it gets a number once its parts have one."""

    dividend: Dim
    divisor: Dim


@dataclass(frozen=True)
class Poly:
    """A polynomial with integer coefficients; `terms` maps sorted symbol names to their coefficient."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _simplify(total)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return _simplify({monomial: -coefficient for monomial, coefficient in self.terms})

    def __sub__(self, other: Dim) -> Dim:
        return self + (-other)

    def __rsub__(self, other: Dim) -> Dim:
        return -self + other

    def __mul__(self, other: Dim) -> Dim:
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right))
                total[monomial] = total.get(monomial, 0) + a * b
        return _simplify(total)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        """Exact where every term divides; otherwise an opaque symbol such as `(S + 1)//2`."""
        exact = _exact_quotient(self, other)
        return exact if exact is not None else _quotient(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return 0 if other == 0 else _quotient(other, self)

    def __str__(self) -> str:
        return " + ".join(_term_text(m, c) for m, c in self.terms).replace("+ -", "- ")


Dim = int | Poly


def symbol(name: str) -> Poly:
    """A symbolic size."""
    return Poly((((name,), 1),))


def _quotient(dividend: Dim, divisor: Dim) -> Poly:
    name = Quotient(f"({dividend})//({divisor})")
    name.dividend, name.divisor = dividend, divisor
    return symbol(name)


def substitute(dim: Dim, values: Mapping[str, int]) -> Dim:
    """The size with symbols replaced by numbers, those in quotients as well."""
    result: Dim = 0
    for monomial, coefficient in _terms(dim):
        term: Dim = coefficient
        for name in monomial:
            term = term * _value(name, values)
        result = result + term
    return result


def _value(name: str, values: Mapping[str, int]) -> Dim:
    if isinstance(name, Quotient):
        divisor = substitute(name.divisor, values)
        return symbol(name) if divisor == 0 else substitute(name.dividend, values) // divisor
    return values.get(name, symbol(name))


def symbols(dim: Dim) -> frozenset[str]:
    """The symbolic sizes that a size depends on."""
    return frozenset(name for monomial, _ in _terms(dim) for name in monomial)


def divisible(dim: Dim, by: Dim) -> bool:
    """Whether `dim` is known to be a multiple of `by`."""
    return dim % by == 0 if isinstance(dim, int) and isinstance(by, int) else _exact_quotient(dim, by) is not None


def product(dims: tuple[Dim, ...]) -> Dim:
    """The number of elements of a shape."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, Poly):
        return dim.terms
    return (((), dim),) if dim else ()


def _simplify(total: Mapping[Monomial, int]) -> Dim:
    kept = {monomial: c for monomial, c in total.items() if c}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    return Poly(tuple(sorted(kept.items(), key=lambda term: (-len(term[0]), term[0]))))


def _exact_quotient(dim: Dim, by: Dim) -> Dim | None:
    divisor = _terms(by)
    if len(divisor) != 1:
        return 1 if dim == by and divisor else None
    (name, factor) = divisor[0]
    total: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(dim):
        rest = list(monomial)
        for part in name:
            if part not in rest:
                return None
            rest.remove(part)
        if coefficient % factor:
            return None
        total[tuple(rest)] = coefficient // factor
    return _simplify(total)


def _term_text(monomial: Monomial, coefficient: int) -> str:
    symbols_text = "*".join(monomial)
    if not monomial:
        return str(coefficient)
    return symbols_text if coefficient == 1 else f"{coefficient}*{symbols_text}"
