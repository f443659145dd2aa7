"""Reductions of the parser -> nodes of ast.py: one method per rule of grammar.lark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import ast
from .diagnostics import Fix, Label, Sink
from .lex import Token
from .operators import combine, depth
from .source import Source, Span

MAX_DEPTH = 64
TYPES = ("int", "float", "bool", "string", "op", "any")
TENSORS = ("float", "int", "bool")


@dataclass(frozen=True)
class Version:
    """`dsk 1`."""

    number: int | None
    span: Span


@dataclass(frozen=True)
class _Labelled:
    value: ast.Expr
    label: str | None
    span: Span


class Builder:
    """Makes the node of a rule from its parts: tokens, nodes, and None for what is absent."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self.source = source
        self.sink = sink

    def span(self, token: Token) -> Span:
        """Place of a token."""
        return Span(self.source, token.start, token.end)

    def action(self, rule: str) -> Callable[[list[Any], Span], Any]:
        """The method that makes the node of a rule."""
        method: Callable[[list[Any], Span], Any] = getattr(self, "_" + rule)
        return method

    def word(self, token: Token, what: str) -> str:
        """The text of a name that may not have dots."""
        text = str(token.payload)
        if "." in text:
            self.sink.error(
                "E0116",
                f"{what} `{text}` has a dot in it",
                self.span(token),
                "a dot leads into a section or label; write a single word here",
            )
        return text

    # statements

    def _file(self, parts: list[Any], span: Span) -> tuple[Any, ...]:
        return _present(parts)

    def _body(self, parts: list[Any], span: Span) -> tuple[ast.Statement, ...]:
        for part in parts:
            if isinstance(part, Version):
                self.sink.error(
                    "E0113", "`dsk` is not on the first line", part.span, "move it to the start of the file"
                )
        return tuple(p for p in parts if p is not None and not isinstance(p, Version))

    def _broken(self, parts: list[Any], span: Span) -> ast.Statement:
        return parts[0].payload or ast.Hole(span)

    def _version(self, parts: list[Any], span: Span) -> Version:
        value = parts[0].payload
        return Version(value if isinstance(value, int) and parts[0].unit is None else None, span)

    def _import_(self, parts: list[Any], span: Span) -> ast.Import:
        token = parts[0]
        return ast.Import(str(token.payload), token.kind == "STRING", span)

    def _let(self, parts: list[Any], span: Span) -> ast.Let:
        return ast.Let(self.word(parts[0], "constant"), parts[1], span, self.span(parts[0]))

    def _setting(self, parts: list[Any], span: Span) -> ast.Setting:
        return ast.Setting(tuple(parts[0].payload.split(".")), parts[1], span, self.span(parts[0]))

    def _binding(self, parts: list[Any], span: Span) -> ast.Binding:
        tokens = parts[0] if isinstance(parts[0], tuple) and not isinstance(parts[0], Token) else (parts[0],)
        names = tuple(self.word(token, "binding") for token in tokens)
        return ast.Binding(names, parts[1], span, tuple(map(self.span, tokens)))

    def _names(self, parts: list[Any], span: Span) -> tuple[Token, ...]:
        return _present(parts)

    def _section(self, parts: list[Any], span: Span) -> ast.Section:
        name, title, body = parts
        title_text = self.word(title, "title") if title else None
        title_span = self.span(title) if title else None
        return ast.Section(self.word(name, "section"), title_text, body, span, self.span(name), title_span)

    def _profile(self, parts: list[Any], span: Span) -> ast.Profile:
        return ast.Profile(self.word(parts[0], "profile"), parts[1], span, self.span(parts[0]))

    def _block(self, parts: list[Any], span: Span) -> ast.Block:
        name, params, results, body = parts
        return ast.Block(self.word(name, "block"), params, results, body, span, self.span(name))

    def _forward(self, parts: list[Any], span: Span) -> ast.Block:
        return ast.Block("forward", parts[1], parts[2], parts[3], span, self.span(parts[0]))

    def _extern(self, parts: list[Any], span: Span) -> ast.Extern:
        what, name, target, params, results = parts
        if what.payload != "op":
            where = self.span(what)
            help = 'the form is `extern op name from "file.py:Class" (x: [B, S]) -> [B, S]`'
            self.sink.error("E0108", f"`extern` is followed by `{what.payload}`, not by `op`", where, help)
        return ast.Extern(self.word(name, "op"), str(target.payload), params, results, span, self.span(name))

    def _repeat(self, parts: list[Any], span: Span) -> ast.Repeat:
        return ast.Repeat(parts[0].value, parts[0].label, parts[1], span)

    def _if_(self, parts: list[Any], span: Span) -> ast.If:
        condition, body, orelse = parts
        if isinstance(orelse, ast.If):
            orelse = (orelse,)
        return ast.If(condition, body, orelse or (), span)

    def _return_(self, parts: list[Any], span: Span) -> ast.Return:
        value = parts[0]
        several = isinstance(value, ast.Sequence) and not value.is_list
        return ast.Return(value.items if several else (value,), span)

    def _objective(self, parts: list[Any], span: Span) -> ast.Objective:
        kind, options, labelled = parts
        return ast.Objective(str(kind.payload), labelled.value, options or (), labelled.label, span)

    # signatures

    def _params(self, parts: list[Any], span: Span) -> tuple[ast.Param, ...]:
        params: tuple[ast.Param, ...] = _present(parts)
        self._unique([(param.name, param.span) for param in params], "parameter")
        return params

    def _param(self, parts: list[Any], span: Span) -> ast.Param:
        return ast.Param(self.word(parts[0], "parameter"), parts[1], parts[2], span)

    def _results(self, parts: list[Any], span: Span) -> tuple[ast.TensorType, ...]:
        return _present(parts)

    def _scalar(self, parts: list[Any], span: Span) -> ast.ScalarType:
        kind = str(parts[0].payload)
        if kind not in TYPES:
            listed = ", ".join(f"`{name}`" for name in TYPES)
            self.sink.error(
                "E0114", f"unknown type `{kind}`", span, f"a type is a shape such as `[B, S, D]`, or {listed}"
            )
            kind = "any"
        return ast.ScalarType(kind, span)

    def _tensor(self, parts: list[Any], span: Span) -> ast.TensorType:
        kind = str(parts[0].payload) if parts[0] else "float"
        if kind not in TENSORS:
            help = "elements of a tensor are `int`, `bool` or, with nothing before the `[`, float"
            self.sink.error("E0114", f"unknown type `{kind}[...]`", self.span(parts[0]), help)
            kind = "float"
        return ast.TensorType(kind, _present(parts[1:]), span)

    # values

    def _value(self, parts: list[Any], span: Span) -> ast.Expr:
        if len(parts) == 1:
            return self._checked(self._primary(parts[0]), span)
        return self._checked(combine(self._operands(parts), self.source, self.sink), span)

    def _labelled(self, parts: list[Any], span: Span) -> _Labelled:
        if len(parts) > 2 and _is(parts[-2], "AS"):
            label = self.word(parts[-1], "label")
            last = parts[-3]
            end = last.end if isinstance(last, Token) else last.span.end
            return _Labelled(self._value(parts[:-2], Span(self.source, span.start, end)), label, span)
        return _Labelled(self._value(parts, span), None, span)

    def _call(self, parts: list[Any], span: Span) -> ast.Call:
        arguments = tuple(self._argument(part) for part in parts[1:] if part is not None)
        named = [(a.name, a.name_span) for a in arguments if a.name and a.name_span]
        self._unique(named, "argument")
        self._positional_first(arguments)
        return ast.Call(self._name(parts[0]), arguments, None, None, span)

    def _options(self, parts: list[Any], span: Span) -> tuple[ast.Argument, ...]:
        options: tuple[ast.Argument, ...] = tuple(parts)
        self._unique([(o.name, o.name_span) for o in options if o.name and o.name_span], "option")
        return options

    def _option(self, parts: list[Any], span: Span) -> ast.Argument:
        return ast.Argument(self.word(parts[0], "argument"), parts[1], span, self.span(parts[0]))

    def _list(self, parts: list[Any], span: Span) -> ast.Sequence:
        return ast.Sequence(_present(parts), True, span)

    def _tuple(self, parts: list[Any], span: Span) -> ast.Expr:
        items = [part for part in parts if part is not None]
        if items and _is(items[-1], "COMMA"):
            items.pop()
        elif len(items) == 1:
            only: ast.Expr = items[0]
            return only
        return ast.Sequence(tuple(items), False, span)

    def _argument(self, part: Any) -> ast.Argument:
        return part if isinstance(part, ast.Argument) else ast.Argument(None, part, part.span)

    def _positional_first(self, arguments: tuple[ast.Argument, ...]) -> None:
        named: ast.Argument | None = None
        for argument in arguments:
            if argument.name:
                named = named or argument
            elif named and not isinstance(argument.value, ast.Hole):
                labels = (Label(named.span, "named argument before it"),)
                help = "put it before the named arguments, or name it"
                self.sink.error("E0119", "argument without a name after a named one", argument.span, help, labels)
                return

    def _unique(self, names: list[tuple[str, Span]], what: str) -> None:
        if len(names) < 2:
            return
        seen: dict[str, Span] = {}
        for name, span in names:
            if name in seen:
                label = Label(seen[name], "first given here")
                self.sink.error("E0118", f"{what} `{name}` is given twice", span, "remove one of the two", (label,))
            seen.setdefault(name, span)

    def _operands(self, parts: list[Any]) -> list[Any]:
        """The parts with every operand one node: `f(x) as y` becomes a labelled call."""
        result: list[Any] = []
        position = 0
        while position < len(parts):
            part = parts[position]
            position += 1
            if isinstance(part, Token):
                if part.kind in ("AS", "SHARE"):
                    result[-1] = self._tail(result[-1], part, parts[position])
                    position += 1
                    continue
                if part.kind in ("SIGN", "OPERATOR", "NOT"):
                    result.append(part)
                    continue
            result.append(self._primary(part))
        return result

    def _tail(self, operand: ast.Expr, word: Token, name: Token) -> ast.Expr:
        if isinstance(operand, ast.Hole):
            return operand
        text = "as" if word.kind == "AS" else "share"
        where = self.span(word).to(self.span(name))
        if not isinstance(operand, ast.Call):
            help = "a label names a call: `linear(x, out: 8) as head`" if text == "as" else "put it after a call"
            self.sink.error("E0115", f"`{text}` follows something that is not a call", where, help)
            return operand
        if (operand.label if text == "as" else operand.share) is not None:
            self.sink.error("E0115", f"call has two `{text}`", where, "remove one of the two")
            return operand
        label, label_span, share = operand.label, operand.label_span, operand.share
        if text == "as":
            label, label_span = self.word(name, "label"), self.span(name)
        else:
            share = self._name(name)
        return ast.Call(operand.function, operand.arguments, label, share, operand.span.to(where), label_span)

    def _primary(self, part: Any) -> ast.Expr:
        if not isinstance(part, Token):
            node: ast.Expr = part
            return node
        span = Span(self.source, part.start, part.end)
        if part.kind == "NUMBER":
            assert isinstance(part.payload, int | float)
            return ast.Number(part.payload, part.unit, span)
        if part.kind == "NAME":
            return ast.Name(tuple(str(part.payload).split(".")), span)
        if part.kind == "BAD":
            return ast.Hole(span)
        assert part.payload is None or isinstance(part.payload, str | bool)
        return ast.Literal(part.payload, span)

    def _name(self, token: Token) -> ast.Name:
        return ast.Name(tuple(str(token.payload).split(".")), self.span(token))

    def _checked(self, value: ast.Expr, span: Span) -> ast.Expr:
        """Values deeper than what every later stage can walk are refused; a short text cannot be deep."""
        if span.end - span.start <= MAX_DEPTH or depth(value) <= MAX_DEPTH:
            return value
        self.sink.error(
            "E0110", f"value is nested more than {MAX_DEPTH} deep", span, "name a part of it with `name = ...` or `let`"
        )
        return ast.Hole(span)


