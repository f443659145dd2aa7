"""The order of samples: a bijection per epoch, a function of (seed, position) alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dskc.runtime import order


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 5_000), key=st.integers(0, 2**64 - 1))
def test_every_epoch_visits_every_sample_once(count: int, key: int) -> None:
    found = order.permute(np.arange(count), count, key)
    assert np.array_equal(np.sort(found), np.arange(count))


def test_a_trillion_samples_need_no_memory_and_stay_distinct() -> None:
    count = 10**12
    found = order.permute(np.arange(20_000) * 49_999_999, count, 5)
    assert found.min() >= 0
    assert found.max() < count
    assert len(np.unique(found)) == len(found)
    assert stats.kstest(found / count, "uniform").pvalue > 1e-3


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 3_000), first=st.integers(0, 10_000), sizes=st.lists(st.integers(1, 700), min_size=1))
def test_batch_size_does_not_change_the_stream(count: int, first: int, sizes: list[int]) -> None:
    whole_epochs, whole = order.sample_ids(first, sum(sizes), count, seed=9)
    parts, at = [], first
    for size in sizes:
        epochs, ids = order.sample_ids(at, size, count, seed=9)
        parts.append(np.stack([epochs, ids]))
        at += size
    assert np.array_equal(np.concatenate(parts, axis=1), np.stack([whole_epochs, whole]))


def test_positions_are_the_permutation_of_their_epoch() -> None:
    epochs, ids = order.sample_ids(0, 3 * 1_500, 1_500, seed=4)
    for epoch in range(3):
        assert np.array_equal(np.sort(ids[epochs == epoch]), np.arange(1_500))


def test_without_a_seed_the_order_is_the_datas() -> None:
    epochs, ids = order.sample_ids(8, 5, 10, seed=None)
    assert epochs.tolist() == [0, 0, 1, 1, 1]
    assert ids.tolist() == [8, 9, 0, 1, 2]


def test_epochs_and_seeds_differ() -> None:
    _, ids = order.sample_ids(0, 2_000, 1_000, seed=4)
    _, other = order.sample_ids(0, 1_000, 1_000, seed=5)
    for pair in ((ids[:1_000], ids[1_000:]), (ids[:1_000], other), (ids[:1_000], np.arange(1_000))):
        assert np.mean(pair[0] == pair[1]) < 0.02
        assert abs(stats.spearmanr(*pair).statistic) < 0.15


@pytest.mark.parametrize("count", [3, 4])
def test_small_sets_take_all_their_orders_equally_often(count: int) -> None:
    orders = [tuple(order.permute(np.arange(count), count, key)) for key in range(4_000)]
    _, times = np.unique(np.array(orders), axis=0, return_counts=True)
    assert len(times) == (6 if count == 3 else 24)
    assert stats.chisquare(times).pvalue > 1e-4
