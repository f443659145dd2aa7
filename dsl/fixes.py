"""Applies the safe fixes of findings to a text."""

from __future__ import annotations

from collections.abc import Iterable

from .diagnostics import Diagnostic
from .source import Source


def apply_fixes(source: Source, findings: Iterable[Diagnostic]) -> tuple[str, int]:
    """The text with every safe fix in it, and how many; of two that overlap only the first is made."""
    fixes = {f.fix for f in findings if f.fix and f.fix.safe and f.fix.span.source is source}
    parts: list[str] = []
    at = made = 0
    for fix in sorted(fixes, key=lambda fix: (fix.span.start, fix.span.end)):
        if fix.span.start < at or (made and fix.span.start == at):
            continue
        parts += [source.text[at : fix.span.start], fix.replacement]
        at = fix.span.end
        made += 1
    return "".join(parts) + source.text[at:], made
