"""The tree of a text: what each form means, precedence, soft keywords, places, limits."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dskc.dsl import ast, tables
from dskc.dsl.diagnostics import Sink
from dskc.dsl.operators import children
from dskc.dsl.parse import MAX_ERRORS, parse
from dskc.dsl.read import MAX_BYTES, decode
from dskc.dsl.source import Source

ROOT = Path(__file__).parent.parent


def tree(text: str) -> ast.File:
    sink = Sink()
    file = parse(Source("t.dsk", "dsk 1\n" + text), sink)
    assert [finding.message for finding in sink] == []
    assert not file.broken
    return file


def only(text: str) -> Any:
    (statement,) = tree(text).body
    return statement


def value(text: str) -> ast.Expr:
    found: ast.Expr = only(f"a = {text}").value
    return found


def shape(node: ast.Expr) -> str:
    """A value with every operation in brackets."""
    if isinstance(node, ast.Binary):
        return f"({shape(node.left)} {node.operator} {shape(node.right)})"
    if isinstance(node, ast.Unary):
        return f"({node.operator} {shape(node.operand)})"
    return node.span.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("2 ** 3 ** 2", "(2 ** (3 ** 2))"),
        ("-2 ** 2", "(- (2 ** 2))"),
        ("2 ** -1 * 3", "((2 ** (- 1)) * 3)"),
        ("-a * b", "((- a) * b)"),
        ("not a == b and c or d", "(((not (a == b)) and c) or d)"),
        ("a or b and not c", "(a or (b and (not c)))"),
        ("a // b % c / d", "(((a // b) % c) / d)"),
        ("(1 + 2) * 3", "((1 + 2) * 3)"),
        ("a + 1 < b * 2", "((a + 1) < (b * 2))"),
    ],
)
def test_precedence(text: str, expected: str) -> None:
    assert shape(value(text)) == expected


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("1_000", 1000, None),
        ("5%", 5, "%"),
        ("0.5%", 0.5, "%"),
        ("72 GiB", 72, "GiB"),
        ("72GiB", 72, "GiB"),
        ("450 GB/s", 450, "GB/s"),
        ("1e-3", 1e-3, None),
        ("1_0.2_5e1 steps", 102.5, "steps"),
        ("5 µs", 5, "µs"),
    ],
)
def test_number(text: str, number: float, unit: str | None) -> None:
    node = value(text)

    assert isinstance(node, ast.Number)
    assert (node.value, node.unit, node.span.text) == (number, unit, text)
    assert type(node.value) is type(number)


def test_percent_and_modulo_are_told_apart_by_the_space() -> None:
    assert isinstance(value("5 % 3"), ast.Binary)
    assert isinstance(value("x % 3"), ast.Binary)
    assert value("f(5%, 3)").arguments[0].value.unit == "%"  # type: ignore[union-attr]


WORDS = re.findall(
    r"\S+",
    """
    dsk import let profile block forward extern repeat if else return loss metric exit as share from not and or true
    false none op
    """,
)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_can_be_a_name(word: str) -> None:
    assert only(f"{word}: 1").path == (word,)
    if word not in ("not", "true", "false", "none"):  # these have a meaning as values
        assert only(f"{word} = 1").names == (word,)
    assert only(f"s {{ {word}: 1 }}").body[0].path == (word,)
    call = value(f"f({word}: 1, b: 2, {word}_: 3)")
    assert isinstance(call, ast.Call)
    assert call.arguments[0].name == word


def test_labels() -> None:
    call = value("f(g(x) as inner, h(x) share a.0.b as c) as outer")
    assert isinstance(call, ast.Call)
    inner, other = (argument.value for argument in call.arguments)
    assert isinstance(inner, ast.Call)
    assert isinstance(other, ast.Call)
    assert (call.label, inner.label, other.label) == ("outer", "inner", "c")
    assert other.share is not None
    assert other.share.path == ("a", "0", "b")
    assert call.label_span is not None
    assert call.label_span.text == "outer"


def test_label_of_a_statement_is_not_that_of_its_value() -> None:
    repeat = only("repeat f(3) as layers { }")
    loss = only("loss(weight: 0.5) 2 * f(x) as main")

    assert (repeat.label, repeat.count.label) == ("layers", None)
    assert (loss.label, loss.value.right.label) == ("main", None)
    assert [(option.name, option.value.value) for option in loss.options] == [("weight", 0.5)]
    assert loss.value.span.text == "2 * f(x)"


def test_loss_of_a_value_in_brackets_has_no_options() -> None:
    assert only("loss (a + b)").options == ()
    assert only("loss(a)").options == ()


def test_if_else_chain() -> None:
    first = only("if a { b: 1 }\n\n# comment\nelse if c { d: 1 } else { e: 1 }")

    (second,) = first.orelse
    assert first.body[0].path == ("b",)
    assert second.condition.path == ("c",)
    assert second.orelse[0].path == ("e",)


def test_brace_on_a_line_of_its_own() -> None:
    assert only("s\n{\n  a: 1\n}\n").body[0].path == ("a",)


def test_sequences() -> None:
    kinds = [value(text) for text in ("[1, 2,]", "(1, 2)", "(1,)", "()", "[]", "(1)")]

    assert [(n.is_list, len(n.items)) if isinstance(n, ast.Sequence) else n.span.text for n in kinds] == [
        (True, 2), (False, 2), (False, 1), (False, 0), (True, 0), "1",
    ]  # fmt: skip


def test_signature() -> None:
    block = only("block f(x: [B, 2 * D], m: bool[B], n: int = 8, a: op = gelu) -> ([B], int[B, S]) { return (x, m) }")

    assert [(p.name, p.type.kind, p.default is not None) for p in block.params] == [
        ("x", "float", False), ("m", "bool", False), ("n", "int", True), ("a", "op", True),
    ]  # fmt: skip
    assert [(r.kind, len(r.dims)) for r in block.results] == [("float", 1), ("int", 2)]
    assert len(block.body[0].values) == 2


def test_spans_are_tight() -> None:
    setting = only("  a.b: f(x, n: 3)  # comment")

    assert setting.span.text == "a.b: f(x, n: 3)"
    assert setting.path_span.text == "a.b"
    assert setting.value.arguments[1].span.text == "n: 3"
    assert setting.value.arguments[1].name_span.text == "n"


def test_columns_count_code_points_after_a_byte_order_mark_and_carriage_returns() -> None:
    sink = Sink()
    parse(Source("t", '\ufeffdsk 1\r\na: "日本語" 1\r\nb: 1\r\n'), sink)

    (finding,) = sink
    assert (finding.span.line, finding.span.column) == (2, 10)


def test_broken_statement_keeps_its_name_and_the_others() -> None:
    sink = Sink()
    file = parse(Source("t", "dsk 1\na: = 1\nb = + / 2\nlet c = ]\nd: 4\n"), sink)

    assert file.broken
    setting, binding, constant, good = file.body
    assert isinstance(setting, ast.Setting)
    assert isinstance(binding, ast.Binding)
    assert isinstance(constant, ast.Let)
    assert isinstance(good, ast.Setting)
    assert (setting.path, binding.names, constant.name) == (("a",), ("b",), "c")
    assert all(isinstance(s.value, ast.Hole) for s in (setting, binding, constant))
    assert [finding.span.line for finding in sink] == [2, 3, 4]


def test_strings() -> None:
    assert value(r'"a\n\"b\"\\"').value == 'a\n"b"\\'  # type: ignore[union-attr]
    assert value('"# no comment {"').value == "# no comment {"  # type: ignore[union-attr]


def test_file_too_large_is_refused_unread() -> None:
    sink = Sink()

    assert decode("big.dsk", b"a" * (MAX_BYTES + 1), sink) is None
    assert [finding.code for finding in sink] == ["E0120"]


def test_deepest_value_is_within_what_recursion_can_walk() -> None:
    def walk(node: ast.Expr) -> int:
        return 1 + max((walk(child) for child in children(node)), default=0)

    text = "1"
    for _ in range(30):
        text = f"f(-{text} + 1)"
    sink = Sink()
    file = parse(Source("t", f"dsk 1\na: {text}\n"), sink)

    assert [finding.code for finding in sink] == ["E0110"]
    assert walk(file.body[0].value) <= 64  # type: ignore[union-attr]


def test_reading_stops_after_many_errors() -> None:
    sink = Sink()
    file = parse(Source("t", "dsk 1\n" + "a 1 2\n" * 1_000), sink)

    assert file.broken
    assert len(sink) <= MAX_ERRORS + 1
    assert [finding.code for finding in sink][-1] == "E0126"


def test_every_form_parses() -> None:
    file = tree((ROOT / "tests" / "parts" / "every_form.dsk").read_text().removeprefix("dsk 1\n"))

    forms = {type(statement) for statement in file.body}
    assert {ast.Import, ast.Let, ast.Extern, ast.Section, ast.Profile} == forms


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.dsk")), ids=lambda path: path.stem)
def test_examples_parse(path: Path) -> None:
    sink = Sink()

    assert parse(Source(path.name, path.read_text()), sink).version == 1
    assert list(sink) == []


def test_tables_are_those_of_the_grammar() -> None:
    assert tables.TABLES.read_text() == tables.render(tables.build()), "run `python -m dskc.dsl.tables`"


def test_parsing_does_not_need_lark() -> None:
    code = "import sys, dskc.dsl.parse; sys.exit('lark' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
