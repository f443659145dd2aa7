"""Factors of the learning rate as pure functions of the step (counted from 0), so that a resumed run needs no state.

Each rises linearly over the `warmup` steps, its first step taking 1/warmup and its last one the full rate.
"""

from __future__ import annotations

import math


def _rise(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def _progress(step: int, steps: int, warmup: int) -> float:
    """0 at the end of the warm-up, 1 at `steps`."""
    return min(1.0, max(0.0, (step - warmup) / max(1, steps - warmup)))


def constant(step: int, warmup: int = 0) -> float:
    """The full rate after the warm-up."""
    return _rise(step, warmup)


def linear(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Falls in a straight line from 1 to `floor` at `steps`."""
    return _rise(step, warmup) * (1.0 - (1.0 - floor) * _progress(step, steps, warmup))


def cosine(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Falls along half a cosine from 1 to `floor` at `steps` (Loshchilov and Hutter, 2017)."""
    half = 0.5 * (1.0 + math.cos(math.pi * _progress(step, steps, warmup)))
    return _rise(step, warmup) * (floor + (1.0 - floor) * half)
