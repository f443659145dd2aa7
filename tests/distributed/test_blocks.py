"""The samples of each rank, and means over all of them."""

from __future__ import annotations

from math import lcm
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dskc.runtime import arrays, blocks, evaluate, packing
from dskc.runtime.layout import Layout
from dskc.runtime.mesh import Axis, Mesh

from . import ranks
from .models import CPU


def axis(size: int, index: int) -> Axis:
    made = Axis("data", size)
    made._join(None, index)
    return made


SETS = {
    "tokens": packing.Tokens([np.arange(171, dtype=np.uint16), np.arange(65, dtype=np.uint16)], 8, 3, "t", CPU),
    "arrays": arrays.Arrays({"x": torch.arange(37.0)}, 3),
    "random": arrays.Random({"x": arrays.Field((2,))}, 37, 3, CPU),
}


@pytest.mark.parametrize("name", SETS)
def test_the_blocks_of_all_ranks_are_the_batch_of_one_process(name: str) -> None:
    samples: Any = SETS[name]
    for first in (0, 12, 36, 1_000):
        whole = samples.batch(first, 12)
        for field, values in whole.items():
            parts = [samples.batch(first, 3, axis(4, index))[field] for index in range(4)]
            assert torch.equal(torch.cat(parts), values)


@settings(max_examples=200, deadline=None)
@given(count=st.integers(1, 60), size=st.integers(1, 5), ranks_=st.integers(1, 12))
def test_in_order_each_sample_counts_once(count: int, size: int, ranks_: int) -> None:
    weights = np.zeros(count)
    for batch in zip(*(blocks.in_order(count, size, axis(ranks_, i)) for i in range(ranks_)), strict=True):
        assert len({samples for samples, _ in batch}) == 1
        assert len({len(ids) for _, ids in batch}) == 1
        assert len(batch[0][1]) <= size
        for samples, ids in batch:
            weights[ids] += samples / (len(ids) * ranks_)
    np.testing.assert_allclose(weights, 1.0)


def test_a_last_batch_smaller_than_the_ranks_takes_few_passes() -> None:
    assert len(list(blocks.in_order(64 + 63, 1, axis(64, 0)))) == 1 + 6


@pytest.mark.parametrize("name", SETS)
def test_in_blocks_gives_every_sample(name: str) -> None:
    samples: Any = SETS[name]
    whole = {field: torch.cat([batch[field] for batch in samples.in_order(5)]) for field in next(samples.in_order(1))}
    for field, values in whole.items():
        found: dict[tuple[float, ...], float] = {}
        for index in range(4):
            for count, batch in samples.in_blocks(3, axis(4, index)):
                for row in batch[field].double():
                    key = tuple(row.flatten().tolist())
                    found[key] = found.get(key, 0.0) + count / (4 * len(batch[field]))
        rows = [tuple(row.flatten().tolist()) for row in values.double()]
        assert found == pytest.approx({row: float(rows.count(row)) for row in rows})


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))


def evaluated(data: int, pipeline: int) -> tuple[dict[str, float], bool]:
    mesh = Mesh(pipeline=pipeline, data=data)
    mesh.start(CPU)
    model = Scale()
    has = mesh.axis("pipeline").index == pipeline - 1  # the stage with the loss

    def shares(x: Tensor) -> dict[str, Tensor]:
        assert not model.training
        value = (model.weight * x).square().mean() / data if has else torch.zeros(())
        return {"loss": value, "mean": x.mean() / data * has}

    samples: Any = SETS["arrays"]
    found = evaluate.mean_over_ranks([model], shares, samples.in_blocks(4, mesh.axis("data")), Layout(mesh))
    mesh.stop()
    return found, model.training


@pytest.mark.parametrize(("data", "pipeline"), [(2, 1), (4, 1), (3, 1), (2, 2)])
def test_means_over_ranks_are_those_of_one_process(data: int, pipeline: int) -> None:
    samples: Any = SETS["arrays"]
    model = Scale()
    want = evaluate.mean(
        model, lambda x: {"loss": (model.weight * x).square().mean(), "mean": x.mean()}, samples.in_order(lcm(4, data))
    )

    for found, training in ranks.run(evaluated, data * pipeline, data, pipeline):
        assert found == pytest.approx(want, rel=1e-6)
        assert training
