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
    servers: int = setting("Processes that hold the parameters.", default=1, least=1)
    staleness: Steps = setting("Most steps that a worker may be ahead of the slowest.", default=0, least=0)
    cache: Bytes | None = setting("Local cache of a worker; all it needs where `none`.", default=None, above=0)
    elastic: bool = setting("Workers may join and leave.", default=False)


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
    values: Literal["fp32", "fp16", "bf16"] = setting("Format of the values.", default="fp32")
    error_feedback: bool = setting("Adds what was not sent to the next gradient.", default=True)
    warmup: Steps = setting("Steps over which the density falls from 100%.", default=0, least=0)


@record
class Quantized(Record):
    """Sends 8-bit values with a scale per block."""

    kind = "int8"
    compiled = False
    block: int = setting("Values per scale.", default=256, least=8)
    error_feedback: bool = setting("Adds what was rounded off to the next gradient.", default=True)


@record
class OneBit(Record):
    """Sends signs with a scale per tensor."""

    kind = "one_bit"
    compiled = False
    warmup: Steps = setting("Steps that send everything.", default=1_000, least=0)


@record
class LowRank(Record):
    """Sends two thin factors of each matrix."""

    kind = "low_rank"
    compiled = False
    rank: int = needed("Columns of the factors.", least=1)
    error_feedback: bool = setting("Adds what was not sent to the next gradient.", default=True)
    warmup: Steps = setting("Steps that send everything.", default=0, least=0)


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
        "How gradients are aggregated.", default="all_reduce"
    )
    compress: TopK | Quantized | OneBit | LowRank | Stacked | None = setting(
        "How gradients are compressed.", default=None
    )
    bucket: Bytes | Auto = setting("Size that gradients are sent in.", default=AUTO, above=0, compiled=False)
    overlap: bool = setting("Sends while the backward pass goes on.", default=True, compiled=False)
