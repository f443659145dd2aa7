"""Findings as JSON; fields are only added within one major `format_version`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..diagnostics import Diagnostic
from ..source import Span

FORMAT_VERSION = "1.0"


def render(findings: Sequence[Diagnostic]) -> str:
    """Every finding; lines and columns from 1, columns and offsets in code points, ends exclusive."""
    data = {"format_version": FORMAT_VERSION, "diagnostics": [_finding(finding) for finding in findings]}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _finding(finding: Diagnostic) -> dict[str, Any]:
    fix = finding.fix
    return {
        "code": finding.code,
        "severity": finding.severity,
        "message": finding.message,
        "help": finding.help,
        "range": _range(finding.span),
        "labels": [{"message": label.message, "range": _range(label.span)} for label in finding.labels],
        "fix": fix and {"range": _range(fix.span), "replacement": fix.replacement, "safe": fix.safe},
    }


def _range(span: Span) -> dict[str, Any]:
    def place(offset: int) -> dict[str, int]:
        line, column = span.source.position(offset)
        return {"line": line, "column": column, "offset": offset}

    return {"file": span.source.name, "start": place(span.start), "end": place(span.end)}
