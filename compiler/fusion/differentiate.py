"""Gradients of expressions by reverse accumulation; the result is made of expressions again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from .expression import Expr, Expressions, ordered

Rule = Callable[[Expressions, Expr, Expr], tuple[Expr | None, ...]]


def gradients(made: Expressions, outputs: Mapping[Expr, Expr], inputs: tuple[Expr, ...]) -> dict[Expr, Expr]:
    """Gradients of the inputs, given those of the outputs; an input that nothing depends on has none.

    That of a vector is what each row adds to it: it still has to be summed over the rows.
    """
    found: dict[Expr, Expr] = {}
    for output, gradient in outputs.items():
        found[output] = made.add(found[output], gradient) if output in found else gradient
    for expr in reversed(list(ordered(outputs))):
        gradient_ = found.get(expr)
        if gradient_ is None or not expr.args:
            continue
        if expr in made.names:
            made.named(gradient_, f"d_{made.names[expr]}")
        for arg, part in zip(expr.args, RULES[expr.op](made, expr, gradient_), strict=True):
            if part is not None and arg.kind != "number":
                part = _summed(made, expr, arg, part)
                found[arg] = made.add(found[arg], part) if arg in found else part
    return {each: found[each] for each in inputs if each in found}


def _summed(made: Expressions, expr: Expr, arg: Expr, part: Expr) -> Expr:
    """What was broadcast over the columns is summed over them."""
    spread = arg.kind == "row" and expr.kind in ("tile", "vector")
    return made.reduce("sum", part) if spread else part


def _product(made: Expressions, expr: Expr, g: Expr) -> tuple[Expr | None, ...]:
    a, b = expr.args
    if a is b:
        return made.multiply(made.number(2), made.multiply(g, a)), None
    return made.multiply(g, b), made.multiply(g, a)


def _quotient(made: Expressions, expr: Expr, g: Expr) -> tuple[Expr | None, ...]:
    part = made.divide(g, expr.args[1])
    return part, made.negate(made.multiply(part, expr))


def _rsqrt(made: Expressions, expr: Expr, g: Expr) -> tuple[Expr | None, ...]:
    cube = made.multiply(expr, made.multiply(expr, expr))
    return (made.multiply(g, made.multiply(made.number(-0.5), cube)),)


def _sigmoid(made: Expressions, expr: Expr, g: Expr) -> tuple[Expr | None, ...]:
    return (made.multiply(g, made.multiply(expr, made.subtract(made.number(1), expr))),)


def _tanh(made: Expressions, expr: Expr, g: Expr) -> tuple[Expr | None, ...]:
    return (made.multiply(g, made.subtract(made.number(1), made.multiply(expr, expr))),)


def _erf(made: Expressions, expr: Expr, g: Expr) -> tuple[Expr | None, ...]:
    a = expr.args[0]
    bell = made.function("exp", made.negate(made.multiply(a, a)))
    return (made.multiply(g, made.multiply(made.number(2 / math.sqrt(math.pi)), bell)),)


def _above(made: Expressions, expr: Expr, g: Expr) -> tuple[Expr | None, ...]:
    zero = made.number(0)
    test = expr.args[0]
    return None, made.above(test, expr.number, g, zero), made.above(test, expr.number, zero, g)


def _largest(made: Expressions, expr: Expr, g: Expr) -> tuple[Expr | None, ...]:
    """Equal maxima share the gradient, as in `torch.amax`."""
    hit = made.equal(expr.args[0], expr)
    return (made.divide(made.multiply(g, hit), made.reduce("sum", hit)),)


RULES: dict[str, Rule] = {
    "add": lambda made, expr, g: (g, g),
    "subtract": lambda made, expr, g: (g, made.negate(g)),
    "multiply": _product,
    "divide": _quotient,
    "negate": lambda made, expr, g: (made.negate(g),),
    "maximum": lambda made, expr, g: (made.above(expr.args[0], expr.number, g, made.number(0)),),
    "above": _above,
    "equal": lambda made, expr, g: (None, None),
    "constant": lambda made, expr, g: (None,),
    "rounded": lambda made, expr, g: (g,),
    "exp": lambda made, expr, g: (made.multiply(g, expr),),
    "log": lambda made, expr, g: (made.divide(g, expr.args[0]),),
    "sqrt": lambda made, expr, g: (made.divide(made.multiply(made.number(0.5), g), expr),),
    "rsqrt": _rsqrt,
    "abs": lambda made, expr, g: (made.multiply(g, made.function("sign", expr.args[0])),),
    "sign": lambda made, expr, g: (None,),
    "sin": lambda made, expr, g: (made.multiply(g, made.function("cos", expr.args[0])),),
    "cos": lambda made, expr, g: (made.negate(made.multiply(g, made.function("sin", expr.args[0]))),),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "erf": _erf,
    "sum": lambda made, expr, g: (g,),
    "mean": lambda made, expr, g: (made.multiply(made.number(1 / made.columns), g),),
    "max": _largest,
}
