"""The machine that a spec runs on: presets of known parts, and the spec's own numbers over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

from ..dsl.schema.cluster import Link as LinkSetting
from ..dsl.schema.cluster import Storage as StorageSetting
from ..dsl.spec import Spec

GB = 1_000_000_000
GIB = 1 << 30
TERA = 1_000_000_000_000


@dataclass(frozen=True)
class Link:
    """A connection of one accelerator: bytes per second in one direction, and seconds before the first byte."""

    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Storage:
    """Where checkpoints go: bytes per second that all nodes together read and write."""

    read: float
    write: float


@dataclass(frozen=True)
class Machine:
    """One accelerator and what joins it to the others. All rates are per second, per accelerator and direction.

    `peaks` are dense operations by format, from datasheets; a format that is absent runs as fp32. `sustained` is the
    share of the peak that large matrix products reach (`sustained_fp8` in fp8), `attention` that of fused attention
    (docs/accuracy.md has the sources). `memory` is None where nothing says how much there is: then nothing is refused
    for want of it.

    For recovery (docs/recovery.md has the sources): `storage` of the spec, None for what nodes of this kind come with;
    `host_link` to the memory of the node; seconds that a process takes until it joins the others (`start_up`), and a
    first step takes longer than the next ones (`warm_up`; `compilation` more where the step is compiled).
    """

    name: str
    peaks: Mapping[str, float]
    memory: int | None
    bandwidth: float
    node_link: Link
    network: Link
    per_node: int = 8
    nodes: int = 1
    sustained: float = 0.8
    sustained_fp8: float = 0.7
    attention: float = 0.5
    units: int = 1
    launch: float = 4e-6
    storage: Storage | None = None
    host_link: float = 25 * GB
    start_up: float = 15.0
    warm_up: float = 10.0
    compilation: float = 60.0
    given: tuple[str, ...] = field(default=())

    def peak(self, dtype: str) -> float:
        """Dense operations per second in a format."""
        return self.peaks.get(dtype, self.peaks["fp32"])

    @property
    def shared_storage(self) -> Storage:
        """What all nodes together read and write."""
        if self.storage is not None:
            return self.storage
        read, write = (_shared(self.nodes, *rates) for rates in (STORAGE_READ, STORAGE_WRITE))
        return Storage(read, write)


POD: Final = 32
STORAGE_READ: Final = (8 * GB, 40 * GB)
STORAGE_WRITE: Final = (4 * GB, 20 * GB)
"""Bytes per second of one node, and of the storage of a pod of 32 nodes: the middle one of three classes (NVIDIA, DGX
SuperPOD reference architecture for DGX H100, table 6, "better")."""


def _shared(nodes: int, node: float, pod: float) -> float:
    return min(nodes * node, ceil(nodes / POD) * pod)


# Time before the first byte of one hop: NVLink and its like 3 us, RDMA 5 us (the schema's default for a link).
_NODE_LATENCY = 3e-6
_NETWORK_LATENCY = 5e-6


def _part(
    name: str, peaks: str, memory: int, bandwidth: float, node_link: float, network: float,
    sustained: float, sustained_fp8: float, attention: float, units: int,
) -> Machine:  # fmt: skip
    """A part from its datasheet: memory in bytes, bandwidths in GB/s, `peaks` in teraflops as "bf16=312 fp32=19.5"."""
    rates = {word.split("=")[0]: float(word.split("=")[1]) * TERA for word in peaks.split()}
    inside, outside = Link(node_link * GB, _NODE_LATENCY), Link(network * GB, _NETWORK_LATENCY)
    return Machine(
        name,
        rates,
        memory,
        bandwidth * GB,
        inside,
        outside,
        sustained=sustained,
        sustained_fp8=sustained_fp8,
        attention=attention,
        units=units,
    )


_AMPERE = "fp32=19.5 tf32=156 bf16=312 fp16=312"
_HOPPER = "fp32=67 tf32=494.7 bf16=989.4 fp16=989.4 fp8=1978.9"

# Peaks, memory bandwidth and links: the makers' datasheets (links: half of the two-way figure); memory as the devices
# report it. Network: one adapter per accelerator of the usual node of that generation.
# `sustained`: Hopper and MI300X at the shapes of training (720 of 989.5, 620 of 1,307; in fp8 1,280 of 1,979 and 990
# of 2,615 TFLOPS: SemiAnalysis, "MI300X vs H100 vs H200 Benchmark Part 1", 2024); A100 and B200 the best shape of the
# table of maximum achievable matmul FLOPS (stas00/ml-engineering, compute/accelerator/README.md); the others, of which
# there is no figure, 80 %. `attention`: 50 to 73 % of an A100 (Dao 2023), 35 % of an H100 with the same kernel (Shah et
# al. 2024). `units`: processors that share out the tiles.
PRESETS: Final[dict[str, Machine]] = {
    "A100-40GB": _part("A100-40GB", _AMPERE, 40 * GIB, 1555, 300, 25, 0.869, 0.7, 0.6, 108),
    "A100-80GB": _part("A100-80GB", _AMPERE, 80 * GIB, 2039, 300, 25, 0.869, 0.7, 0.6, 108),
    "H100": _part("H100", _HOPPER, 80 * GIB, 3350, 450, 50, 0.728, 0.647, 0.35, 132),
    "H200": _part("H200", _HOPPER, 140 * GIB, 4800, 450, 50, 0.728, 0.647, 0.35, 132),
    "B200": _part(
        "B200", "fp32=75 tf32=1125 bf16=2250 fp16=2250 fp8=4500", 179 * GIB, 7700, 900, 50, 0.776, 0.763, 0.35, 148
    ),
    "L40S": _part("L40S", "fp32=91.6 tf32=183 bf16=362 fp16=362 fp8=733", 45 * GIB, 864, 32, 12.5, 0.8, 0.7, 0.5, 142),
    "V100": _part("V100", "fp32=15.7 fp16=125", 32 * GIB, 900, 150, 6.25, 0.8, 0.7, 0.5, 80),
    # A rank is one of the two dies of the part.
    "MI250X": _part("MI250X", "fp32=23.9 bf16=191.5 fp16=191.5", 64 * GIB, 1638, 100, 12.5, 0.7, 0.7, 0.35, 110),
    "MI300X": _part(
        "MI300X", "fp32=163.4 tf32=653.7 bf16=1307.4 fp16=1307.4 fp8=2614.9",
        192 * GIB, 5300, 448, 50, 0.474, 0.379, 0.3, 304,
    ),
}  # fmt: skip

CPU: Final = Machine(
    "CPU",
    {"fp32": 0.1 * TERA},
    None,
    20 * GB,
    Link(4 * GB, 2e-5),
    Link(1.25 * GB, 5e-5),
    per_node=1,
    launch=2e-6,
    storage=Storage(1 * GB, 0.5 * GB),
    host_link=5 * GB,
    start_up=5.0,
    warm_up=1.0,
    compilation=30.0,
)
"""Where the spec names no part: one process of a laptop. Good for comparing layouts, not for times."""


def machine_of(spec: Spec) -> Machine:
    """The machine of a spec: the preset of `cluster.gpu`, its own numbers over it, its ranks per node and nodes."""
    asked, world = spec.cluster, spec.parallel.world_size
    machine = PRESETS[asked.gpu] if asked.gpu is not None else CPU
    given: list[str] = []
    if isinstance(asked.memory, int):
        machine, given = replace(machine, memory=asked.memory), [*given, "memory"]
    if isinstance(asked.memory_bandwidth, float | int):
        machine, given = replace(machine, bandwidth=float(asked.memory_bandwidth)), [*given, "memory_bandwidth"]
    if isinstance(asked.peak, float | int):
        machine, given = replace(machine, peaks=_scaled(machine, float(asked.peak))), [*given, "peak"]
    if isinstance(asked.node_link, LinkSetting):
        machine, given = replace(machine, node_link=_link(asked.node_link)), [*given, "node_link"]
    if isinstance(asked.network, LinkSetting):
        machine, given = replace(machine, network=_link(asked.network)), [*given, "network"]
    if isinstance(asked.storage, StorageSetting):
        storage = Storage(float(asked.storage.read), float(asked.storage.write))
        machine, given = replace(machine, storage=storage), [*given, "storage"]
    if isinstance(asked.start_up, float | int):
        machine, given = replace(machine, start_up=float(asked.start_up)), [*given, "start_up"]
    if isinstance(asked.warm_up, float | int):
        machine, given = replace(machine, warm_up=float(asked.warm_up)), [*given, "warm_up"]
    per_node = spec.parallel.gpu_per_node
    assert isinstance(per_node, int), "the resolver derives it from world_size"
    nodes = asked.nodes if isinstance(asked.nodes, int) else ceil(world / per_node)
    return replace(machine, per_node=per_node, nodes=nodes, given=tuple(given))


def _link(setting: LinkSetting) -> Link:
    return Link(setting.bandwidth, setting.latency)


def _scaled(machine: Machine, peak: float) -> dict[str, float]:
    """All formats of a part in proportion to its bf16; of an unknown part, the one number for all."""
    if "bf16" not in machine.peaks:
        return {"fp32": peak}
    return {name: rate * peak / machine.peaks["bf16"] for name, rate in machine.peaks.items()}
