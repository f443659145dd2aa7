"""Variation and selection of training samples."""

from __future__ import annotations

from .base import Interval, Record, Share, needed, record, setting


@record
class RandomChange(Record):
    """Each image is moved and turned by a random amount."""

    kind = "random"
    shift: int = setting(0, "Most pixels moved along each axis.", least=0)
    rotate: float = setting(0.0, "Most degrees turned.", least=0, most=180)


@record
class Learned(Record):
    """A policy over the strengths of each change, learned by the reward of a lower validation loss."""

    kind = "learned"
    compiled = False
    every: Interval = needed("How often the policy is updated.", above=0)
    shift: int = setting(0, "Most pixels that the policy may move.", least=0)
    rotate: float = setting(0.0, "Most degrees that the policy may turn.", least=0, most=180)
    levels: int = setting(5, "Strengths that the policy chooses among.", least=2)
    rate: float = setting(0.05, "Learning rate of the policy.", above=0)


@record
class Noise(Record):
    """Sets samples aside whose label the model contradicts with confidence, and outliers."""

    kind = "noise"
    compiled = False
    confidence: Share = setting(
        0.95, "Confidence in another class above which a label counts as wrong.", above=0, below=1
    )
    outliers: Share = setting(0.01, "Share of samples farthest from their class that are set aside.", least=0, below=1)
    warmup: Share = setting(0.1, "Share of training before the filter starts.", least=0, below=1)
