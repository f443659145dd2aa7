"""What all contestants share: sizes, start values, batches, and how they are told to go on."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

VOCAB, DIM, DEPTH, HEADS, KV_HEADS, HIDDEN, SEQUENCE = 2_048, 256, 6, 8, 4, 704, 256
MICRO_BATCH, ACCUMULATION = 8, 2
STEPS, WARMUP, RATE, FLOOR = 300, 15, 1e-3, 0.1
EPS, THETA = 1e-6, 10_000.0
TOKENS = MICRO_BATCH * ACCUMULATION * SEQUENCE


def start_values() -> dict[str, Tensor]:
    """Every parameter by its name in the generated program, the same in each process."""
    size = DIM // HEADS
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (VOCAB, DIM)}
    for i in range(DEPTH):
        layer = f"layers.{i}"
        shapes[f"{layer}.attention_norm.weight"] = (DIM,)
        shapes[f"{layer}.self_attention.query.weight"] = (HEADS * size, DIM)
        shapes[f"{layer}.self_attention.key.weight"] = (KV_HEADS * size, DIM)
        shapes[f"{layer}.self_attention.value.weight"] = (KV_HEADS * size, DIM)
        shapes[f"{layer}.self_attention.output.weight"] = (DIM, HEADS * size)
        shapes[f"{layer}.feed_forward_norm.weight"] = (DIM,)
        shapes[f"{layer}.swiglu.gate.weight"] = (HIDDEN, DIM)
        shapes[f"{layer}.swiglu.up.weight"] = (HIDDEN, DIM)
        shapes[f"{layer}.swiglu.down.weight"] = (DIM, HIDDEN)
    shapes |= {"rms_norm.weight": (DIM,), "linear.weight": (VOCAB, DIM)}
    random = torch.Generator().manual_seed(0)
    return {
        name: 0.02 * torch.randn(shape, generator=random) if len(shape) == 2 else torch.ones(shape)
        for name, shape in shapes.items()
    }


def batch(sample: int) -> dict[str, Tensor]:
    """The micro-batch that begins at this sample: random tokens and their successors."""
    rows = torch.randint(0, VOCAB, (MICRO_BATCH, SEQUENCE + 1), generator=torch.Generator().manual_seed(1 + sample))
    return {"tokens": rows[:, :-1].contiguous(), "targets": rows[:, 1:].contiguous()}


class Turns:
    """Runs as many steps as standard input says, answers with their times, and waits for its next turn."""

    def __init__(self, name: str, parameters: int) -> None:
        self.left = 0
        self.times: list[float] = []
        self.losses: list[float] = []
        self.started = 0.0
        self._say({"name": name, "parameters": parameters})
        self._wait()

    def step(self, loss: float) -> None:
        """To be called after each step, when its loss is known."""
        self.times.append(time.perf_counter() - self.started)
        self.losses.append(loss)
        self.left -= 1
        if not self.left:
            self._say({"times": self.times, "losses": self.losses, **_memory()})
            self._wait()
        self.started = time.perf_counter()

    def _wait(self) -> None:
        line = sys.stdin.readline()
        if not line.strip():
            raise SystemExit(0)
        self.left, self.times, self.losses = int(line), [], []
        self.started = time.perf_counter()

    def _say(self, value: object) -> None:
        print("@" + json.dumps(value), flush=True)


def _memory() -> dict[str, float]:
    """MiB: most of the whole process, and most since the last turn ended."""
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    Path("/proc/self/clear_refs").write_text("5")  # the kernel begins to count the peak anew
    return {"process_mib": round(whole, 1), "turn_mib": round(peak, 1)}
