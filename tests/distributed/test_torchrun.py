"""Programs as torchrun starts them: ranks find each other, a wrong number is told, an error of one ends all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import sys, time
import torch
from dskc.runtime import collectives, errors, recovery
from dskc.runtime.mesh import Mesh

MESH = Mesh(data=2)
DATA = MESH.axis("data")

def main():
    place = MESH.start(torch.device("cpu"), recovery.Times(heartbeat=2, collective=4, store=30, rendezvous=60))
    if sys.argv[1:] == ["fail"] and MESH.rank == 1:
        raise errors.RunError("no data here")
    total = collectives.all_reduce(torch.tensor(MESH.rank + 1.0, device=place), DATA)
    if sys.argv[1:] == ["fail"]:
        time.sleep(300)
    if MESH.first:
        print("total", total.item())
    MESH.stop()

errors.main(main)
"""
WAITING = """
import sys, time
import torch
from dskc.runtime import collectives, recovery
from dskc.runtime.mesh import Mesh

MESH = Mesh(data=2)
DATA = MESH.axis("data")
MESH.start(torch.device("cpu"), recovery.Times(heartbeat=0.5, collective=1, store=4, rendezvous=60))
collectives.all_reduce(torch.ones(1), DATA)
if sys.argv[1:] == ["settle"]:
    MESH.settle()
start = time.monotonic()
if MESH.rank == 1:
    time.sleep(300)
try:
    collectives.all_reduce(torch.ones(1), DATA)
except RuntimeError:
    print("waited", time.monotonic() - start, flush=True)
    raise SystemExit(1)
"""


def torchrun(folder: Path, ranks: int, *arguments: str, code: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    program = folder / "train.py"
    program.write_text(code, "utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.run(
        [*command, str(program), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_ranks_find_each_other(tmp_path: Path) -> None:
    done = torchrun(tmp_path, 2)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["total 3.0"]


def test_a_wrong_number_of_processes_is_told(tmp_path: Path) -> None:
    done = torchrun(tmp_path, 3)

    assert done.returncode == 1
    assert (
        "3 processes were started, but this program is for 2 processes (pipeline 1 x data 2 x tensor 1)" in done.stderr
    )
    assert "    torchrun --nproc-per-node 2 train.py\n" in done.stderr


def test_an_error_of_one_rank_ends_all(tmp_path: Path) -> None:
    start = time.monotonic()
    done = torchrun(tmp_path, 2, "fail")

    assert done.returncode == 1
    assert "error on rank 1: no data here\n" in done.stderr
    assert time.monotonic() - start < 100  # the other rank would sleep for 300 s


def test_ranks_that_train_wait_less_than_ranks_that_start(tmp_path: Path) -> None:
    waited = {
        how: float(torchrun(tmp_path, 2, how, code=WAITING).stdout.removeprefix("waited "))
        for how in ("start", "settle")
    }

    assert waited["start"] >= 4 > waited["settle"] >= 1
