"""The lines of `train.py` that differ with the layout: how the model is built, and what a step computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...dsl.spec import Spec
from ..layout import Layout
from .layout import fits, indented

ONE: Final = (
    "python train.py                      # goes on from the newest checkpoint of the run folder",
    "python train.py --run runs/second    # in another run folder",
    "python train.py --steps 10           # stops after step 10 of the whole run's schedule",
    "torchrun --nproc-per-node 1 train.py",
)
MANY: Final = (
    "launch/torchrun.sh                      # goes on from the newest checkpoint of the run folder",
    "launch/torchrun.sh --run runs/second    # in another run folder",
    "launch/torchrun.sh --steps 10           # stops after step 10 of the whole run's schedule",
    "sbatch launch/slurm.sbatch              # or: kubectl apply -f launch/kubernetes.yaml",
)


def usage(layout: Layout) -> tuple[str, ...]:
    """How the program is run."""
    return ONE if layout.world == 1 else MANY


def setup(spec: Spec, layout: Layout) -> tuple[str, ...]:
    """What comes before anything else."""
    lines = ["device.one_process()" if layout.world == 1 else "place = MESH.start(place, TIMES)"]
    if spec.training.deterministic:
        lines.append("device.deterministic()")
    return (*lines, f"device.allow_tf32({spec.precision.compute == 'tf32'})")


def load(names: str, layout: Layout) -> tuple[str, ...]:
    """Data, tokenizers: of many ranks on a machine one prepares what the others find in its cache."""
    line = f"{names} = load_data(place)"
    return (line,) if layout.world == 1 else ("with MESH.one_by_one():", f"    {line}")


def build(layout: Layout, model: str) -> tuple[str, ...]:
    """The model with its start values."""
    if layout.world == 1:
        return ("torch.manual_seed(SEED)", f"model = {model}().to(place)", "model.initialize(SEED)")
    return (
        f"torch.manual_seed(SEED{' + DATA.index' if layout.data > 1 else ''})",
        "with initialize.on_meta():",
        f"    model = {model}()",
        "gradients = wrap(model)",
        "initialize.materialize(model, place)",
        "model.initialize(SEED)",
    )


def compute(spec: Spec, layout: Layout, counts: bool) -> tuple[str, ...]:
    """Forward and backward of all micro-batches; with `counts` the counted targets of all of them are known before."""
    several = spec.training.gradient_accumulation > 1
    part = "share" if layout.data > 1 else "part"
    loss = f'objectives(**batch{", counted=counted" if counts else ""})["loss"]'
    lines = [] if several and counts else _batch(layout)
    if counts and not several:
        lines += counted("[batch]", layout)
    if layout.world > 1:
        lines.append(f"gradients.micro_batch(last={'part == ACCUMULATION - 1' if several else 'True'})")
    if several:
        lines += precise(spec, [f"{part} = {loss} / ACCUMULATION"])
        lines += [f"{part}.backward()", f"loss += {part}.detach()"]
        lines = ["loss = torch.zeros((), device=place)", _loop(layout, counts), *indented(lines)]
        lines = [*batches(layout), *counted("batches", layout), *lines] if counts else lines
    else:
        lines += [*precise(spec, [f"loss = {loss}"]), "loss.backward()"]
    return (*lines, "gradients.finish()") if layout.world > 1 else tuple(lines)


def _loop(layout: Layout, counts: bool) -> str:
    """Over the micro-batches; where targets are counted these are there already."""
    if counts:
        return "for part, batch in enumerate(batches):" if layout.world > 1 else "for batch in batches:"
    return f"for {'part' if layout.world > 1 else '_'} in range(ACCUMULATION):"


def batches(layout: Layout) -> list[str]:
    """All micro-batches of a step."""
    size = f"MICRO_BATCH{' * DATA.size' if layout.data > 1 else ''}"
    batch = f"training.batch(position.samples + part * {size}, MICRO_BATCH{', DATA' if layout.data > 1 else ''})"
    made = f"batches = [{batch} for part in range(ACCUMULATION)]"
    lines = [made] if fits(made, 12) else ["batches = [", f"    {batch}", "    for part in range(ACCUMULATION)", "]"]
    return [*lines, f"position.samples += {size} * ACCUMULATION"]


def counted(given: str, layout: Layout) -> list[str]:
    """How many targets of these batches count."""
    return [f"counted = totals.counted(counts, {given}{', LAYOUT' if layout.data > 1 else ''})"]


def _batch(layout: Layout) -> list[str]:
    if layout.data == 1:
        return ["batch = training.batch(position.samples, MICRO_BATCH)", "position.samples += MICRO_BATCH"]
    return [
        "batch = training.batch(position.samples, MICRO_BATCH, DATA)",
        "position.samples += MICRO_BATCH * DATA.size",
    ]


def precise(spec: Spec, lines: Sequence[str], device: str = "place.type") -> tuple[str, ...]:
    """The lines in the precision that the model computes in."""
    if spec.precision.compute != "bf16":
        return tuple(lines)
    return (f"with torch.autocast({device}, torch.bfloat16):", *indented(lines))
