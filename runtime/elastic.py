"""Starts the program of the layout that the ranks of this start can fill: fewer may come back than there were.

    PROGRAMS = {256: HERE / "train.py", 192: HERE / "world_192/train.py"}
    elastic.start(PROGRAMS)

The launcher starts as many ranks as there are machines. Those that no layout has a place for wait until the others are
done, or until the launcher starts all again because there are more, or fewer.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import TCPStore
from torch.distributed import DistStoreError

from .errors import RunError
from .mesh import TORCHRUN

FINISHED = "dskc/finished"
LEAVING = 10.0  # seconds that ranks without a place have to hear that the others are done
PATIENCE = timedelta(days=1)  # between two looks of a rank that waits


def start(programs: Mapping[int, Path]) -> None:
    """Runs the program of the largest layout of at most as many ranks as there are, given by their number."""
    missing = [name for name in TORCHRUN if name not in os.environ]
    if missing:
        raise RunError(f"{', '.join(missing)} not set: start this with launch/torchrun.sh, or with torchrun")
    rank, there = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    taken = max((count for count in programs if count <= there), default=0)
    if not taken:
        raise RunError(f"{there} ranks were started, but the smallest layout of this program needs {min(programs)}")
    if there > taken and rank == 0:
        print(f"{there} ranks were started: {taken} train, the others wait", file=sys.stderr, flush=True)
    if rank >= taken:
        _wait(rank)
        return
    # Made before the program makes its own, which then is the same one: it outlives the program.
    store = _store(first=True) if rank == 0 and there > taken else None
    os.environ["WORLD_SIZE"] = str(taken)
    _run(programs[taken])
    if store is not None:
        store.set(FINISHED, "")
        with suppress(RuntimeError):  # one of them is gone already
            store.wait([f"{FINISHED}/{each}" for each in range(taken, there)], timedelta(seconds=LEAVING))


def _run(program: Path) -> None:
    """As Python runs a file; modules beside it come first, then those of the folder of all layouts."""
    sys.argv[0] = str(program)
    sys.path.insert(0, str(program.parent))
    runpy.run_path(str(program), run_name="__main__")


def _wait(rank: int) -> None:
    """Until the others are done; what else happens, the launcher decides."""
    with suppress(RuntimeError, OSError):
        store = _store(first=False)
        while True:
            with suppress(DistStoreError):
                store.wait([FINISHED], PATIENCE)
                store.set(f"{FINISHED}/{rank}", "")
                return
    signal.pause()


def _store(first: bool) -> TCPStore:
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(*place, is_master=first, wait_for_workers=False, multi_tenant=True, timeout=timedelta(minutes=10))
