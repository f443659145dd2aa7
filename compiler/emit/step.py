"""The lines of a training step that give every gradient, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

from ...dsl.spec import Spec
from .layout import indented


def compute(spec: Spec) -> tuple[str, ...]:
    """Forward and backward of all micro-batches."""
    if spec.training.gradient_accumulation == 1:
        forward = _precise(spec, ['loss = objectives(**batch)["loss"]'])
        return (*_batch(), *forward, "loss.backward()")
    lines = [*_batch(), *_precise(spec, ['part = objectives(**batch)["loss"] / ACCUMULATION'])]
    lines += ["part.backward()", "loss += part.detach()"]
    return ("loss = torch.zeros((), device=place)", "for _ in range(ACCUMULATION):", *indented(lines))


def _batch() -> list[str]:
    return ["batch = training.batch(position.samples, MICRO_BATCH)", "position.samples += MICRO_BATCH"]


def _precise(spec: Spec, lines: Sequence[str]) -> list[str]:
    """The lines in the precision that the model computes in."""
    if spec.precision.compute != "bf16":
        return list(lines)
    return ["with torch.autocast(place.type, torch.bfloat16):", *indented(lines)]
