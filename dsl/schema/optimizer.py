"""How parameters follow their gradients."""

from __future__ import annotations

from typing import Literal

from .base import Record, Share, Steps, needed, record, setting


@record
class Ramp(Record):
    """A value that changes over training."""

    kind = "ramp"
    compiled = False
    from_: float = needed("Value at the start.")
    to: float = needed("Value at the end.")
    shape: Literal["linear", "cosine", "exponential"] = setting("Form of the change.", default="linear")
    start: Share = setting("Share of training at which the change starts.", default=0.0, least=0, below=1)
    end: Share = setting("Share of training at which the change is done.", default=1.0, above=0, most=1)


@record
class DynamicBetas(Record):
    """Betas `low + (high - low) * (1 - step / steps) ** power`."""

    kind = "dynamic"
    compiled = False
    low: tuple[float, float] = needed("Betas at the end.", least=0, below=1)
    high: tuple[float, float] = needed("Betas at the start.", least=0, below=1)
    power: float = setting("Form of the change; 1 is linear.", default=1.0, above=0)


@record
class Norm(Record):
    """Scales the gradient down to a global norm."""

    kind = "norm"
    max: float = needed("Largest norm.", above=0)


@record
class Adaptive(Record):
    """Scales the gradient down to a percentile of the norms of past steps."""

    kind = "adaptive"
    compiled = False
    percentile: Share = needed("Share of past norms below the threshold.", above=0, most=1)
    window: Steps = setting("Number of past steps.", default=1_000, least=1)


Clip = Norm | Adaptive


@record
class AdamW(Record):
    """Adam with decoupled weight decay."""

    kind = "adamw"
    lr: float = setting("Largest learning rate.", default=1e-3, above=0)
    betas: tuple[float, float] | DynamicBetas = setting(
        "Decay of the two moments.", default=(0.9, 0.999), least=0, below=1
    )
    eps: float = setting("Added to the root of the second moment.", default=1e-8, above=0)
    weight_decay: float | Ramp = setting(
        "Decoupled weight decay of matrices; vectors have none.", default=0.01, least=0
    )
    l4: float | Ramp = setting(
        "Factor of the sum of fourth powers of the parameters in the loss.", default=0.0, least=0, compiled=False
    )
    clip: Clip | None = setting("How gradients are bounded.", default=None)


@record
class Sgd(Record):
    """Stochastic gradient descent."""

    kind = "sgd"
    lr: float = setting("Largest learning rate.", default=0.1, above=0)
    momentum: float | Ramp = setting("Decay of the running gradient.", default=0.0, least=0, below=1)
    nesterov: bool = setting("Looks ahead along the momentum.", default=False)
    weight_decay: float | Ramp = setting("Weight decay of matrices; vectors have none.", default=0.0, least=0)
    l4: float | Ramp = setting(
        "Factor of the sum of fourth powers of the parameters in the loss.", default=0.0, least=0, compiled=False
    )
    clip: Clip | None = setting("How gradients are bounded.", default=None)


@record
class Muon(Record):
    """Orthogonalised momentum for matrices, AdamW for the rest."""

    kind = "muon"
    compiled = False
    lr: float = setting("Largest learning rate of matrices.", default=0.02, above=0)
    momentum: float | Ramp = setting("Decay of the running gradient.", default=0.95, least=0, below=1)
    nesterov: bool = setting("Looks ahead along the momentum.", default=True)
    iterations: int = setting("Newton-Schulz iterations.", default=5, least=1)
    adamw_lr: float = setting("Largest learning rate of embeddings, heads and vectors.", default=3e-4, above=0)
    betas: tuple[float, float] | DynamicBetas = setting(
        "Decay of AdamW's two moments.", default=(0.9, 0.95), least=0, below=1
    )
    eps: float = setting("Added to the root of AdamW's second moment.", default=1e-8, above=0)
    weight_decay: float | Ramp = setting(
        "Decoupled weight decay of matrices; vectors have none.", default=0.01, least=0
    )
    l4: float | Ramp = setting(
        "Factor of the sum of fourth powers of the parameters in the loss.", default=0.0, least=0
    )
    clip: Clip | None = setting("How gradients are bounded.", default=None)


Optimizer = AdamW | Sgd | Muon
