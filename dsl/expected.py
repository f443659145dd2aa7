"""What to say of a token that does not fit, by examples: tables.py finds the parser states that they lead to.

`examples` are broken texts whose first misfit the message is about (Pottier, "Reachability and error diagnosis in
LR(1) parsers", 2016); each is tried at every place where a statement may stand. `insert` is the token that is missing,
when adding it lets the text go on.
"""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """A message for misfits; in the texts `{token}` is the misfit. `others`: holds for any token in that state."""

    code: str
    text: str
    help: str
    examples: tuple[str, ...] = ()
    insert: tuple[str, str] | None = None
    safe: bool = False
    others: bool = False


_STATEMENT = "a statement is `name: value` (a setting), `name = value` (a binding), or a section `name { }`"
_PARENTHESES = "several values are written `(0.9, 0.95)` or `[1, 2]`, digits are grouped by `_`: `1_000`"
_LINES = "to go on in the next line, put the value in `( )`"

MESSAGES: tuple[Message, ...] = (
    # after the first word of a statement
    Message(
        "E0109",
        "setting needs `:` after its name",
        "write `name: value`",
        ("a 32", 'a "x"', "a true", "a [1]", "a not b"),
        ("COLON", ":"),
        safe=True,
    ),
    Message("E0109", "`:` or `=` is missing after the name", _STATEMENT, ("a", "a b", "a }"), others=True),
    Message("E0123", "call alone does nothing", "bind its result: `name = f(x)`", ("f(x)", "f()")),
    Message("E0123", "value alone does nothing", _STATEMENT, ("a + b", "a * b", "a.b + c", "a -1")),
    Message("E0108", "statement cannot start with {token}", _STATEMENT, ("* 3",), others=True),
    Message("E0123", "value alone does nothing", _STATEMENT + "; " + _PARENTHESES, ("32", '"x"', "true", "[1]", "-1")),
    Message("E0109", "name is missing before {token}", _STATEMENT, (": 3", "= 3")),
    Message(
        "E0125", "`else` has no `if` before it", "write `if condition { } else { }`", ("else { }", "else if a { }")
    ),
    Message("E0108", "`{` has no name before it", "a section is `name { }`", ("{ }",)),
    # a value
    Message(
        "E0121",
        "value is missing after `:`",
        "write one after it, or remove the setting",
        ("a:", "a: }"),
        others=True,
    ),
    Message("E0108", "section has no `:` after its name", "write `name { }`", ("a: { }", "a: {")),
    Message("E0121", "value is missing after `=`", "write one after it", ("a =", "a = }", "let a ="), others=True),
    Message("E0108", "{token} after `:`", "a setting has `:`, a binding `=`", ("a: = 3", "a: : 3")),
    Message("E0108", "{token} after `=`", "a binding has one `=`, a comparison `==`", ("a = = 3", "a = : 3")),
    Message("E0121", "value is missing after the operator", _LINES, ("a: 1 +", "a: 2 *", "a = b and"), others=True),
    Message("E0121", "value is missing after the operator", _LINES, ("a: not", "a: -", "a = x + -"), others=True),
    Message("E0121", "value is missing before {token}", "write one on both sides of it", ("a: * 3", "a = / 3")),
    # after a complete statement
    Message(
        "E0122",
        "comma or new line is missing before {token}",
        "put each statement on a line of its own",
        (
            "a: 1 b: 2",
            "a = x let y = 1",
            "s { } t { }",
            "a: 1 if b { }",
            "a: 1 repeat 3 { }",
            "a = b return c",
            "a = b loss c",
            "s { } block x() { }",
            "s { } forward() { }",
            's { } import "x"',
            "a: 1 profile x { }",
        ),
        ("_SEP", ","),
        safe=True,
    ),
    Message("E0122", "value ends before {token}", _PARENTHESES, ("a: 1 2", "a: x true"), others=True),
    Message("E0108", "value has `=` in it", "a comparison is `==`", ("a: b = c", "a = b = c")),
    Message("E0108", "value has `:` in it", "a named argument stands in a call: `f(name: value)`", ("a = b : c",)),
    Message("E0108", "value is followed by `{`", "only a section, block, `if` or `repeat` has `{ }`", ("a: 1 { }",)),
    Message("E0108", "value has `->` in it", "`->` gives the result of a `block`", ("a: 1 -> 2",)),
    Message("E0108", "value is followed by `[`", "there is no indexing; `slice` takes a part", ("a = b[0]",)),
    Message("E0108", "{token} after a value", "a call names its function directly: `f(x)`", ("a = (b)(c)",)),
    # in brackets
    Message(
        "E0122",
        "comma is missing before {token}",
        "separate the arguments with commas",
        ("a = f(x y)", "a = f(x: 1 y: 2)", "a = f(x, y z)", "a = f(1 2)", "a = f(x, 1 2)", "a = f(x, y: 1 z: 2)"),
        ("COMMA", ","),
    ),
    Message(
        "E0122",
        "comma is missing before {token}",
        "separate the arguments with commas",
        ("a = f(x : y : z)",),
        others=True,
    ),
    Message(
        "E0122",
        "comma is missing before {token}",
        "separate the arguments with commas",
        ("a = f(x, y = 1)",),
        others=True,
    ),
    Message(
        "E0109",
        "named argument is written with `=`",
        "write `f(name: value)`",
        ("a = f(x = 1)", "a = f(y, x = 1)", "a = f(y: 1, x = 1)"),
    ),
    Message(
        "E0121",
        "argument is missing before {token}",
        "remove a comma or add an argument",
        ("a = f(,)", "a = f(x,,)", "a = f(* 3)", "a = f(x, y: 1,,)"),
        others=True,
    ),
    Message("E0121", "value is missing after `:`", "write `name: value`", ("a = f(x:)", "a = f(x, y: )"), others=True),
    Message(
        "E0122",
        "comma is missing before {token}",
        "separate the values with commas",
        ("a: [1 2]", "a: [1, 2 3]", "a: [x y]", "a: [x, y z]"),
        ("COMMA", ","),
        safe=True,
    ),
    Message(
        "E0121", "value is missing before {token}", "remove a comma or add a value", ("a: [,]", "a: [1,,]"), others=True
    ),
    Message(
        "E0122",
        "comma is missing before {token}",
        "separate the values with commas",
        ("a: (1 2)", "a: (1, 2 3)", "a: (x y)", "a: (x, y z)"),
        ("COMMA", ","),
    ),
    Message(
        "E0121", "value is missing before {token}", "remove a comma or add a value", ("a: (,)", "a: (1,,)"), others=True
    ),
    Message(
        "E0108",
        "tuple has a named value",
        "only a call has named arguments: `kind(name: value)`",
        ("a: (x: 1)", "a: (x, y: 1)", "a: [x: 1]", "a: [x, y: 1]"),
    ),
    Message(
        "E0122",
        "comma is missing before {token}",
        "separate the sizes with commas",
        (
            "block a(x: [B S]) { }",
            "block a(x: int[B S]) { }",
            "block a(x: [B, S D]) { }",
            "block a(x: int[B, S D]) { }",
        ),
        ("COMMA", ","),
        safe=True,
    ),
    Message("E0108", "condition has `=` in it", "a comparison is `==`", ("if a = 3 { }",)),
    # names and headers
    Message("E0124", "name is missing after `let`", "write `let name = value`", ("let 3", "let"), others=True),
    Message(
        "E0109", "`let` needs `=` after its name", "write `let name = value`", ("let a 3",), ("EQUAL", "="), safe=True
    ),
    Message("E0109", "`let` needs `=` after its name", "write `let name = value`", ("let a",), others=True),
    Message(
        "E0124",
        "`import` needs a name or a file",
        'write `import std.transformer` or `import "blocks.dsk"`',
        ("import 3", "import"),
        others=True,
    ),
    Message("E0124", "`block` needs a name", "write `block name(x: [B, S, D]) { }`", ("block (x) { }",), others=True),
    Message(
        "E0124",
        "`block` needs its inputs after its name",
        "write `block name(x: [B, S, D]) { }`",
        ("block a { }", "block a"),
        others=True,
    ),
    Message(
        "E0124",
        "`forward` needs its inputs",
        "write `forward(tokens: int[B, S]) { }`",
        ("forward { }", "forward"),
        others=True,
    ),
    Message(
        "E0124",
        "parameter needs a type",
        "write `x: [B, S, D]` or `heads: int`",
        ("block a(x) { }", "block a(x, y) { }", "block a(x: [B], y) { }", "forward(x) { }"),
        others=True,
    ),
    Message(
        "E0124",
        "parameter needs a type after `:`",
        "write `x: [B, S, D]` or `heads: int`",
        ("block a(x: ) { }", "block a(x: 3) { }"),
        others=True,
    ),
    Message(
        "E0124",
        "parameter needs a name",
        "write `x: [B, S, D]` or `heads: int`",
        ("block a([B]) { }", "block a(x: int, [B]) { }", "block a(,) { }"),
        others=True,
    ),
    Message(
        "E0122",
        "comma is missing before {token}",
        "separate the parameters with commas",
        ("block a(x: int y: int) { }", "block a(x: [B] y: int) { }", "block a(x: int, y: int z: int) { }"),
        ("COMMA", ","),
        safe=True,
    ),
    Message("E0124", "body `{ }` is missing", "write `block name(...) { }`", ("block a()", "forward()"), others=True),
    Message(
        "E0124",
        "result needs a shape after `->`",
        "write `-> [B, S, D]` or `-> ([B, S], [B])`",
        ("block a() -> { }", "block a() -> (3)", "block a() -> ([B], 3)"),
        others=True,
    ),
    Message("E0124", "`repeat` needs a count", "write `repeat 6 as layers { }`", ("repeat { }", "repeat"), others=True),
    Message(
        "E0124", "`repeat` needs a body", "write `repeat 6 as layers { }`", ("repeat 6", "repeat a as b"), others=True
    ),
    Message("E0124", "`if` needs a condition", "write `if condition { }`", ("if { }", "if"), others=True),
    Message("E0124", "`if` needs a body", "write `if condition { }`", ("if a", "if a b { }"), others=True),
    Message(
        "E0124",
        "`else` needs a body",
        "write `else { }` or `else if condition { }`",
        ("if a { } else if",),
        others=True,
    ),
    Message(
        "E0121",
        "value is missing after `return`",
        "write `return x` or `return (x, y)`",
        ("return", "return }"),
        others=True,
    ),
    Message(
        "E0121",
        "value is missing",
        "write `loss cross_entropy(logits, targets)`",
        ("loss", "metric", "exit }", "loss(weight: 1)"),
        others=True,
    ),
    Message(
        "E0124",
        "`profile` needs a name",
        "write `profile name { section.setting: value }`",
        ("profile { }", "profile"),
        others=True,
    ),
    Message(
        "E0124",
        "`profile` needs a body",
        "write `profile name { section.setting: value }`",
        ("profile a",),
        others=True,
    ),
    Message(
        "E0124",
        "`extern` needs a name and a file",
        'the form is `extern op name from "file.py:Class" (x: [B, S]) -> [B, S]`',
        ("extern", "extern op", "extern op a", "extern op a from 3", 'extern op a from "x"'),
        others=True,
    ),
    Message("E0112", "`dsk` is followed by the number of the version", "write `dsk 1`", ("dsk", "dsk x"), others=True),
    Message("E0108", "`as` needs a label", "write `f(x) as name`", ("a = f(x) as", "a = f(x) as 3"), others=True),
    Message("E0108", "`share` needs a label", "write `f(x) share name`", ("a = f(x) share",), others=True),
    Message(
        "E0124", "several names on the left need `=`", "write `(a, b) = f(x)`", ("(a, b)", "(a, b): 3"), others=True
    ),
    Message(
        "E0124",
        "several names on the left are `(a, b)`",
        "write `(a, b) = f(x)`",
        ("(1, 2)", "(a + b)", "(a, 3)", "(f(x))"),
        others=True,
    ),
)