def add_version(source: Source, statements: tuple[Any, ...], broken: bool, sink: Sink) -> int | None:
    """Checks the `dsk 1` line and returns its number."""
    versions = [statement for statement in statements if isinstance(statement, Version)]
    if not versions:
        if not broken:
            start = Span(source, 0, 0)
            fix = Fix(_first_line(source), "dsk 1\n\n")
            sink.error("E0111", "the version of the language is missing", start, "start the file with `dsk 1`", fix=fix)
        return None
    first = versions[0]
    for other in versions[1:]:
        label = Label(first.span, "first given here")
        sink.error("E0113", "`dsk` is given twice", other.span, "remove one of the two", (label,))
    if statements[0] is not first and not isinstance(statements[0], ast.Hole):
        sink.error("E0113", "`dsk` is not the first statement", first.span, "move it to the start of the file")
    if first.number != 1:
        help = "this compiler reads version 1" if first.number is None else "this compiler reads version 1; update dskc"
        if first.number is not None and first.number < 1:
            help = "the first version is 1"
        sink.error("E0112", f"`{first.span.text}` is not a version of the language", first.span, help)
    return first.number


def _first_line(source: Source) -> Span:
    """Where the first statement may go: after the comments that head the file."""
    number = 1
    while number <= len(source.line_starts) and source.line(number).lstrip("\ufeff \t").startswith("#"):
        number += 1
    at = source.line_starts[number - 1] if number <= len(source.line_starts) else len(source.text)
    if at == 0 and source.text.startswith("\ufeff"):
        at = 1
    return Span(source, at, at)


def _present(parts: list[Any]) -> tuple[Any, ...]:
    return tuple(part for part in parts if part is not None)


def _is(part: Any, kind: str) -> bool:
    return isinstance(part, Token) and part.kind == kind
