"""What to say of a token that does not fit, and where to go on."""

from __future__ import annotations

from typing import Any

from . import ast
from .diagnostics import Fix, Sink
from .expected import MESSAGES, Message
from .lex import Token
from .machine import Machine
from .source import Source, Span

_ENDS = ("_SEP", "LBRACE", "RBRACE", "$END")


def recover(machine: Machine, tokens: list[Token], position: int, sink: Sink) -> int:
    """Reports the token at `position`, readies the machine to go on, and returns where to."""
    token = tokens[position]
    machine.settle()
    message = _message(machine, token)
    span = _place(machine.source, tokens, position)
    insertion = _insertion(message, machine, tokens, position, span)
    if token.kind != "BAD":
        text, help = (part.replace("{token}", _shown(machine.source, token)) for part in (message.text, message.help))
        sink.error(message.code, text, span, help, fix=insertion[0] if insertion else None)
    if insertion:
        tokens.insert(position, insertion[1])
        return position
    while tokens[position].kind not in _ENDS:
        position += 1
    _give_up_statement(machine, tokens[position])
    return position


def _message(machine: Machine, token: Token) -> Message:
    here = machine.messages.get(str(machine.states[-1]), {})
    index = here.get(token.kind, here.get("*"))
    if index is not None:
        return MESSAGES[index]
    return Message("E0108", "{token} does not fit here", "`dskc new` writes a spec that shows every form")


def _place(source: Source, tokens: list[Token], position: int) -> Span:
    """The token itself; for the end of a line or body, the place right after what was read."""
    token = tokens[position]
    before = tokens[position - 1].end if position else 0
    is_end = token.kind in ("_SEP", "$END") and token.payload is None
    if is_end or (token.kind == "RBRACE" and "\n" in source.text[before : token.start]):
        return Span(source, before, before)
    return Span(source, token.start, token.end)


def _shown(source: Source, token: Token) -> str:
    if token.kind == "$END":
        return "end of the file"
    if token.kind == "_SEP" and token.payload is None:
        return "end of the line"
    text = source.text[token.start : token.end] or token.kind
    return f"`{text}`" if len(text) <= 40 else f"`{text[:37]}...`"


def _insertion(
    message: Message, machine: Machine, tokens: list[Token], position: int, span: Span
) -> tuple[Fix, Token] | None:
    """The token that the message says is missing, if the text then goes on."""
    if not message.insert:
        return None
    kind, text = message.insert
    previous = tokens[position - 1].end if position else 0
    # A name starts a statement only where its sign follows; otherwise something else is meant.
    is_name = kind == "_SEP" and tokens[position].kind == "NAME"
    if is_name and tokens[position + 1].kind not in ("COLON", "EQUAL", "LBRACE"):
        return None
    if tokens[position - 1].kind == kind or machine.actions[machine.states[-1]].get(kind) is None:
        return None
    fix = Fix(Span(span.source, previous, previous), text, message.safe)
    return fix, Token(kind, previous, previous, text)


def _give_up_statement(machine: Machine, following: Token) -> None:
    """Takes the broken statement off the stacks and puts what is left of it there, as an ERROR token."""
    popped: list[tuple[Any, int, int]] = []
    while "ERROR" not in machine.actions[machine.states[-1]]:
        popped.append(machine.pop())
    popped.reverse()
    if not popped:
        _blank_before_comma(machine)
    start = popped[0][1] if popped else following.start
    end = popped[-1][2] if popped else following.start
    parts = [] if following.kind == "LBRACE" else [value for value, _, _ in popped]
    rest = _remains(parts, Span(machine.source, start, end))
    machine.shift(machine.actions[machine.states[-1]]["ERROR"], Token("ERROR", start, end, rest))  # type: ignore[arg-type]


def _blank_before_comma(machine: Machine) -> None:
    """In `betas: 0.9, 0.95` the second value misfits; the first is no more than a part of what was meant."""
    if len(machine.values) < 2 or not isinstance(comma := machine.values[-1], Token) or comma.payload != ",":
        return
    before = machine.values[-2]
    statement = before[-1] if type(before) is list else before
    if not isinstance(statement, ast.Setting):
        return
    blank = ast.Setting(statement.path, ast.Hole(statement.value.span), statement.span, statement.path_span)
    if type(before) is list:
        before[-1] = blank
    else:
        machine.values[-2] = blank


def _remains(parts: list[Any], span: Span) -> ast.Statement:
    """The name that a broken statement gave is kept, so that its uses are not reported too."""
    source = span.source
    if len(parts) >= 1 and not isinstance(parts[0], Token):
        whole = parts[0]
        if isinstance(whole, ast.Setting):
            return ast.Setting(whole.path, ast.Hole(span), span, whole.path_span)
        if isinstance(whole, ast.Binding):
            return ast.Binding(whole.names, ast.Hole(span), span, whole.name_spans)
        if isinstance(whole, ast.Let):
            return ast.Let(whole.name, ast.Hole(span), span, whole.name_span)
        if isinstance(whole, ast.Section | ast.Block | ast.Repeat | ast.If | ast.Profile):
            return whole
        return ast.Hole(span)
    first, second = (*parts[:2], None, None)[:2]
    if not isinstance(first, Token) or not isinstance(second, Token):
        return ast.Hole(span)
    place = Span(source, first.start, first.end)
    if first.kind == "NAME" and second.kind == "COLON":
        return ast.Setting(tuple(str(first.payload).split(".")), ast.Hole(span), span, place)
    if first.kind == "NAME" and second.kind == "EQUAL":
        return ast.Binding((str(first.payload),), ast.Hole(span), span, (place,))
    if first.kind == "LET" and second.kind == "NAME":
        place = Span(source, second.start, second.end)
        return ast.Let(str(second.payload), ast.Hole(span), span, place)
    return ast.Hole(span)
