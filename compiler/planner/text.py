"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BYTES: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
SCALES: Final = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def size(amount: float) -> str:
    """Bytes: "71.3 GiB"."""
    for unit, name in BYTES:
        if amount >= unit:
            return f"{amount / unit:.{1 if amount / unit < 100 else 0}f} {name}"
    return f"{amount:.0f} B" if amount else "-"


def duration(seconds: float) -> str:
    """Seconds: "12.3 s", "4.56 ms"."""
    if seconds >= 1:
        return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us" if seconds else "-"


def scaled(number: float) -> str:
    """A count: "1.23 G"."""
    for unit, letter in SCALES:
        if number >= unit:
            return f"{number / unit:.2f} {letter}"
    return f"{number:.0f}"


def share(part: float, whole: float) -> str:
    """A share in per cent; "-" of nothing."""
    return f"{part / whole:.1%}" if whole else "-"


def columns(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table: first column to the left, the others to the right, two spaces between."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    return [line(head), "-" * (sum(widths) + 2 * (len(widths) - 1)), *(line(row) for row in rows)]
