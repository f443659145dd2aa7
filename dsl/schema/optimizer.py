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
    shape: Literal["linear", "cosine", "exponential"] = setting("linear", "Form of the change.")
    start: Share = setting(0.0, "Share of training at which the change starts.", least=0, below=1)
    end: Share = setting(1.0, "Share of training at which the change is done.", above=0, most=1)


@record
class DynamicBetas(Record):
    """Betas `low + (high - low) * (1 - step / steps) ** power`."""

    kind = "dynamic"
    compiled = False
    low: tuple[float, float] = needed("Betas at the end.", least=0, below=1)
    high: tuple[float, float] = needed("Betas at the start.", least=0, below=1)
    power: float = setting(1.0, "Form of the change; 1 is linear.", above=0)


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
    window: Steps = setting(1_000, "Number of past steps.", least=1)


Clip = Norm | Adaptive


@record
class AdamW(Record):
    """Adam with decoupled weight decay."""

    kind = "adamw"
    lr: float = setting(1e-3, "Largest learning rate.", above=0)
    betas: tuple[float, float] | DynamicBetas = setting((0.9, 0.999), "Decay of the two moments.", least=0, below=1)
    eps: float = setting(1e-8, "Added to the root of the second moment.", above=0)
    weight_decay: float | Ramp = setting(0.01, "Decoupled weight decay of matrices; vectors have none.", least=0)
    l4: float | Ramp = setting(
        0.0, "Factor of the sum of fourth powers of the parameters in the loss.", least=0, compiled=False
    )
    clip: Clip | None = setting(None, "How gradients are bounded.")


@record
class Sgd(Record):
    """Stochastic gradient descent."""

    kind = "sgd"
    lr: float = setting(0.1, "Largest learning rate.", above=0)
    momentum: float | Ramp = setting(0.0, "Decay of the running gradient.", least=0, below=1)
    nesterov: bool = setting(False, "Looks ahead along the momentum.")
    weight_decay: float | Ramp = setting(0.0, "Weight decay of matrices; vectors have none.", least=0)
    l4: float | Ramp = setting(
        0.0, "Factor of the sum of fourth powers of the parameters in the loss.", least=0, compiled=False
    )
    clip: Clip | None = setting(None, "How gradients are bounded.")


@record
class Muon(Record):
    """Orthogonalised momentum for matrices, AdamW for the rest."""

    kind = "muon"
    compiled = False
    lr: float = setting(0.02, "Largest learning rate of matrices.", above=0)
    momentum: float | Ramp = setting(0.95, "Decay of the running gradient.", least=0, below=1)
    nesterov: bool = setting(True, "Looks ahead along the momentum.")
    iterations: int = setting(5, "Newton-Schulz iterations.", least=1)
    adamw_lr: float = setting(3e-4, "Largest learning rate of embeddings, heads and vectors.", above=0)
    betas: tuple[float, float] | DynamicBetas = setting((0.9, 0.95), "Decay of AdamW's two moments.", least=0, below=1)
    eps: float = setting(1e-8, "Added to the root of AdamW's second moment.", above=0)
    weight_decay: float | Ramp = setting(0.01, "Decoupled weight decay of matrices; vectors have none.", least=0)
    l4: float | Ramp = setting(0.0, "Factor of the sum of fourth powers of the parameters in the loss.", least=0)
    clip: Clip | None = setting(None, "How gradients are bounded.")


Optimizer = AdamW | Sgd | Muon
