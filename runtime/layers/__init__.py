"""Layers of generated models that torch has no module for."""

from __future__ import annotations

from .elementwise import Learned, quick_gelu, shift
from .experts import ExpertLinear, Router, combine, dispatch, split_combine, split_dispatch, update_router_bias
from .losses import contrastive, cross_entropy, kl_divergence, split_contrastive, split_cross_entropy
from .metrics import accuracy, counted, perplexity, split_accuracy, split_perplexity
from .rope import rope
from .split import RowLinear, SplitBatchNorm, SplitEmbedding

__all__ = [
    "ExpertLinear",
    "Learned",
    "Router",
    "RowLinear",
    "SplitBatchNorm",
    "SplitEmbedding",
    "accuracy",
    "combine",
    "contrastive",
    "counted",
    "cross_entropy",
    "dispatch",
    "kl_divergence",
    "perplexity",
    "quick_gelu",
    "rope",
    "shift",
    "split_accuracy",
    "split_combine",
    "split_contrastive",
    "split_cross_entropy",
    "split_dispatch",
    "split_perplexity",
    "update_router_bias",
]
