"""Layers of generated models that torch has no module for."""

from __future__ import annotations

from .elementwise import Learned, quick_gelu
from .rope import rope

__all__ = ["Learned", "quick_gelu", "rope"]
