"""What ranks tell each other."""

from __future__ import annotations

from typing import Literal

from ..values import AUTO
from .base import Auto, Bytes, Record, Share, Steps, needed, record, setting


@record
class ParameterServer(Record):
    """Coordinator and workers with bounded staleness."""

    kind = "parameter_server"
    compiled = False
    servers: int = setting(1, "Processes that hold the parameters.", least=1)
    staleness: Steps = setting(0, "Most steps that a worker may be ahead of the slowest.", least=0)
    cache: Bytes | None = setting(None, "Local cache of a worker; all it needs where `none`.", above=0)
    elastic: bool = setting(False, "Workers may join and leave.")


@record
class Group(Record):
    """How the parameters of a pattern are aggregated."""

    kind = "group"
    compiled = False
    parameters: str = needed("Path of labels, `*` for any: `embedding.*`.")
    aggregate: Literal["all_reduce"] | ParameterServer = needed("How gradients of these are aggregated.")


@record
class ByGroup(Record):
    """Each parameter by the first group that matches; the rest by all-reduce."""

    kind = "by_group"
    compiled = False
    groups: tuple[Group, ...] = needed("The groups.")


@record
class TopK(Record):
    """Sends only the largest values."""

    kind = "topk"
    compiled = False
    density: Share = needed("Share of the values that is sent.", above=0, most=1)
    values: Literal["fp32", "fp16", "bf16"] = setting("fp32", "Format of the values.")
    error_feedback: bool = setting(True, "Adds what was not sent to the next gradient.")
    warmup: Steps = setting(0, "Steps over which the density falls from 100%.", least=0)


@record
class Quantized(Record):
    """Sends 8-bit values with a scale per block."""

    kind = "int8"
    compiled = False
    block: int = setting(256, "Values per scale.", least=8)
    error_feedback: bool = setting(True, "Adds what was rounded off to the next gradient.")


@record
class OneBit(Record):
    """Sends signs with a scale per tensor."""

    kind = "one_bit"
    compiled = False
    warmup: Steps = setting(1_000, "Steps that send everything.", least=0)


@record
class LowRank(Record):
    """Sends two thin factors of each matrix."""

    kind = "low_rank"
    compiled = False
    rank: int = needed("Columns of the factors.", least=1)
    error_feedback: bool = setting(True, "Adds what was not sent to the next gradient.")
    warmup: Steps = setting(0, "Steps that send everything.", least=0)


@record
class Stacked(Record):
    """One compression after the other."""

    kind = "stacked"
    compiled = False
    stages: tuple[TopK | Quantized | OneBit | LowRank, ...] = needed("The compressions in order.")


@record
class Communication(Record):
    """How gradients are aggregated between ranks."""

    aggregate: Literal["all_reduce"] | ParameterServer | ByGroup = setting(
        "all_reduce", "How gradients are aggregated."
    )
    compress: TopK | Quantized | OneBit | LowRank | Stacked | None = setting(None, "How gradients are compressed.")
    bucket: Bytes | Auto = setting(AUTO, "Size that gradients are sent in.", above=0, compiled=False)
    overlap: bool = setting(True, "Sends while the backward pass goes on.", compiled=False)
