"""What a prediction of memory consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KINDS: Final = (
    "parameters", "gradients", "optimizer", "copies", "activations", "recompute", "transient", "communication",
    "buffers",
)  # fmt: skip


@dataclass(frozen=True)
class StageMemory:
    """Bytes of one rank of the pipeline (rank 0 without one) at the moment when it holds most.

    parameters     as stored; what this rank keeps of them where they are sharded
    gradients      fp32 gradients, accumulated or not
    optimizer      states of the optimizer
    copies         parameters in low precision, as autocast makes them
    activations    what backward still needs, of all micro-batches in flight
    recompute      activations that a recomputed segment holds while its backward runs
    transient      values and gradients of values on their way
    communication  buffers of collectives
    buffers        the batch, and tensors of the model that are not trained
    moment         "forward of linear", "optimizer step": when that is
    margin         what the caching allocator may hold above `peak` by rounding and fragmentation; not part of it
    """

    rank: int
    parameters: int
    gradients: int
    optimizer: int
    copies: int
    activations: int
    recompute: int
    transient: int
    communication: int
    buffers: int
    moment: str
    margin: int

    @property
    def peak(self) -> int:
        """Most bytes in tensors at one time."""
        return sum(getattr(self, kind) for kind in KINDS)
