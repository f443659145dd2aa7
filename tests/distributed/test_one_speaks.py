"""Of many ranks one writes and prints, and an error names its rank and ends its process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from dskc.runtime import console, record
from dskc.runtime.mesh import Mesh

from . import ranks
from .models import CPU

ROOT = Path(__file__).resolve().parents[2]
FAULTS = {
    "RunError": ("raise errors.RunError('the disk is full')", 1, "error on rank 3: the disk is full\n"),
    "any": ("raise ValueError('a surprise')", 1, "ValueError: a surprise\n"),
    "exit handlers": ("atexit.register(time.sleep, 100); raise errors.RunError('x')", 1, "error on rank 3: x\n"),
    "interrupt": ("raise KeyboardInterrupt", 130, ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_names_its_rank_and_ends_the_process_at_once(fault: str) -> None:
    line, code, words = FAULTS[fault]
    program = f"import atexit, time\nfrom dskc.runtime import errors\ndef main():\n    {line}\nerrors.main(main)"
    environment = {**os.environ, "RANK": "3", "WORLD_SIZE": "8"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == code
    assert done.stderr.endswith(words)
    assert ("error on rank 3" in done.stderr) == (fault != "interrupt")


def recorded(folder: str) -> tuple[bool, list[str]]:
    mesh = Mesh(data=2)
    mesh.start(CPU)
    silent = console.LINE.silent
    own = Path(folder) / str(mesh.rank)
    with record.Record(own, 2, 8, "tokens", writes=mesh.first, tensorboard=False) as log:
        log.step(1, 2.0, 0.1, 1.0)
        log.evaluation(1, {"loss": 1.0})
    mesh.stop()
    return silent, sorted(path.name for path in own.glob("*"))


def test_one_rank_writes(tmp_path: Path) -> None:
    first, other = ranks.run(recorded, 2, str(tmp_path))

    assert first == (False, ["loss.png", "metrics.jsonl"])
    assert other == (True, [])


def prepared(file: str) -> str:
    mesh = Mesh(data=4)
    mesh.start(CPU)
    with mesh.one_by_one():
        if not os.path.exists(file):
            time.sleep(0.2)
            with open(file, "x") as made:  # fails for a second one
                made.write(f"by {mesh.rank}")
    with open(file) as made:
        return made.read()


def test_one_rank_of_a_machine_prepares_what_the_others_find(tmp_path: Path) -> None:
    assert ranks.run(prepared, 4, str(tmp_path / "made")) == ["by 0"] * 4


def control() -> list[int]:
    mesh = Mesh(data=2)
    mesh.start(CPU)
    return dist.get_process_group_ranks(mesh.control)


def test_all_ranks_are_in_the_control_group() -> None:
    assert ranks.run(control, 2) == [[0, 1]] * 2
