"""Findings with the lines that they are about, for people."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnostics import Diagnostic
from ..source import Source, Span
from .line import Picture, clean, picture

SHOWN = 20

_RED, _YELLOW, _BLUE, _BOLD, _PLAIN = "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"


def render(findings: Sequence[Diagnostic], color: bool) -> str:
    """The first `SHOWN` findings, then how many more there are."""
    blocks = [_block(finding, color) for finding in findings[:SHOWN]]
    if len(findings) > SHOWN:
        blocks.append(f"... and {len(findings) - SHOWN} more\n")
    return "\n".join(blocks)


def _block(finding: Diagnostic, color: bool) -> str:
    def paint(style: str, text: str) -> str:
        return f"{style}{text}{_PLAIN}" if color and text else text

    tone = _RED if finding.severity == "error" else _YELLOW
    marks: dict[Source, list[tuple[Span, str, bool]]] = {finding.span.source: [(finding.span, "", True)]}
    for label in finding.labels:
        marks.setdefault(label.span.source, []).append((label.span, label.message, False))
    width = max(len(str(span.line)) for group in marks.values() for span, _, _ in group)
    margin = " " * width
    bar = paint(_BLUE, f"{margin} |")
    lines = [paint(tone, f"{finding.severity}[{finding.code}]") + paint(_BOLD, f": {clean(finding.message)}")]
    for source, group in marks.items():
        arrow = "-->" if source is finding.span.source else ":::"
        first = group[0][0]
        lines.append(f"{margin}{paint(_BLUE, arrow)} {clean(source.name)}:{first.line}:{first.column}")
        if not source.text:
            continue
        lines.append(bar)
        previous = 0
        for span, message, is_primary in sorted(group, key=lambda mark: mark[0].start):
            if span.line != previous:
                if previous and span.line > previous + 1:
                    lines.append(paint(_BLUE, "..."))
                shown = picture(source, span)
                lines.append(f"{paint(_BLUE, f'{span.line:>{width}} |')} {shown.text}".rstrip())
            else:
                shown = picture(source, span)
            lines.append(f"{bar} {_underline(shown, message, is_primary, tone if is_primary else _BLUE, paint)}")
            previous = span.line
    if finding.help:
        lines.append(f"{margin} {paint(_BLUE, '=')} help: {clean(finding.help)}")
    lines.append(f"{margin} {paint(_BLUE, '=')} explain: dskc explain {finding.code}")
    return "\n".join(lines) + "\n"


def _underline(shown: Picture, message: str, is_primary: bool, tone: str, paint: object) -> str:
    mark = ("^" if is_primary else "-") * shown.width + (f" {clean(message)}" if message else "")
    return " " * shown.indent + paint(tone, mark)  # type: ignore[operator, no-any-return]
