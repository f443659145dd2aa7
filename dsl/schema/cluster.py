"""The machines."""

from __future__ import annotations

from typing import Final, Literal

from ..values import AUTO
from .base import Auto, Bandwidth, Bytes, Flops, Record, Seconds, needed, record, setting

# Parts that `gpu` may name.
GPUS: Final = ("A100-40GB", "A100-80GB", "H100", "H200", "B200", "L40S", "V100", "MI250X", "MI300X")


@record
class Link(Record):
    """A connection, per accelerator and direction."""

    kind = "link"
    bandwidth: Bandwidth = needed("Bytes per second.", above=0)
    latency: Seconds = setting(5e-6, "Time before the first byte arrives.", least=0)


@record
class Cluster(Record):
    """The machines; a preset by `gpu` gives what is not set."""

    device: Literal["cuda", "rocm", "xpu", "npu", "tpu", "mps", "cpu"] | Auto = setting(
        AUTO, "Kind of accelerator; `auto` is what the machine has.", compiled=("auto",)
    )
    gpu: str | None = setting(None, 'Preset of a known part: `"H100"`.', compiled=False)
    nodes: int | Auto = setting(AUTO, "Number of nodes; `auto` follows from the ranks.", least=1, compiled=False)
    memory: Bytes | Auto = setting(AUTO, "Memory per accelerator.", above=0, compiled=False)
    peak: Flops | Auto = setting(AUTO, "Dense bf16 operations per second of an accelerator.", above=0, compiled=False)
    node_link: Link | Auto = setting(AUTO, "Connection within a node.", compiled=False)
    network: Link | Auto = setting(AUTO, "Connection between nodes.", compiled=False)
    mtbf: Seconds | None = setting(None, "Mean time between failures of the whole job.", above=0, compiled=False)
