"""The lines of `train.py` that save: when, how, and where what a save costs decides when the next one comes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import Final

from ...dsl.spec import Spec
from ...dsl.values import AUTO, Quantity
from ..layout import Layout
from ..recovery import Recovery
from .constants import Constants, Length
from .layout import bracketed

FIRST: Final = 10
"""Steps to the first save where nothing else is said: `runtime/pace.py`."""


@dataclass(frozen=True)
class Saves:
    """Conditions and lines around `checkpoints.save`.

    when        the condition to save after a step
    before      lines before the loop
    after       lines after a save
    modules     what they use of the runtime, and `time`
    made        lines that make the checkpoint manager
    entered     whether something may be in flight when training ends
    """

    when: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    entered: bool = False


def saves(
    spec: Spec, constants: Constants, length: Length, layout: Layout, recovery: Recovery, extra: str = ""
) -> Saves:
    """How this run saves itself, with the state of an `extra` part."""
    found = _interval(spec, constants, length, layout, recovery)
    keep = constants.add("KEEP", spec.checkpoint.keep, "checkpoint.keep")
    arguments = ['run / "checkpoints"', "PLAN", f"keep={keep}", *(["layout=LAYOUT"] if layout.world > 1 else [])]
    arguments += ["background=True"] if spec.checkpoint.async_ else []
    tiers = _tiers(spec, constants, layout)
    arguments += [f"near=[{', '.join(tiers)}]"] if tiers else []
    arguments += [f"extra={{{extra}}}"] if extra else []
    return replace(
        found,
        made=tuple(bracketed("checkpoints = checkpoint.Checkpoints(", arguments, ")", 4)),
        entered=spec.checkpoint.async_ or bool(tiers),
        modules=(*found.modules, *(["near"] if tiers else [])),
    )


def _tiers(spec: Spec, constants: Constants, layout: Layout) -> list[str]:
    """Where each node keeps its part, the fastest first."""
    tiers = []
    if spec.checkpoint.peer_copy and layout.world > layout.gpu_per_node:
        tiers.append("near.Tier(near.MEMORY, peers=True)")
    if spec.checkpoint.local is not None:
        tiers.append(f"near.Tier(Path({constants.add('LOCAL', spec.checkpoint.local, 'checkpoint.local')}))")
    return tiers


def _interval(spec: Spec, constants: Constants, length: Length, layout: Layout, recovery: Recovery) -> Saves:
    every, many, last = spec.checkpoint.every, layout.world > 1, "position.step == last"
    if every is AUTO:
        mtbf = constants.add("MTBF", spec.cluster.mtbf, "cluster.mtbf")
        arguments = [mtbf, "position.step", *(["MESH"] if many else []), *_within(constants, recovery)]
        start = f"saves = pace.Pace({', '.join(arguments)})"
        after = ("saves.saved(position.step, checkpoints.cost)",)
        return Saves(f"saves.due(position.step) or {last}", (start,), after, ("pace",))
    if not isinstance(every, Quantity):
        return Saves(last)
    if every.dimension == "seconds":
        name = constants.add("CHECKPOINT_SECONDS", every.value, "checkpoint.every")
        passed = f"time.monotonic() - saved >= {name}"
        passed = f"agree.yes({passed}, MESH)" if many else passed
        now = ("saved = time.monotonic()",)
        return Saves(f"{passed} or {last}", now, now, ("time", *(["agree"] if many else [])))
    interval = length.interval("CHECKPOINT_EVERY", every, "checkpoint.every")
    return Saves(f"position.step % {interval} == 0 or {last}")


def _within(constants: Constants, recovery: Recovery) -> list[str]:
    """The bound that a budget of recovery sets, which the first save keeps too."""
    if recovery.budget is None or recovery.every is None:
        return []
    most = constants.add("SAVE_WITHIN", floor(recovery.most), "checkpoint.recover_within")
    return [f"most={most}", *([f"first={recovery.every}"] if recovery.every < FIRST else [])]
