"""Layers of generated models that torch has no module for."""

from __future__ import annotations

from .elementwise import Learned, quick_gelu, shift
from .experts import ExpertLinear, Router, combine, dispatch, update_router_bias
from .losses import accuracy, contrastive, cross_entropy, kl_divergence, perplexity
from .rope import rope

__all__ = [
    "ExpertLinear",
    "Learned",
    "Router",
    "accuracy",
    "combine",
    "contrastive",
    "cross_entropy",
    "dispatch",
    "kl_divergence",
    "perplexity",
    "quick_gelu",
    "rope",
    "shift",
    "update_router_bias",
]
