"""The lines of `train.py` that save: when, how, and where what a save costs decides when the next one comes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import Final

from ...dsl.schema.checkpoint import Checkpoint
from ...dsl.spec import Spec
from ...dsl.values import AUTO, Quantity
from ..layout import Layout
from ..recovery import Recovery
from .constants import Constants, Length

FIRST: Final = 10
"""Steps to the first save where nothing else is said: `runtime/pace.py`."""


@dataclass(frozen=True)
class Saves:
    """Conditions and lines around `checkpoints.save`.

    when        the condition to save after a step
    before      lines before the loop
    after       lines after a save
    modules     what they use of the runtime, and `time`
    arguments   the last ones of the checkpoint manager
    """

    when: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    arguments: str = ""


def saves(spec: Spec, constants: Constants, length: Length, layout: Layout, recovery: Recovery) -> Saves:
    """How this run saves itself."""
    found = _interval(spec, constants, length, layout, recovery)
    return replace(found, arguments=_arguments(spec.checkpoint, constants, layout))


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


def _arguments(settings: Checkpoint, constants: Constants, layout: Layout) -> str:
    keep = constants.add("KEEP", settings.keep, "checkpoint.keep")
    found = [f"keep={keep}", *(["layout=LAYOUT"] if layout.world > 1 else [])]
    return ", ".join([*found, *(["background=True"] if settings.async_ else [])])
