"""One line of a source as a terminal shows it: tabs, wide characters and control characters keep the caret in place."""

from __future__ import annotations

from typing import NamedTuple

from ..source import Source, Span

TAB = 4
WINDOW = 120


class Picture(NamedTuple):
    """A line and the columns under its marked part."""

    text: str
    indent: int
    width: int


def picture(source: Source, span: Span) -> Picture:
    """The first line of a span; a long line is cut around the span."""
    number, column = source.position(span.start)
    line = source.line(number)
    start = column - 1
    end = max(min(start + span.end - span.start, len(line)), start + 1)
    offset = 0
    if len(line) > WINDOW:
        offset = max(0, min(start - WINDOW // 3, len(line) - WINDOW))
    cells = _cells(line[offset : offset + WINDOW])
    head, tail = "…" * bool(offset), "…" * (offset + WINDOW < len(line))
    before = sum(width for _, width in cells[: start - offset])
    under = sum(width for _, width in cells[start - offset : end - offset])
    return Picture(head + "".join(text for text, _ in cells) + tail, len(head) + before, max(under, 1))


def clean(text: str) -> str:
    """Text with control characters made visible, so that a spec cannot steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)


def _cells(text: str) -> list[tuple[str, int]]:
    """What is shown for each character, and how many columns it takes."""
    if text.isascii() and text.isprintable():
        return [(char, 1) for char in text]
    from unicodedata import combining, east_asian_width

    cells: list[tuple[str, int]] = []
    column = 0
    for char in text:
        if char == "\t":
            width = TAB - column % TAB
            shown = " " * width
        elif not char.isprintable():
            shown, width = "\ufffd", 1
        else:
            shown = char
            width = 0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1
        cells.append((shown, width))
        column += width
    return cells
