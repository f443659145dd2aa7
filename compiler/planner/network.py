"""How long collectives take: alpha-beta over the links that a group of ranks uses."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import Final

from ..cluster import Machine
from ..layout import Layout

NODE_SHARE: Final = 0.8
"""Share of a link inside a node that collectives reach: NCCL's protocol takes some 20 % (NVIDIA/nccl-tests#212)."""
NETWORK_SHARE: Final = 0.9
"""Share of a link between nodes: 365 of 400 GB/s over four nodes in stas00/ml-engineering, network/README.md."""


@dataclass(frozen=True)
class Group:
    """Ranks that talk: `size` of them, `inside` of which are on one node."""

    size: int
    inside: int

    @property
    def nodes(self) -> int:
        """Nodes that it spans."""
        return ceil(self.size / self.inside)


def group(layout: Layout, axis: str, machine: Machine) -> Group:
    """The ranks of an axis. Neighbours on the tensor axis are next to each other, those of the others further apart."""
    stride, size = {
        "tensor": (1, layout.tensor),
        "data": (layout.tensor, layout.data),
        "expert": (layout.tensor, layout.expert),
        "replica": (layout.tensor * layout.expert, layout.replicas),
        "pipeline": (layout.tensor * layout.data, layout.pipeline),
    }[axis]
    return Group(size, max(1, min(size, machine.per_node // stride)))


def all_gather(amount: float, ranks: Group, machine: Machine, calls: int = 1) -> float:
    """Seconds to gather `amount` bytes (the whole, in so many calls) on every rank; a reduce-scatter takes as long.

    In a ring every rank sends (n - 1)/n of the whole in n - 1 hops. Between nodes each of the `inside` ranks of a node
    drives its own adapter, and the adapters share the bytes that leave the node.
    """
    if ranks.size == 1 or not amount:
        return 0.0
    between = ranks.nodes if ranks.nodes > 1 else 0
    hops = between * machine.network.latency + (ranks.size - 1 - between) * machine.node_link.latency
    return _ring(amount, ranks, machine) + calls * max(0.0, hops)


def _ring(amount: float, ranks: Group, machine: Machine) -> float:
    share = (ranks.size - 1) / ranks.size
    within = share * amount / (machine.node_link.bandwidth * NODE_SHARE) if ranks.inside > 1 else 0.0
    if ranks.nodes == 1:
        return within
    return max(within, share * amount / (machine.network.bandwidth * NETWORK_SHARE * ranks.inside))


def all_reduce(amount: float, ranks: Group, machine: Machine, calls: int = 1) -> float:
    """Seconds to add up `amount` bytes over the ranks: a reduce-scatter and an all-gather.

    Between nodes the hops are those of a tree where that has fewer (NCCL takes the faster of both).
    """
    if ranks.size == 1 or not amount:
        return 0.0
    ring = 2 * all_gather(amount, ranks, machine, calls)
    if ranks.nodes == 1:
        return ring
    hops = (ranks.inside - 1) * machine.node_link.latency + log2(ranks.nodes) * machine.network.latency
    return min(ring, 2 * (_ring(amount, ranks, machine) + calls * hops))


def all_to_all(amount: float, ranks: Group, machine: Machine, calls: int = 1) -> float:
    """Seconds to exchange the parts of `amount` bytes that each rank holds."""
    if ranks.size == 1 or not amount:
        return 0.0
    leaving = amount * (ranks.size - ranks.inside) / ranks.size
    staying = amount * (ranks.inside - 1) / ranks.size
    within = staying / (machine.node_link.bandwidth * NODE_SHARE)
    between = leaving / (machine.network.bandwidth * NETWORK_SHARE)
    return max(within, between) + calls * log2(ranks.size) * machine.network.latency


def send(amount: float, layout: Layout, machine: Machine) -> float:
    """Seconds to hand `amount` bytes to the next rank of the pipeline."""
    if layout.pipeline == 1 or not amount:
        return 0.0
    inside = group(layout, "pipeline", machine).inside > 1
    link, share = (machine.node_link, NODE_SHARE) if inside else (machine.network, NETWORK_SHARE)
    return amount / (link.bandwidth * share) + link.latency


COLLECTIVES: Final = {
    "all_reduce": all_reduce,
    "all_gather": all_gather,
    "reduce_scatter": all_gather,
    "all_to_all": all_to_all,
}
