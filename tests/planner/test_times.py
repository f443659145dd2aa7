"""Times of products and collectives: closed forms, and that more is never faster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dskc.compiler.cluster import CPU, PRESETS, Link, Machine
from dskc.compiler.layout import Layout
from dskc.compiler.planner import network
from dskc.compiler.planner.matmul import STREAM, Product, efficiency, seconds
from dskc.compiler.planner.network import NETWORK_SHARE, NODE_SHARE, Group
from dskc.dsl.schema.cluster import GPUS

H100 = PRESETS["H100"]
PLAIN = replace(H100, node_link=Link(100e9, 0.0), network=Link(10e9, 0.0))


def test_every_part_that_a_spec_may_name_has_a_preset() -> None:
    assert set(PRESETS) == set(GPUS)


@pytest.mark.parametrize("machine", [*PRESETS.values(), CPU], ids=lambda machine: machine.name)
def test_presets_are_complete(machine: Machine) -> None:
    assert machine.peak("fp32") > 0
    assert machine.peak("fp8") >= machine.peak("fp32")
    assert 0 < machine.attention <= machine.sustained <= 1


def test_a_large_product_is_bound_by_its_operations() -> None:
    product = Product(132 * 256, 64 * 128, 1 << 18)  # a whole number of waves, and nothing lost to filling
    expected = product.flops / (H100.peak("bf16") * H100.sustained)

    assert seconds(product, H100) == pytest.approx(expected, rel=1e-3)


def test_a_thin_product_is_bound_by_its_bytes() -> None:
    product = Product(1, 8_192, 8_192)

    assert seconds(product, H100) == pytest.approx(product.moved / (H100.bandwidth * STREAM))


def test_one_tile_more_than_a_wave_costs_another_wave() -> None:
    full, over = Product(132 * 256, 128, 4_096), Product(133 * 256, 128, 4_096)

    assert efficiency(full, H100) == pytest.approx(4_096 / (4_096 + 192))
    assert efficiency(over, H100) < 0.8 * efficiency(full, H100)


def test_backward_of_a_product_is_twice_its_operations() -> None:
    product = Product(64, 128, 256)

    assert sum(each.flops for each in product.backward()) == 2 * product.flops


def test_ring_all_reduce_takes_twice_all_but_one_part() -> None:
    assert network.all_reduce(8e9, Group(8, 8), PLAIN) == pytest.approx(2 * 7e9 / (100e9 * NODE_SHARE))


def test_a_group_on_several_nodes_shares_their_adapters() -> None:
    """16 ranks on 2 nodes: each rank hands on 15/16, and the 8 of a node leave it over 8 adapters."""
    spread, alone = Group(16, 8), Group(16, 1)

    assert network.all_gather(16e9, spread, PLAIN) == pytest.approx(15e9 / (8 * 10e9 * NETWORK_SHARE))
    assert network.all_gather(16e9, alone, PLAIN) == pytest.approx(15e9 / (10e9 * NETWORK_SHARE))


@pytest.mark.parametrize(
    ("axis", "expected"), [("tensor", Group(4, 4)), ("data", Group(8, 2)), ("pipeline", Group(8, 1))]
)
def test_the_tensor_axis_is_innermost(axis: str, expected: Group) -> None:
    assert network.group(Layout(data=8, pipeline=8, tensor=4), axis, replace(H100, per_node=8)) == expected


def test_a_tensor_axis_wider_than_a_node_spans_nodes() -> None:
    wide = network.group(Layout(tensor=16), "tensor", replace(H100, per_node=8))

    assert wide == Group(16, 8)
    assert wide.nodes == 2


@pytest.mark.parametrize("amount", [1e3, 1e6, 1e9])
def test_more_bytes_and_slower_links_never_take_less(amount: float) -> None:
    for kind in network.COLLECTIVES.values():
        for ranks in (Group(8, 8), Group(64, 8), Group(64, 1)):
            assert kind(2 * amount, ranks, H100) > kind(amount, ranks, H100)
            assert kind(amount, ranks, PLAIN) >= 0.9 * kind(amount, ranks, replace(PLAIN, network=Link(20e9, 0.0)))
