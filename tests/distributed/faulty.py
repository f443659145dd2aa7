"""A program of the form that the compiler writes, on two ranks, which faults strike where its first argument says.

    python -m torch.distributed.run --nproc-per-node 2 faulty.py RUN STEPS FAULT...

A fault is `kind:restart:rank:step`: in that start of the ranks, on that rank, after the forward of that step; of the
faults `evaluate:...` SIGTERM comes during the evaluation after that step. `*` stands for every start.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dskc.runtime import checkpoint, errors, evaluate, guard, health, layout, mesh, optimizer, record, replicated
from dskc.runtime.recovery import Times

MESH = mesh.Mesh(data=2)
DATA = MESH.axis("data")
LAYOUT = layout.Layout(MESH)
TIMES = Times(heartbeat=4, collective=40, store=60, rendezvous=90, data=100, preemption=10)
ATTEMPTS = int(os.environ.get("ATTEMPTS", "3"))
SKIP = int(os.environ.get("SKIP_FAILING", "0"))
RESTART = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "crash": signal.SIGSEGV}


def strike(step: int, samples: int, loss: Tensor, faults: list[str]) -> Tensor:
    """The loss, unless a fault is due here; `error` lies in the samples of a step of the undisturbed run."""
    for fault in faults:
        kind, restart, rank, when = fault.split(":")
        due = samples == 8 * int(when) if kind == "error" else step == int(when)
        if restart not in (RESTART, "*") or int(rank) != MESH.rank or not due:
            continue
        if kind in SIGNALS:
            os.kill(os.getpid(), SIGNALS[kind])
        elif kind == "loop":
            while True:
                pass
        elif kind == "term":
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(1)
        elif kind == "nan":
            return loss * float("nan")
        elif kind == "spike":
            return loss * 1e4
        elif kind == "error":
            raise ValueError("this sample cannot be read")
    return loss


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def objectives(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.second(F.gelu(self.first(x))), y) / DATA.size}


def batch(first: int) -> dict[str, Tensor]:
    """This rank's four of eight samples."""
    source = torch.Generator().manual_seed(first + DATA.index * 4)
    x = torch.randn(4, 8, generator=source)
    return {"x": x, "y": x.sum(1).abs().long() % 4}


def validation(step: int, faults: list[str]) -> list[tuple[int, dict[str, Tensor]]]:
    for fault in faults:
        kind, restart, rank, when = fault.split(":")
        if kind == "evaluate" and restart == RESTART and int(rank) == MESH.rank and int(when) == step:
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(1)
    return [(8, batch(10_000))] * 50


def train(run: Path, last: int, faults: list[str]) -> None:
    MESH.start(torch.device("cpu"), TIMES)
    model = Net()
    gradients = replicated.Replicated(model, LAYOUT)
    updates = optimizer.adamw(model, lr=1e-2)
    checkpoints = checkpoint.Checkpoints(run / "checkpoints", "plan", layout=LAYOUT)
    position = checkpoints.restore(model, updates)
    health.ready(checkpoints, model, updates, position, last)
    with record.Record(run, last, 8, "samples", start=position.step, tensorboard=False, writes=MESH.first) as log:
        while position.step < last:
            health.pass_over(position, 8)
            loss = model.objectives(**batch(position.samples))["loss"]
            position.samples += 8
            loss = strike(position.step + 1, position.samples, loss, faults)
            gradients.micro_batch(last=True)
            loss.backward()
            gradients.finish()
            norm = optimizer.clip_norm(model, layout=LAYOUT)
            updates.step()
            updates.zero_grad()
            values = guard.finite(position.step + 1, loss, norm, LAYOUT)
            position.step += 1
            log.step(position.step, values["loss"], 1e-2)
            if position.step % 10 == 0:
                held_out = validation(position.step, faults)
                log.evaluation(position.step, evaluate.mean_over_ranks(model, model.objectives, held_out, LAYOUT))
            if position.step % 5 == 0 or position.step == last:
                checkpoints.save(model, updates, position, final=position.step == last)
            health.step()


def main() -> None:
    run, last, *faults = sys.argv[1:]
    with health.watch(Path(run), TIMES, attempts=ATTEMPTS, skip_failing=SKIP):
        train(Path(run), int(last), faults)


errors.main(main)
