"""Variation and selection of training samples."""

from __future__ import annotations

from .base import Interval, Record, Share, needed, record, setting


@record
class RandomChange(Record):
    """Each image is moved and turned by a random amount."""

    kind = "random"
    shift: int = setting("Most pixels moved along each axis.", default=0, least=0)
    rotate: float = setting("Most degrees turned.", default=0.0, least=0, most=180)


@record
class Learned(Record):
    """A policy over the strengths of each change, learned by the reward of a lower validation loss."""

    kind = "learned"
    compiled = False
    every: Interval = needed("How often the policy is updated.", above=0)
    shift: int = setting("Most pixels that the policy may move.", default=0, least=0)
    rotate: float = setting("Most degrees that the policy may turn.", default=0.0, least=0, most=180)
    levels: int = setting("Strengths that the policy chooses among.", default=5, least=2)
    rate: float = setting("Learning rate of the policy.", default=0.05, above=0)


@record
class Noise(Record):
    """Sets samples aside whose label the model contradicts with confidence, and outliers."""

    kind = "noise"
    compiled = False
    confidence: Share = setting(
        "Confidence in another class above which a label counts as wrong.", default=0.95, above=0, below=1
    )
    outliers: Share = setting(
        "Share of samples farthest from their class that are set aside.", default=0.01, least=0, below=1
    )
    warmup: Share = setting("Share of training before the filter starts.", default=0.1, least=0, below=1)
