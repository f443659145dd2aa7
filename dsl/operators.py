"""Precedence of operators: a flat row of operands and operators -> a tree."""

from __future__ import annotations

from typing import Any

from . import ast
from .diagnostics import Sink
from .lex import Token
from .source import Source, Span

_COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
_BINDING = {
    "or": 1, "and": 2, **dict.fromkeys(_COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "**": 8,
}  # fmt: skip
_PREFIX = {"not": 3, "-": 7, "+": 7}


def combine(row: list[Any], source: Source, sink: Sink) -> ast.Expr:
    """Two stacks instead of recursion (Dijkstra's shunting yard), so that a long row needs no deep call stack."""
    operands: list[ast.Expr] = []
    pending: list[tuple[int, Token, bool]] = []
    is_operand_next = True
    for part in row:
        if not isinstance(part, Token):
            operands.append(part)
            is_operand_next = False
            continue
        text = str(part.payload)
        if is_operand_next:
            pending.append((_PREFIX[text], part, True))
            continue
        level = _BINDING[text]
        while pending and (pending[-1][0] > level or (pending[-1][0] == level and text != "**")):
            if pending[-1][0] == level == _BINDING["=="]:
                _report_chain(part, source, sink)
            _apply(pending.pop(), operands)
        pending.append((level, part, False))
        is_operand_next = True
    while pending:
        _apply(pending.pop(), operands)
    return operands[0]


def depth(value: ast.Expr) -> int:
    """Levels of a value, counted without recursion."""
    deepest = 0
    stack = [(value, 1)]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        stack += [(child, level + 1) for child in children(node)]
    return deepest


def children(value: ast.Expr) -> tuple[ast.Expr, ...]:
    """The values directly inside a value."""
    if isinstance(value, ast.Binary):
        return value.left, value.right
    if isinstance(value, ast.Unary):
        return (value.operand,)
    if isinstance(value, ast.Sequence):
        return value.items
    if isinstance(value, ast.Call):
        return tuple(argument.value for argument in value.arguments)
    return ()


def _apply(operator: tuple[int, Token, bool], operands: list[ast.Expr]) -> None:
    _, token, is_prefix = operator
    text = str(token.payload)
    right = operands.pop()
    if is_prefix:
        operands.append(ast.Unary(text, right, Span(right.span.source, token.start, right.span.end)))
    else:
        left = operands.pop()
        operands.append(ast.Binary(text, left, right, left.span.to(right.span)))


def _report_chain(token: Token, source: Source, sink: Sink) -> None:
    help = "compare two at a time: `a < b and b < c`"
    sink.error("E0117", "comparisons do not chain", Span(source, token.start, token.end), help)
