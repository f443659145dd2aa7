"""How the learning rate changes over training."""

from __future__ import annotations

from typing import Literal

from ..values import Quantity
from .base import Duration, Record, Share, needed, record, setting


@record
class Constant(Record):
    """Stays at the largest rate."""

    kind = "constant"


@record
class Cosine(Record):
    """Falls along half a cosine."""

    kind = "cosine"
    floor: Share = setting("Share of the largest rate that is left at the end.", default=0.0, least=0, most=1)


@record
class Linear(Record):
    """Falls in a straight line."""

    kind = "linear"
    floor: Share = setting("Share of the largest rate that is left at the end.", default=0.0, least=0, most=1)


@record
class Wsd(Record):
    """Warm-up, stable, decay: stays at the largest rate and falls at the end."""

    kind = "wsd"
    compiled = False
    decay: Duration = needed("Length of the fall.", above=0)
    floor: Share = setting("Share of the largest rate that is left at the end.", default=0.0, least=0, most=1)
    shape: Literal["linear", "cosine", "sqrt"] = setting("Form of the fall.", default="linear")


@record
class Schedule(Record):
    """The learning rate over training, as a multiple of `optimizer.lr`."""

    warmup: Duration = setting("Length of the linear rise from 0.", default=Quantity(0, "steps"), least=0)
    decay: Constant | Cosine | Linear | Wsd = setting("How the rate falls after the rise.", default=Constant())
