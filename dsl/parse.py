"""Text -> syntax tree. Any text at all gives a tree and findings; a broken statement is a Hole and one message."""

from __future__ import annotations

import gc
from typing import Any

from . import ast
from .diagnostics import Sink
from .layout import arrange
from .lex import scan
from .machine import Machine, tables
from .recover import recover
from .source import Source, Span
from .tree import Builder, Version, add_version

MAX_CHARACTERS = 1024 * 1024
MAX_LINE = 10_000
MAX_ERRORS = 200


def parse(source: Source, sink: Sink) -> ast.File:
    """The tree of a text; what is wrong with it is in the sink."""
    collects = gc.isenabled()
    gc.disable()  # a tree has no cycles; looking for some among its many nodes takes as long as making them
    try:
        return _parse(source, sink)
    finally:
        if collects:
            gc.enable()


def _parse(source: Source, sink: Sink) -> ast.File:
    whole = Span(source, 0, len(source.text))
    found = Sink()
    if not _fits(source, found):
        return _give_up(whole, found, sink)
    tokens = arrange(source, scan(source, found), found)
    if tokens is None or len(found) > MAX_ERRORS:
        return _give_up(whole, found, sink)
    machine = Machine(source, Builder(source, found), tables())
    position = machine.run(tokens, 0)
    budget = 2 * len(tokens)  # recovery moves on or inserts once; the bound makes an error in it end too
    while position >= 0:
        position = machine.run(tokens, recover(machine, tokens, position, found))
        budget -= 1
        if len(found) > MAX_ERRORS or not budget:
            return _give_up(whole, found, sink)
    statements: tuple[Any, ...] = machine.values[-1]
    broken = found.failed
    version = add_version(source, statements, broken, found)
    _hand_over(source, found, sink)
    body = tuple(statement for statement in statements if not isinstance(statement, Version))
    return ast.File(version, body, whole, broken)


def _fits(source: Source, sink: Sink) -> bool:
    """Whether the text is within the limits that keep time and memory bounded."""
    text = source.text
    if len(text) > MAX_CHARACTERS:
        message = f"text has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}"
        sink.error("E0120", message, Span(source, 0, 0), "a spec is a page or two; data belongs in files of its own")
        return False
    previous = 0
    for start in (*source.line_starts[1:], len(text) + 1):
        if start - previous > MAX_LINE + 1:
            message = f"line has {start - previous - 1:,} characters; the limit is {MAX_LINE:,}"
            sink.error("E0120", message, Span(source, previous, previous), "break it into several lines")
            return False
        previous = start
    return True


def _give_up(whole: Span, found: Sink, sink: Sink) -> ast.File:
    _hand_over(whole.source, found, sink)
    return ast.File(None, (), whole, True)


def _hand_over(source: Source, found: Sink, sink: Sink) -> None:
    """Passes on one error of each line, the first to be found: the others on it are mostly its consequences."""
    lines: set[int] = set()
    for earlier in sink:
        if earlier.severity == "error" and earlier.span.source.name == source.name:
            lines.add(earlier.span.line)
    findings = list(found.found.values())
    for finding in findings[:MAX_ERRORS]:
        if finding.severity == "error" and finding.span.line in lines:
            continue
        lines.add(finding.span.line)
        sink.add(finding)
    if len(findings) > MAX_ERRORS:
        message = f"more than {MAX_ERRORS} errors; the rest was left unread"
        sink.error("E0126", message, findings[MAX_ERRORS].span, "mend the others first; is this file a spec?")
