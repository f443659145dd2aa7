"""All ranks of a program, one after the other, in a few processes at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import RunError
from .events import Record, unpacked

Progress = Callable[[int, float], None]
"""Told of each rank that is done, and its seconds."""


def run(
    folder: Path, world: int, ranks: Sequence[int] | None = None, steps: int = 1, workers: int = 1,
    progress: Progress = lambda rank, seconds: None,
) -> dict[int, Record]:  # fmt: skip
    """The records of `ranks` (all) of the program in `folder`, each rank with `steps` steps of training."""
    chosen = list(range(world)) if ranks is None else list(ranks)
    found: dict[int, Record] = {}

    def work(share: Sequence[int]) -> None:
        for rank, seconds, record in _worker(folder, world, share, steps):
            found[rank] = record
            progress(rank, seconds)

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, share) for share in (chosen[i::workers] for i in range(workers)) if share]:
            done.result()
    return dict(sorted(found.items()))


def _worker(folder: Path, world: int, ranks: Sequence[int], steps: int) -> Iterator[tuple[int, float, Record]]:
    command = [sys.executable, "-m", f"{__package__}", str(folder), str(world), str(steps), *map(str, ranks)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            data = json.loads(line)
            yield data["rank"], data["seconds"], unpacked(data["record"])
        trouble = child.stderr.read()
    if child.returncode:
        raise RunError(f"a rank of {folder} could not be simulated:\n{trouble.strip()[-4000:]}")
