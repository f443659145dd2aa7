"""How often to save: what loses least to saves and failures together, within what a budget leaves. All in seconds."""

from __future__ import annotations

from math import inf, sqrt


def young(stall: float, mtbf: float) -> float:
    """The interval between saves that each stall training for `stall`, where a failure comes every `mtbf` on average.

    sqrt(2 stall mtbf): J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17 (1974);
    never more than `mtbf`, as in J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart
    dumps", FGCS 22 (2006). What `runtime/pace.py` does with the stall that it measures.
    """
    return min(sqrt(2 * stall * mtbf), mtbf)


def lost(interval: float, stall: float, mtbf: float, recovery: float) -> float:
    """The share of time that saves and failures take, to first order: each failure costs its recovery and half an
    interval (Young 1974; Daly 2006, equation 5)."""
    return stall / interval + (interval / 2 + recovery) / mtbf


def steps_of(wanted: float, step: float, least: float = 0.0, most: float = inf) -> int:
    """The interval in whole steps: `wanted` within `least` and `most`, and one step at least."""
    return max(1, int(min(max(wanted, least), most) / step + 1e-9))
