"""What is kept where."""

from __future__ import annotations

from typing import Literal

from .base import Bytes, Record, needed, record, setting


@record
class Budget(Record):
    """Recomputes as little as keeps a rank below a size."""

    kind = "budget"
    limit: Bytes = needed("Largest peak of a rank.", above=0)


@record
class Memory(Record):
    """What is recomputed or moved away to save memory."""

    checkpointing: Literal["off", "sqrt", "selective", "full"] | Budget = setting(
        "Which activations are recomputed: none, all but about the root of their number, those that cost "
        "much memory and little time, or all of each block.",
        default="off",
    )
    offload: tuple[Literal["activations", "optimizer", "parameters"], ...] = setting(
        "What lies in the memory of the host.", default=(), compiled=False
    )
