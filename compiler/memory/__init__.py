"""Predicted peak memory of the ranks of a run, by kind."""

from __future__ import annotations

from .model import memory_of, states_of
from .stage import KINDS, StageMemory

__all__ = ["KINDS", "StageMemory", "memory_of", "states_of"]
