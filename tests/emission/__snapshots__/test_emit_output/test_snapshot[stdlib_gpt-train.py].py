"""Trains `gpt`. Written by dskc from stdlib_gpt.dsk; yours to edit.

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
    checkpoint,
    console,
    device,
    errors,
    evaluate,
    generate,
    guard,
    health,
    optimizer,
    packing,
    record,
    recovery,
    schedule,
    sources,
    tokenizer,
)

from model import Gpt

PLAN = "(see below)"  # sha256 of plan.json
HERE = Path(__file__).parent
SEED = 1234  # stdlib_gpt.dsk:34
SOURCE = "{stdlib}/**/*.py"  # stdlib_gpt.dsk:24
SEQUENCE = 256  # stdlib_gpt.dsk:26
VALIDATION = 0.02  # stdlib_gpt.dsk:27
VOCAB = 2048  # stdlib_gpt.dsk:25
MICRO_BATCH = 8  # stdlib_gpt.dsk:32
ACCUMULATION = 2  # stdlib_gpt.dsk:33
STEPS = 300  # stdlib_gpt.dsk:31
LEARNING_RATE = 0.001  # stdlib_gpt.dsk:39
BETAS = (0.9, 0.95)  # stdlib_gpt.dsk:40
EPSILON = 1e-08
WEIGHT_DECAY = 0.1  # stdlib_gpt.dsk:41
WARMUP = 15  # stdlib_gpt.dsk:46
FLOOR = 0.1  # stdlib_gpt.dsk:47
CLIP = 1.0  # stdlib_gpt.dsk:42
EVALUATE_EVERY = 100  # stdlib_gpt.dsk:35
CHECKPOINT_EVERY = 100  # stdlib_gpt.dsk:56
KEEP = 2  # stdlib_gpt.dsk:57
LOG_EVERY = 10
SAMPLE_TOKENS = 200
TEMPERATURE = 0.8
ATTEMPTS = 3
# How long this run waits for what, in seconds. Each is shorter than the next: what knows most
# about a fault is the first to notice it.
TIMES = recovery.Times(
    heartbeat=300,  # a rank that has finished nothing for so long hangs, and is ended
    collective=600,  # a collective waits for the other ranks
    store=681,  # the same until the first step is done: ranks join, load, compile
    rendezvous=1311,  # machines wait for each other
    data=86_400,  # all wait for what one rank does alone
    preemption=30,  # from the signal to the end by force
)


def load_data(place: torch.device) -> tuple[packing.Tokens, packing.Tokens, tokenizer.Tokenizer]:
    """Rows of tokens to train on and to validate with, and the tokenizer."""
    documents = sources.text(SOURCE)
    training_documents, held_out = sources.split(documents, VALIDATION, SEED)
    coder = tokenizer.train_bpe(training_documents, vocab=VOCAB)
    training = packing.pack(training_documents, coder, SEQUENCE, SEED, place)
    validation = packing.pack(held_out, coder, SEQUENCE, SEED, place)
    return training, validation, coder


def build_optimizer(model: Gpt) -> torch.optim.Optimizer:
    """Follows the gradients; only matrices decay."""
    return optimizer.adamw(
        model, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, weight_decay=WEIGHT_DECAY
    )


def validate(model: Gpt, validation: packing.Tokens) -> dict[str, float]:
    """Means over the validation data."""
    with torch.autocast(validation.device.type, torch.bfloat16):
        return evaluate.mean(model, model.objectives, validation.in_order(MICRO_BATCH))


def write_sample(model: Gpt, coder: tokenizer.Tokenizer) -> None:
    """Shows what the model has learned to write."""
    place = next(model.parameters()).device
    with torch.autocast(place.type, torch.bfloat16):
        ids = generate.tokens(
            model, [coder.end], SAMPLE_TOKENS, SEQUENCE, SEED, TEMPERATURE, vocab=coder.vocab
        )
    print(coder.decode(ids))


def train(run: Path, stop: int | None, place: torch.device) -> None:
    """Trains to the last step, or to `stop`, from the newest checkpoint of the run."""
    device.one_process()
    device.allow_tf32(False)
    training, validation, coder = load_data(place)
    last = STEPS if stop is None else min(stop, STEPS)

    torch.manual_seed(SEED)
    model = Gpt().to(place)
    model.initialize(SEED)
    updates = build_optimizer(model)
    checkpoints = checkpoint.Checkpoints(run / "checkpoints", PLAN, keep=KEEP)
    position = checkpoints.restore(model, updates)
    objectives = device.compiled(model.objectives, place)
    how = "eager" if device.missing_compiler(place) else "compiled"
    console.LINE.note(f"gpt, 5.5 M parameters on {device.describe(place)}, {how}")
    health.ready(checkpoints, model, updates, position, last)

    with record.Record(
        run,
        STEPS,
        MICRO_BATCH * ACCUMULATION * SEQUENCE,
        "tokens",
        start=position.step,
        title="gpt",
        every=LOG_EVERY,
    ) as log:
        while position.step < last:
            rate = LEARNING_RATE * schedule.cosine(position.step, STEPS, WARMUP, FLOOR)
            optimizer.set_rate(updates, rate)
            loss = torch.zeros((), device=place)
            for _ in range(ACCUMULATION):
                batch = training.batch(position.samples, MICRO_BATCH)
                position.samples += MICRO_BATCH
                with torch.autocast(place.type, torch.bfloat16):
                    part = objectives(**batch)["loss"] / ACCUMULATION
                part.backward()
                loss += part.detach()
            norm = optimizer.clip_norm(model, CLIP)
            updates.step()
            updates.zero_grad()
            values = guard.finite(position.step + 1, loss, norm)
            position.step += 1
            log.step(position.step, values["loss"], rate, values["gradient_norm"])
            if position.step % EVALUATE_EVERY == 0 or position.step == last:
                log.evaluation(position.step, validate(model, validation))
            if position.step % CHECKPOINT_EVERY == 0 or position.step == last:
                checkpoints.save(model, updates, position, final=position.step == last)
            health.step()
    write_sample(model, coder)


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
