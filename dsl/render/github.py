"""Findings as workflow commands, which GitHub shows beside the changed lines."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnostics import Diagnostic


def render(findings: Sequence[Diagnostic]) -> str:
    """`::error file=...,line=...::message`."""
    return "".join(_command(finding) + "\n" for finding in findings)


def _command(finding: Diagnostic) -> str:
    span = finding.span
    end_line, end_column = span.source.position(span.end)
    properties = {
        "file": span.source.name,
        "line": span.line,
        "col": span.column,
        "endLine": end_line,
        "endColumn": end_column,
        "title": finding.code,
    }
    listed = ",".join(f"{name}={_escape(str(value), ':,')}" for name, value in properties.items())
    text = finding.message + (f"\n{finding.help}" if finding.help else "")
    return f"::{finding.severity} {listed}::{_escape(text)}"


def _escape(text: str, more: str = "") -> str:
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
