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
    latency: Seconds = setting("Time before the first byte arrives.", default=5e-6, least=0)


@record
class Storage(Record):
    """Where checkpoints go: what all nodes together read and write."""

    kind = "storage"
    read: Bandwidth = needed("Bytes per second of all nodes together.", above=0)
    write: Bandwidth = needed("Bytes per second of all nodes together.", above=0)


@record
class Cluster(Record):
    """The machines; a preset by `gpu` gives what is not set."""

    device: Literal["cuda", "rocm", "xpu", "npu", "tpu", "mps", "cpu"] | Auto = setting(
        "Kind of accelerator; `auto` is what the machine has.", default=AUTO, compiled=("auto",)
    )
    gpu: str | None = setting('Preset of a known part: `"H100"`.', default=None)
    nodes: int | Auto = setting("Number of nodes; `auto` follows from the ranks.", default=AUTO, least=1)
    memory: Bytes | Auto = setting("Memory per accelerator.", default=AUTO, above=0)
    peak: Flops | Auto = setting("Dense bf16 operations per second of an accelerator.", default=AUTO, above=0)
    memory_bandwidth: Bandwidth | Auto = setting("Bytes per second of an accelerator's memory.", default=AUTO, above=0)
    node_link: Link | Auto = setting("Connection within a node.", default=AUTO)
    network: Link | Auto = setting("Connection between nodes.", default=AUTO)
    storage: Storage | Auto = setting("Storage that all nodes share.", default=AUTO)
    start_up: Seconds | Auto = setting(
        "From the start of a process until it joins the others: Python, imports, device.", default=AUTO, least=0
    )
    warm_up: Seconds | Auto = setting(
        "What a first step takes longer than the next ones, compilation included.", default=AUTO, least=0
    )
    mtbf: Seconds | None = setting("Mean time between failures of the whole job.", default=None, above=0)
