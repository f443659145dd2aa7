"""Cuts against all possible cuts."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from dskc.compiler.pipeline.partition import partition

UNITS = st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 5))), min_size=1, max_size=9)


def scores(work: list[int], crossing: list[int | None], parts: int) -> dict[tuple[int, ...], tuple[int, int, int]]:
    """Largest part, bytes and sum of squares of every way to cut."""
    found = {}
    for first in itertools.combinations([i for i in range(1, len(work)) if crossing[i] is not None], parts - 1):
        sums = [sum(work[a:b]) for a, b in zip((0, *first), (*first, len(work)), strict=True)]
        found[first] = (max(sums), sum(crossing[i] or 0 for i in first), sum(s * s for s in sums))
    return found


@given(UNITS, st.integers(1, 6))
@settings(max_examples=600, deadline=None)
def test_no_other_cut_is_better(units: list[tuple[int, int | None]], parts: int) -> None:
    work, crossing = [w for w, _ in units], [c for _, c in units]
    every = scores(work, crossing, parts)
    found = partition(work, crossing, parts)

    if not every:
        assert found is None
    else:
        assert found is not None
        assert every[found] == min(every.values())


def test_even_parts_of_a_deep_model() -> None:
    work = [0, *[7] * 1000, 20]
    first = partition(work, [None, *[4] * 1001], 8)
    assert first is not None
    sums = [sum(work[a:b]) for a, b in itertools.pairwise((0, *first, len(work)))]

    assert max(sums) == 882  # 126 of 1,000 layers; 7,020 / 8 = 877.5 is no multiple of 7
    assert min(sums) >= 873


def test_an_embedding_and_a_head_count() -> None:
    heavy_head = partition([5, 1, 1, 1, 1, 1, 1, 6], [None, *[1] * 7], 3)

    assert heavy_head == (1, 7)
