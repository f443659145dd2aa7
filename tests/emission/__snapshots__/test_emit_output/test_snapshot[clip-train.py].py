"""Trains `clip`. Written by dskc from clip.dsk; yours to edit.

How to run it:
    python train.py                      # goes on from the newest checkpoint of the run folder
    python train.py --run runs/second    # in another run folder
    python train.py --steps 10           # stops after step 10 of the whole run's schedule
    torchrun --nproc-per-node 1 train.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from dskc.runtime import (
    arrays,
    checkpoint,
    console,
    device,
    errors,
    guard,
    health,
    optimizer,
    record,
    recovery,
    schedule,
)

from model import DECAYING, Clip

PLAN = "(see below)"  # sha256 of plan.json
HERE = Path(__file__).parent
SEED = 0
SAMPLES = 4096
MICRO_BATCH = 4  # clip.dsk:25
STEPS = 10  # clip.dsk:24
LEARNING_RATE = 0.0005  # clip.dsk:29
BETAS = (0.9, 0.98)  # clip.dsk:30
EPSILON = 1e-06  # clip.dsk:31
WEIGHT_DECAY = 0.2  # clip.dsk:32
WARMUP = 0
KEEP = 3
LOG_EVERY = 10
ATTEMPTS = 3
# How long this run waits for what, in seconds. Each is shorter than the next: what knows most
# about a fault is the first to notice it.
TIMES = recovery.Times(
    heartbeat=300,  # a rank that has finished nothing for so long hangs, and is ended
    collective=600,  # a collective waits for the other ranks
    store=688,  # the same until the first step is done: ranks join, load, compile
    rendezvous=1318,  # machines wait for each other
    data=86_400,  # all wait for what one rank does alone
    preemption=30,  # from the signal to the end by force
)


def load_data(place: torch.device) -> arrays.Random:
    """Random samples."""
    fields = {
        "images": arrays.Field((3, 224, 224)),
        "tokens": arrays.Field((77,), classes=49_408),
    }
    return arrays.Random(fields, SAMPLES, SEED, place)


def build_optimizer(model: Clip) -> torch.optim.Optimizer:
    """Follows the gradients; only matrices decay."""
    return optimizer.adamw(
        model, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, weight_decay=WEIGHT_DECAY, decay=DECAYING
    )


def train(run: Path, stop: int | None, place: torch.device) -> None:
    """Trains to the last step, or to `stop`, from the newest checkpoint of the run."""
    device.one_process()
    device.allow_tf32(False)
    training = load_data(place)
    last = STEPS if stop is None else min(stop, STEPS)

    torch.manual_seed(SEED)
    model = Clip().to(place)
    model.initialize(SEED)
    updates = build_optimizer(model)
    checkpoints = checkpoint.Checkpoints(run / "checkpoints", PLAN, keep=KEEP)
    position = checkpoints.restore(model, updates)
    objectives = device.compiled(model.objectives, place)
    how = "eager" if device.missing_compiler(place) else "compiled"
    console.LINE.note(f"clip, 151.3 M parameters on {device.describe(place)}, {how}")
    health.ready(checkpoints, model, updates, position, last)

    with record.Record(
        run, STEPS, MICRO_BATCH, "samples", start=position.step, title="clip", every=LOG_EVERY
    ) as log:
        while position.step < last:
            rate = LEARNING_RATE * schedule.constant(position.step, WARMUP)
            optimizer.set_rate(updates, rate)
            batch = training.batch(position.samples, MICRO_BATCH)
            position.samples += MICRO_BATCH
            loss = objectives(**batch)["loss"]
            loss.backward()
            norm = optimizer.clip_norm(model)
            updates.step()
            updates.zero_grad()
            values = guard.finite(position.step + 1, loss, norm)
            position.step += 1
            log.step(position.step, values["loss"], rate, values["gradient_norm"])
            if position.step == last:
                checkpoints.save(model, updates, position, final=position.step == last)
            health.step()


def main() -> None:
    """Reads the flags and trains."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, default=HERE / "run", help="folder of the run (run)")
    parser.add_argument("--steps", type=errors.positive, help="stop after this step")
    parser.add_argument("--device", type=device.named, help="cpu or cuda (the GPU if there is one)")
    flags = parser.parse_args()
    with health.watch(flags.run, TIMES, attempts=ATTEMPTS):
        train(flags.run, flags.steps, flags.device or device.choose())


if __name__ == "__main__":
    errors.main(main)
