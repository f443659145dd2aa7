"""A spec made small keeps its structure, and every axis of its layout."""

from __future__ import annotations

import pytest

from dskc.compiler.build import check
from dskc.compiler.layout import Layout
from dskc.compiler.shrink import Small, shrink, smaller, structure
from tests.emission.compiled import EXAMPLES, example

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.dsk"))


@pytest.mark.parametrize("name", NAMES)
def test_small_specs_have_the_structure_of_the_large(name: str) -> None:
    large = check(example(name), None, ())
    small = shrink(example(name), None, () if name == "dense_100b" else ("parallel.world_size=2",))
    assert isinstance(small, Small)
    again = check(small.source, small.profile, small.settings)

    assert large.lowered is not None
    assert again.lowered is not None
    assert structure(again.lowered) == structure(large.lowered)
    assert all(after < before for _, before, after in small.changed)
    assert small.changed


@pytest.mark.parametrize("axes", [(1, 256, 1), (8, 8, 4), (1, 6, 3), (2, 3, 5), (16, 1, 1), (2, 2, 2), (1, 1, 9)])
def test_layouts_fit_eight_ranks(axes: tuple[int, int, int]) -> None:
    pipeline, data, tensor = axes
    found = smaller(Layout(pipeline=pipeline, data=data, tensor=tensor))

    assert found.world <= 8
    for before, after in zip(axes, (found.pipeline, found.data, found.tensor), strict=True):
        assert (after > 1) == (before > 1)
        assert after <= before


def test_an_error_of_the_spec_is_told() -> None:
    found = shrink(example("stdlib_gpt"), None, ("model.dim=255", "parallel.world_size=2"))

    assert not isinstance(found, Small)
    assert found.failed
