"""The passes, in order. Each is one function in one file: (plan, spec) -> plan; `verify` holds around each."""

from __future__ import annotations

from collections.abc import Callable

from ...dsl.spec import Spec
from ..plan import Plan
from ..verify import verify
from .cost import cost
from .fuse import fuse
from .pipeline import pipeline
from .precision import precision
from .recompute import recompute
from .shard import shard

Pass = Callable[[Plan, Spec], Plan]

PASSES: tuple[Pass, ...] = (precision, shard, cost, pipeline, recompute, fuse)


def run_passes(plan: Plan, spec: Spec, last: str | None = None) -> Plan:
    """The plan after all passes, or after the pass called `last`; "lower" stops before the first."""
    verify(plan)
    for apply in PASSES if last != "lower" else ():
        plan = verify(apply(plan, spec), after=apply.__name__)
        if apply.__name__ == last:
            break
    return plan
