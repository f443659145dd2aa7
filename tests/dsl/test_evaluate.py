"""Compile-time arithmetic."""

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dskc.compiler.dims import symbol
from dskc.dsl import ast
from dskc.dsl.diagnostics import Sink
from dskc.dsl.evaluate import FAILED, MAX_BITS, evaluate, operate
from dskc.dsl.parse import parse
from dskc.dsl.source import Source
from dskc.dsl.values import Quantity, Symbol, Variant

B, S = symbol("B"), symbol("S")
NAMES: dict[str, Any] = {"dim": 256, "B": B, "S": S, "data.vocab": 100}


def value(text: str) -> tuple[object, list[str]]:
    sink = Sink()
    file = parse(Source("test", f"dsk 1\nlet x = {text}\n"), sink)
    statement = file.body[0]
    assert isinstance(statement, ast.Let), [d.message for d in sink]
    result = evaluate(statement.value, lambda name: NAMES.get(name.text, Symbol(name.text)), sink)
    return result, [d.code for d in sink]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4 * dim", 1_024),
        ("(8 * dim // 3 + 255) // 256 * 256", 768),
        ("-2 ** 2", -4),
        ("7 / 2", 3.5),
        ("7 % 4", 3),
        ("data.vocab - 1", 99),
        ("72 GiB", Quantity(72 << 30, "bytes")),
        ("5%", Quantity(0.05, "share")),
        ("2 * 5 min", Quantity(600, "seconds")),
        ("1 h - 30 min", Quantity(1_800, "seconds")),
        ("1 h / 30 min", 2.0),
        ("1 h > 30 min", True),
        ("(dim, 2 * dim)", (256, 512)),
        ('"a" + "b"', "ab"),
        ("dim == 256 and not (dim < 3)", True),
        ("false and 1 / 0 > 1", False),
        ("gelu", Symbol("gelu")),
        ("yarn(10_000, factor: dim)", Variant("yarn", (10_000,), (("factor", 256),))),
        ("B * S + 1", B * S + 1),
        ("2 * S // 2", S),
        ("none", None),
    ],
)
def test_value(text: str, expected: object) -> None:
    assert value(text) == (expected, [])


@pytest.mark.parametrize(
    "text",
    [
        "1 / 0", "1 // 0", "1 % 0", "0 ** -1", "2 ** 10 ** 9", "10.0 ** 400", "(-8) ** 0.5", "10 ** 4000 * 1.0",
        "1 + true", '"a" * 1_000_000_000', '"a" + 1', "5 min + 3", "5 min + 3 steps", "5 min * 5 min", "not 3",
        "1 and true", "9 ** 999 * 9 ** 999", "none + 1", "gelu + 1", "S < 3", "-true",
    ],
)  # fmt: skip
def test_no_value(text: str) -> None:
    result, codes = value(text)

    assert result is FAILED
    assert codes == ["E0210"]


def test_unknown_unit() -> None:
    assert value("5 parsecs") == (FAILED, ["E0209"])


def test_long_chains_and_deep_nesting_end() -> None:
    one = ast.Number(1, None, parse(Source("t", "dsk 1"), Sink()).span)
    chain: ast.Expr = one
    for _ in range(50_000):
        chain = ast.Binary("+", chain, one, one.span)
    deep: ast.Expr = one
    for _ in range(50_000):
        deep = ast.Unary("-", deep, one.span)
    sink = Sink()

    assert evaluate(chain, Symbol, sink) == 50_001  # type: ignore[arg-type]
    assert evaluate(deep, Symbol, sink) is FAILED  # type: ignore[arg-type]
    assert [d.code for d in sink] == ["E0210"]


NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
PLAIN = {"+": operator.add, "-": operator.sub, "*": operator.mul, "<": operator.lt, "==": operator.eq}


@given(NUMBERS, NUMBERS, st.sampled_from(sorted(PLAIN)))
def test_agrees_with_python_or_refuses(left: float, right: float, symbol_: str) -> None:
    from dskc.dsl.evaluate import Refused

    expected = PLAIN[symbol_](left, right)
    try:
        result = operate(symbol_, left, right)
    except Refused:
        assert expected in (float("inf"), float("-inf"))
    else:
        assert result == expected


WORDS = [
    "dim",
    "S",
    "gelu",
    "1",
    "0",
    "2.5",
    "5%",
    "3 GiB",
    "10 steps",
    '"a"',
    "true",
    "none",
    "auto",
    "(1, 2)",
    "9 ** 99",
]
OPERATORS = ["+", "-", "*", "/", "//", " % ", "**", "<", "==", "and", "or"]
EXPRESSIONS = st.recursive(
    st.sampled_from(WORDS),
    lambda inner: st.tuples(inner, st.sampled_from(OPERATORS), inner).map(" ".join).map("({})".format),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_any_expression_has_a_bounded_value_or_a_finding(text: str) -> None:
    result, codes = value(text)

    assert (result is FAILED) == bool(codes)
    if isinstance(result, int):
        assert result.bit_length() <= MAX_BITS + 1
