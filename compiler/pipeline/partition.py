"""Where to cut: the sequence of indivisible units into parts whose largest is as small as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

Score = tuple[int, int]


def partition(work: Sequence[int], crossing: Sequence[int | None], parts: int) -> tuple[int, ...] | None:
    """First unit of each part after the first, so that the largest part's work is least; None where there is no way.

    `work[i]` is the work of unit i, `crossing[i]` the bytes that cross a cut before it, None where none is allowed.
    Among the ways with the least largest part, the one over whose cuts the fewest bytes cross, and among those the
    one whose parts are the most even (least sum of squares). All three are exact: the first is found by bisection
    over a greedy cover, the others by dynamic programming over the cuts that keep to it.
    """
    sums = [0, *accumulate(work)]
    allowed = [True, *(c is not None for c in crossing[1:]), True]
    if sum(allowed[1:-1]) < parts - 1:
        return None
    low, high = max(work), sums[-1]
    while low < high:
        middle = (low + high) // 2
        if _reaches(sums, allowed, parts, middle):
            high = middle
        else:
            low = middle + 1
    return _cheapest(sums, allowed, crossing, parts, low)


def _reaches(sums: Sequence[int], allowed: Sequence[bool], parts: int, limit: int) -> bool:
    """Whether at most so many parts below the limit cover all units; fewer can always be cut further."""
    ends = _farthest(sums, allowed, limit)
    at = 0
    for _ in range(parts):
        at = ends[at]
        if at == len(sums) - 1:
            return True
    return False


def _farthest(sums: Sequence[int], allowed: Sequence[bool], limit: int) -> list[int]:
    """For each start, the last end of a part within the limit; the start itself where there is none."""
    ends = []
    end = 0
    for start in range(len(sums)):
        end = max(end, start)
        while end + 1 < len(sums) and sums[end + 1] - sums[start] <= limit:
            end += 1
        ends.append(end)
    back = list(range(len(sums)))
    for i in range(1, len(sums)):
        back[i] = i if allowed[i] else back[i - 1]
    return [max(start, back[end]) for start, end in enumerate(ends)]


def _cheapest(
    sums: Sequence[int], allowed: Sequence[bool], crossing: Sequence[int | None], parts: int, limit: int
) -> tuple[int, ...]:
    """The cuts of least (bytes, sum of squares) whose parts keep to the limit."""
    last = len(sums) - 1
    cuts = [i for i in range(len(sums)) if allowed[i]]
    lowest, highest = _bounds(sums, allowed, parts, limit)
    best: dict[int, Score] = {0: (0, 0)}
    came: list[dict[int, int]] = []
    for part in range(1, parts + 1):
        following: dict[int, Score] = {}
        source: dict[int, int] = {}
        for end in (i for i in cuts if lowest[part] <= i <= highest[part]):
            price = (crossing[end] or 0) if end < last else 0
            for start, score in best.items():
                amount = sums[end] - sums[start]
                if start < end and amount <= limit:
                    found = (score[0] + price, score[1] + amount * amount)
                    if end not in following or found < following[end]:
                        following[end], source[end] = found, start
        best = following
        came.append(source)
    chosen = [last]
    for source in reversed(came):
        chosen.append(source[chosen[-1]])
    return tuple(reversed(chosen[1:-1]))


def _bounds(sums: Sequence[int], allowed: Sequence[bool], parts: int, limit: int) -> tuple[list[int], list[int]]:
    """The first and last place where each part can end, so that the parts before and after it keep to the limit."""
    last = len(sums) - 1
    cuts = [i for i in range(len(sums)) if allowed[i]]
    ends = _farthest(sums, allowed, limit)
    highest = [0]
    for _ in range(parts):
        highest.append(ends[highest[-1]])
    mirrored = [sums[-1] - s for s in reversed(sums)]
    back = _farthest(mirrored, list(reversed(allowed)), limit)
    lowest = [0]
    for _ in range(parts):
        lowest.append(back[lowest[-1]])
    lowest = [last - i for i in reversed(lowest)]
    for part in range(parts + 1):  # every part has a unit
        highest[part] = min(highest[part], cuts[len(cuts) - 1 - (parts - part)])
        lowest[part] = max(lowest[part], cuts[part])
    return lowest, highest
