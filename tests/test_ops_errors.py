"""What calls forbid: the message holds the numbers, and names the argument that is to blame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dskc.compiler.dims import symbol
from dskc.compiler.node import Node, Tensor
from dskc.compiler.ops import OPS
from dskc.compiler.ops.base import Attribute, ShapeError
from dskc.compiler.ops.common import literal, operand
from dskc.compiler.ops.document import document

from .op_samples import SAMPLES, SPAN, Sample, complete, infer, s
from .op_samples import _parse as parse

WRONG = (
    (s("linear", "x: B S", out=8), "x", "the last size of `x` is `S`"),
    (s("linear", "x: int B 8", out=8), "x", "must hold float"),
    (s("linear", "x: B 8", out=0), "out", "at least 1, but is 0"),
    (s("linear", "x: B 8", out=symbol("B")), "out", "must be a whole number, but is B"),
    (s("linear", "x: B 8", out=8, init="ones_"), "init", "`init` is ones_"),
    (s("embedding", "x: B S", size=8, dim=4), "x", "must hold int"),
    (s("positions", "x: B", dim=1), "dim", "`dim` is 1, but `x` [B] has 1 dimensions"),
    (s("parameter", shape=(2, 0)), "shape", "above 0"),
    (s("parameter", shape=(2,), init="constant", value=float("inf")), "value", "finite"),
    (s("conv2d", "x: B 3 4 4", out=8, kernel=7), "kernel", "7 does not fit into height 4 with padding 0"),
    (s("conv2d", "x: B 3 4 4", out=8, kernel=3, groups=2), "groups", "3 channels of `x` do not split into 2"),
    (s("conv2d", "x: B 4 4 4", out=7, kernel=3, groups=2), "groups", "7 channels of `out`"),
    (s("group_norm", "x: B 6 4", groups=4), "groups", "6 channels do not split into 4"),
    (s("batch_norm", "x: B 6 4 4 4"), "x", "with 5 dimensions"),
    (s("layer_norm", "x: B 6", eps=-1), "eps", "at least 0.0, but is -1"),
    (s("add", "a: B S 4", "b: B S 8"), "b", "sizes 4 and 8 in dimension -1"),
    (s("add", "a: B S 4", "b: B 1 S"), "b", "sizes 4 and S"),
    (s("add", "a: B"), "b", "`b` is missing"),
    (s("rearrange", "x: B S 16", pattern="b s (h d) -> b h s d", h=3), "h", "size 16 does not split by h = 3"),
    (s("rearrange", "x: B S 16", pattern="b s (h d) -> b h s d"), "pattern", "`h` and `d`"),
    (s("rearrange", "x: B S", pattern="b s d -> b d s"), "pattern", "3 dimensions, but `x` is [B, S] with 2"),
    (s("rearrange", "x: B S 16", pattern="b s d -> b d"), "pattern", "`s` is lost"),
    (s("rearrange", "x: B S 16", pattern="b s d -> b s d e"), "pattern", "`e` comes from nowhere"),
    (s("rearrange", "x: B S 16", pattern="b b d -> b d"), "pattern", "twice"),
    (s("rearrange", "x: B S 16", pattern="b s (d -> b s d"), "pattern", "not closed"),
    (s("rearrange", "x: B S 16", pattern="b s ((d)) -> b s d"), "pattern", "unexpected `(`"),
    (s("rearrange", "x: B S 16", pattern="b s d"), "pattern", "not a pattern"),
    (s("rearrange", "x: B S 16", pattern="b s d -> b s d", k=2), "k", "`k` is not in the pattern"),
    (s("rearrange", "x: B S 16", pattern="b 1 d -> b d"), "pattern", "`1` is 1, but the size of `x` there is S"),
    (
        s("rearrange", "x: B 8 16", pattern="b (h w) d -> b h w d", h=2, w=3),
        "h",
        "is 6, but the size of `x` there is 8",
    ),
    (s("rearrange", "x: B 8", pattern="b (h w) -> b h w", h=0), "h", "at least 1, but is 0"),
    (s("rope", "x: B 4 S 7"), "x", "the last size of `x` is 7"),
    (s("rope", "x: B 4 S 8", sequence=-1), "sequence", "last dimension"),
    (s("rope", "x: B 4 S 8", scaling="ntk"), "scaling", "`scaling` is ntk"),
    (
        s("scaled_dot_product_attention", "query: B 6 S 8", "key: B 4 S 8", "value: B 4 S 8"),
        "key",
        "6 query heads are not a multiple of 4",
    ),
    (
        s("scaled_dot_product_attention", "query: B 4 S 8", "key: B 4 3 8", "value: B 4 3 8", causal=True),
        "causal",
        "S and 3",
    ),
    (
        s("scaled_dot_product_attention", "query: B 4 S 8", "key: B 4 S 6", "value: B 4 S 8"),
        "key",
        "heads of size 6, but `query` of 8",
    ),
    (
        s("scaled_dot_product_attention", "query: B 4 S 8", "key: B 4 S 8", "value: B 4 S 8", "mask: int S S < 2"),
        "mask",
        "must be bool",
    ),
    (s("matmul", "a: B S 4", "b: 5 6"), "b", "`a` has 4 columns, but `b` has 5 rows"),
    (s("concat", "xs: B S 4", "xs: B 3 4"), "xs", "part 2 is [B, 3, 4], but part 1 is [B, S, 4]"),
    (s("split", "x: B 12", sizes=(8, 5)), "sizes", "8 + 5 = 13, but dimension 1 of `x` is 12"),
    (s("split", "x: B S", sizes=(8, 5)), "sizes", "is S"),
    (s("slice", "x: B 12", start=13), "start", "size 12"),
    (s("slice", "x: B S", start=-1, stop=-2), "stop", "empty"),
    (s("select", "x: B 12", index=12), "index", "`index` is 12"),
    (s("shift", "x: int B S < 5", by=1, fill=0.5), "fill", "`fill` is 0.5"),
    (s("expand", "x: 1 4", shape=(symbol("B"), 5)), "shape", "asks for 5 in dimension 1, but `x` has 4"),
    (s("expand", "x: 1 4", shape=(symbol("S") // 2, 4)), "shape", "is not known"),
    (s("flatten", "x: B 3 4", start=2, end=1), "start", "`start` 2 comes after `end` 1"),
    (s("mean", "x: B S", dim=(1, -1)), "dim", "twice"),
    (s("mean", "x: int B S < 5"), "x", "must hold float"),
    (s("clamp", "x: B"), "x", "neither"),
    (s("clamp", "x: B", min=3, max=1), "min", "3 is above `max` 1"),
    (s("cast", "x: B", to="fp8"), "to", "`to` is fp8"),
    (s("where", "condition: B", "a: B", "b: B"), "condition", "must hold bool"),
    (s("route", "x: B S 8", experts=8, top=5, groups=4, kept=2), "top", "`top` is 5, but 2 groups of 2 hold 4"),
    (s("route", "x: B S 8", experts=6, top=2, groups=4), "groups", "6 experts do not split into 4"),
    (s("combine", "rows: 23 8", "order: order 23", "weights: 2 6 2"), "weights", "24 entries, but `rows` has 23"),
    (s("cross_entropy", "logits: B S 10", "targets: int B < 10"), "targets", "int[B], but `logits` ask for int[B, S]"),
    (s("cross_entropy", "logits: B S 10", "targets: B S"), "targets", "must hold int"),
    (s("contrastive", "a: B 8", "b: B 9", "scale:"), "b", "[B, 8], but `b` is [B, 9]"),
    (s("top_accuracy", "logits: B 4", "targets: int B < 4"), "top", "`top` is 5, but there are 4 classes"),
    (s("dropout", "x: B S", rate=1.5), "rate", "0.0 to 1.0, but is 1.5"),
    (s("max_pool", "x: B 3 8 8", kernel=3, padding=2), "padding", "more than half of kernel 3"),
)


@pytest.mark.parametrize(("sample", "argument", "text"), WRONG, ids=str)
def test_wrong_calls_say_what_and_where(sample: Sample, argument: str, text: str) -> None:
    parsed = [parse(entry) for entry in sample.inputs]
    names = tuple(name for name, *_ in parsed)
    types = tuple(Tensor(shape, kind) for _, shape, kind, _ in parsed)
    op = OPS[sample.op]
    with pytest.raises(ShapeError) as caught:
        infer(op, names, types, complete(op, sample.attrs))
    assert text in caught.value.message
    assert caught.value.argument == argument
    assert argument in {name.strip("*?") for name in op.tensors} | set(complete(op, sample.attrs))


HOSTILE = ('__import__("os").system("x")', "x); y(", "'", '"', "\n", "b s d -> b s d'); evil('")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_no_text_becomes_code(sample: Sample, text: str) -> None:
    """Every attribute replaced by hostile text is refused, or leaves no trace in the expressions."""
    op = OPS[sample.op]
    parsed = [parse(entry) for entry in sample.inputs]
    names = tuple(name for name, *_ in parsed)
    types = tuple(Tensor(shape, kind) for _, shape, kind, _ in parsed)
    variadic = op.tensors[:1] == ("*xs",)
    args = {"xs": "xs_0, xs_1"} if variadic else {name: name for name in names}
    for attribute in op.attributes:
        attrs: dict[str, Any] = complete(op, sample.attrs) | {attribute.name.strip("*"): text}
        try:
            inferred = infer(op, names, types, attrs)
            node = Node("n", op.name, (), inferred.outputs, SPAN, attrs, names, inferred.parameters)
            code = op.emit(node, types, args | {"B": "B", "S": "S"}, "self.label")
            code += op.module(node) if op.module else ""
        except (ShapeError, TypeError):
            continue
        assert text not in code
        assert repr(text) not in code


def test_literals_are_numbers_only() -> None:
    assert literal((1, 2.5, True)) == "(1, 2.5, True)"
    assert literal((1,)) == "(1,)"
    for value in ("x", None, float("nan"), float("inf"), ["x"], b"x"):
        with pytest.raises(TypeError):
            literal(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a + b", "(a + b)"), ("f(x)", "f(x)"), ("a.b[0]", "a.b[0]"), ("-a", "(-a)"), ("a == b", "(a == b)")],
)
def test_operands_get_parentheses_where_needed(text: str, expected: str) -> None:
    assert operand(text) == expected


def test_records_are_well_formed() -> None:
    for name, op in OPS.items():
        assert name == op.name
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        assert op.doc.endswith(".")
        assert set(op.imports) <= {"F", "layers"}
        assert op.category in ("value", "loss", "metric")
        kinds = {"int", "float", "bool", "string", "name", "ints", "any"}
        assert all(isinstance(a, Attribute) and a.type in kinds and a.doc for a in op.attributes)


def test_reference_of_ops_is_current() -> None:
    """`python -m dskc.compiler.ops.document > docs/ops.md` writes it anew."""
    page = Path(__file__).resolve().parents[1] / "docs" / "ops.md"
    assert page.read_text(encoding="utf-8") == document()
