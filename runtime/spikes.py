"""Steps whose loss or gradient norm is not finite or leaps up: they leave no trace in the weights.

    spikes = spikes.Skip(deviations=6, window=128, most=10)
    checkpoints = checkpoint.Checkpoints(..., extra={"spikes": spikes})
    ...
    values = guard.read(loss, norm, LAYOUT)             # the same on all ranks
    if spikes.accepts(position.step + 1, values, model):
        updates.step()

A value is a spike when it lies more than `deviations` standard deviations above the median of the last `window` steps
that were accepted. The deviation is 1.4826 times the median distance from the median, which estimates that of a normal
distribution and which the spikes of the past do not move (Rousseeuw and Croux, JASA 88, 1993), and at least 1 % of the
median: where a loss hardly varies, every bit of it would be a spike. 6 deviations over 128 steps of both loss and norm
are OLMo 2's (OLMo-core, SkipStepOptimizer), which takes mean and deviation of all. To go back some steps and leave out
the data between is what PaLM did by hand (Chowdhery et al. 2022, section 5.1: batches that spiked did no harm from
another state). `ZClip` (2025) scales such gradients down instead, which leaves a step in the direction of the spike.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import torch

from . import console, events, health
from .guard import NonFiniteError
from .layout import Model, modules
from .record import Record

if TYPE_CHECKING:
    from .checkpoint import Checkpoints, Position

NORMAL: Final = 1.4826  # standard deviations of a normal distribution in a median distance from the median
LEAST: Final = 0.01  # of the median: the smallest deviation


class Spikes:
    """The history that says what is a spike; saved with the run, so that a resumed one decides the same."""

    def __init__(self, deviations: float | None = 6.0, window: int = 128, most: int = 10) -> None:
        """Without `deviations` only values that are not finite count; `most` may follow one another."""
        self.count = 0  # of the whole run
        self._deviations, self._window, self._most = deviations, window, most
        self._past: dict[str, deque[float]] = {}
        self._kept: list[torch.Tensor] = []

    def keep(self, model: Model) -> None:
        """Before each step of a model whose forward pass changes buffers, such as the running means of norms."""
        buffers = _buffers(model)
        self._kept = self._kept or [torch.empty_like(buffer) for buffer in buffers]
        for kept, buffer in zip(self._kept, buffers, strict=True):
            kept.copy_(buffer)

    def _put_back(self, model: Model) -> None:
        """The buffers as they were before this step."""
        for kept, buffer in zip(self._kept, _buffers(model), strict=bool(self._kept)):
            buffer.copy_(kept)

    def found(self, values: Mapping[str, float]) -> str:
        """What is wrong with the values of a step, in words; they join the history where nothing is."""
        wrong = [text for name, value in values.items() if (text := self._wrong(name, value))]
        if not wrong:
            for name, value in values.items():
                self._past.setdefault(name, deque(maxlen=self._window)).append(value)
        return ", ".join(wrong)

    def _wrong(self, name: str, value: float) -> str:
        if not math.isfinite(value):
            return f"{name} is {value}"
        past = self._past.get(name, ())
        if self._deviations is None or len(past) < max(2, self._window // 2):
            return ""
        middle = median(past)
        deviation = max(NORMAL * median(abs(each - middle) for each in past), LEAST * abs(middle))
        away = (value - middle) / deviation if deviation else 0.0
        return f"{name} is {value:.4g}, {away:.3g} deviations above {middle:.4g}" if away > self._deviations else ""

    def state(self) -> dict[str, object]:
        """For the checkpoint."""
        return {"count": self.count, "past": {name: list(past) for name, past in self._past.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.count = int(state["count"])
        self._past = {name: deque(past, maxlen=self._window) for name, past in state["past"].items()}


class Skip(Spikes):
    """Leaves such steps out: their samples are consumed, weights and optimizer stay as they are."""

    def __init__(self, deviations: float | None = 6.0, window: int = 128, most: int = 10) -> None:
        super().__init__(deviations, window, most)
        self._row = 0  # skipped one after the other

    def accepts(self, step: int, values: Mapping[str, float], model: Model) -> bool:
        """Whether the step is made; `NonFiniteError` after `most` that were not."""
        wrong = self.found(values)
        if not wrong:
            self._row = 0
            return True
        self.count, self._row = self.count + 1, self._row + 1
        if self._row > self._most:
            raise NonFiniteError(
                f"step {step}: {wrong}; {self._most} steps before it were skipped for the like. No batch does that: "
                "start again from an earlier checkpoint with a lower learning rate or a tighter clip"
            )
        if health.first():
            events.LOG.add("skipped", step, why=wrong, count=self.count)
        console.LINE.note(f"step {step} is skipped: {wrong} ({self.count} so far)")
        self._put_back(model)
        return False


class RollBack(Spikes):
    """Goes back to the newest checkpoint, and on from there with the samples that follow, or with the same."""

    def __init__(self, deviations: float | None = 6.0, window: int = 128, most: int = 3, retry: bool = False) -> None:
        """`most` times before the step that the first one was in is done."""
        super().__init__(deviations, window, most)
        self._retry = retry
        self._furthest, self._row, self._why = 0, 0, ""

    def accepts(self, step: int, values: Mapping[str, float]) -> bool:
        """Whether the step is made; else the run has to `go_back`. `NonFiniteError` after `most` such steps."""
        self._why = self.found(values)
        if not self._why:
            return True
        self._row = self._row + 1 if step <= self._furthest else 1
        self._furthest = max(step, self._furthest)
        if self._row > self._most:
            raise NonFiniteError(
                f"step {step}: {self._why}; the run has gone back {self._most} times and came here again. "
                "Start again from an earlier checkpoint with a lower learning rate or a tighter clip"
            )
        return False

    def go_back(
        self, checkpoints: Checkpoints, model: Model, optimizer: torch.optim.Optimizer, position: Position, log: Record
    ) -> None:
        """To the newest checkpoint: weights, optimizer, random states, history."""
        optimizer.zero_grad()
        self._put_back(model)
        checkpoints.finish()
        count, step, samples = self.count + 1, position.step + 1, position.samples
        found = checkpoints.restore(model, optimizer)
        self.count = count
        position.step, position.samples = found.step, found.samples if self._retry else samples
        log.go_back(position.step)
        if health.first():
            events.LOG.add(
                "rolled_back", step - 1, to=position.step, why=self._why, count=count,
                samples=None if self._retry else [found.samples, samples - 1],
            )  # fmt: skip
        then = "the same samples again" if self._retry else f"without samples {found.samples} to {samples - 1}"
        console.LINE.note(f"step {step}: {self._why}; back to step {position.step}, {then} ({count} so far)")
        health.beat("first step", "store")


def _buffers(model: Model) -> list[torch.Tensor]:
    return [buffer for part in modules(model) for buffer in part.buffers()]
