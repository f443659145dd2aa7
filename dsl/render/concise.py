"""One line per finding."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnostics import Diagnostic
from .line import clean


def render(findings: Sequence[Diagnostic]) -> str:
    """`file:line:column: error[E0203]: message`."""
    return "".join(
        f"{clean(f.span.source.name)}:{f.span.line}:{f.span.column}: {f.severity}[{f.code}]: {clean(f.message)}\n"
        for f in findings
    )
