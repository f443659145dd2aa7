"""The lines of `train.py` from the gradients to the end of a step: what the loss guard does to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...dsl.schema.training import RollBack, Skip
from ...dsl.spec import Spec
from ..layout import Layout
from .constants import Constants
from .layout import indented


@dataclass(frozen=True)
class Guard:
    """The optimizer's update, and what goes with it.

    update      lines that read loss and norm, and update
    made        the object that judges them, before the checkpoints are
    saved       its state, by name
    before      lines before the loop
    begin       lines at the start of each step
    logged      the last argument of `log.step`
    modules     what they use of the runtime
    """

    update: tuple[str, ...]
    made: tuple[str, ...] = ()
    saved: str = ""
    before: tuple[str, ...] = ()
    begin: tuple[str, ...] = ()
    logged: str = ""
    modules: tuple[str, ...] = ()


def guard(spec: Spec, constants: Constants, layout: Layout, after: Sequence[str], buffers: bool) -> Guard:
    """`after` are lines that follow an update; with `buffers` a forward pass changes more than gradients."""
    asked = spec.training.loss_guard
    ranks = ", LAYOUT" if layout.world > 1 else ""
    if asked is None:
        read = f"values = guard.finite(position.step + 1, loss, norm{ranks})"
        return Guard(("updates.step()", "updates.zero_grad()", *after, read))
    read = f"values = guard.read(loss, norm{ranks})"
    saved, begin = '"spikes": spiking', ("spiking.keep(model)",) if buffers else ()
    if isinstance(asked, Skip):
        accepted = "if spiking.accepts(position.step + 1, values, model):"
        update = (read, accepted, *indented(["updates.step()", *after]), "updates.zero_grad()")
        made = (f"spiking = spikes.Skip({_arguments(asked, constants)})",)
        return Guard(update, made, saved, (), begin, "spiking.count", ("spikes",))
    again = ", retry=True" if asked.then == "retry" else ""
    back = ["spiking.go_back(checkpoints, model, updates, position, log)", "continue"]
    refused = "if not spiking.accepts(position.step + 1, values):"
    update = (read, refused, *indented(back), "updates.step()", "updates.zero_grad()", *after)
    made = (f"spiking = spikes.RollBack({_arguments(asked, constants)}{again})",)
    before = ("checkpoints.save(model, updates, position)  # where there is none, to go back to",)
    return Guard(update, made, saved, before, begin, "spiking.count", ("spikes",))


def _arguments(asked: Skip | RollBack, constants: Constants) -> str:
    values = {"DEVIATIONS": asked.deviations, "WINDOW": asked.window, "MOST_SPIKES": asked.most}
    return ", ".join(constants.add(name, value, "training.loss_guard") for name, value in values.items())
