"""Making the model smaller and faster while it trains."""

from __future__ import annotations

from typing import Literal

from .base import Record, Share, needed, record, setting
from .model import HuggingFace
from .optimizer import Ramp


@record
class Channels(Record):
    """Removes the weakest channels, and the work that belongs to them."""

    kind = "channels"
    compiled = False
    remove: Share = needed("Share of the channels that is removed.", above=0, below=1)
    by: Literal["l1", "l2"] = setting("Norm that ranks channels.", default="l1")
    from_: Share = setting("Share of training at which removing starts.", default=0.0, least=0, below=1)
    until: Share = setting("Share of training at which removing is done.", default=1.0, above=0, most=1)


@record
class Int8(Record):
    """Trains with 8-bit weights and activations simulated."""

    kind = "int8"
    compiled = False
    from_: Share = setting("Share of training at which quantisation starts.", default=0.0, least=0, below=1)


@record
class Int4(Record):
    """Trains with 4-bit weights simulated."""

    kind = "int4"
    compiled = False
    from_: Share = setting("Share of training at which quantisation starts.", default=0.0, least=0, below=1)
    group: int = setting("Weights per scale.", default=128, least=8)


@record
class SpecTeacher(Record):
    """A model trained by another spec; it reads the inputs that it declares, of whatever modality."""

    kind = "spec"
    compiled = False
    file: str = needed("The spec.")
    run: str = needed("Run folder with its checkpoint.")


@record
class Match(Record):
    """A feature of the student drawn to one of the teacher."""

    kind = "match"
    compiled = False
    student: str = needed("Path of labels in this model.")
    teacher: str = needed("Path of labels in the teacher.")
    weight: float = setting("Weight in the loss.", default=1.0, above=0)


@record
class Distill(Record):
    """Learns from a teacher: alpha times the loss plus (1 - alpha) times the divergence from the teacher."""

    kind = "distill"
    compiled = False
    teacher: HuggingFace | SpecTeacher = needed("The teacher.")
    alpha: float | Ramp = setting("Weight of the loss against the labels.", default=0.5, least=0, most=1)
    temperature: float = setting("Temperature of both distributions.", default=2.0, above=0)
    features: tuple[Match, ...] = setting("Features that are matched besides the logits.", default=())


@record
class EarlyExit(Record):
    """Stops at the first exit that is sure."""

    kind = "early_exit"
    compiled = False
    confidence: Share = needed("Confidence from which an exit counts as sure.", above=0, most=1)


@record
class Width(Record):
    """Easy inputs use fewer channels."""

    kind = "width"
    compiled = False
    widths: tuple[Share, ...] = needed("Shares of the channels to choose among.", above=0, most=1)
    confidence: Share = needed("Confidence from which a smaller width is enough.", above=0, most=1)


@record
class Compression(Record):
    """Making the model smaller and faster."""

    prune: Channels | None = setting("Removing channels.", default=None)
    quantize: Int8 | Int4 | None = setting("Quantisation while training.", default=None)
    distill: Distill | None = setting("Learning from a teacher.", default=None)
    dynamic: EarlyExit | Width | None = setting("Work by the difficulty of the input.", default=None)
