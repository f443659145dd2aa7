"""The known name that a wrong one was most likely meant to be."""

from __future__ import annotations

from collections.abc import Iterable

from .diagnostics import Fix
from .source import Span


def distance(left: str, right: str) -> int:
    """Edits from one word to the other: insert, remove, replace, or swap two neighbours."""
    before: list[int] = []
    last = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        row = [i]
        for j, b in enumerate(right, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (a != b)))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                row[-1] = min(row[-1], before[j - 2] + 1)
        before, last = last, row
    return last[-1]


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The closest name within a third of the word's length, whatever its case; None when there is none."""
    if len(word) > 64:
        return None
    limit = (len(word) + 1) // 3
    near = [name for name in names if abs(len(name) - len(word)) <= limit]
    ranked = sorted((distance(word.lower(), name.lower()), distance(word, name), name) for name in near)
    return ranked[0][2] if ranked and ranked[0][0] <= limit else None


def correction(word: str, names: Iterable[str], span: Span) -> Fix | None:
    """Replaces the word by the nearest name; safe when no other name is a single edit away."""
    names = tuple(names)
    name = nearest(word, names)
    if name is None:
        return None
    close = [other for other in names if abs(len(other) - len(word)) <= 1 and distance(word, other) <= 1]
    return Fix(span, name, safe=len(word) > 2 and close == [name])
