"""The worker of `run`: `python -m dskc.runtime.simulation FOLDER WORLD STEPS RANK ...`, one line of JSON per rank."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import RunError
from .events import packed
from .forked import forked
from .program import trained


def main() -> None:
    """Simulates the ranks in their order."""
    name, world, steps, *ranks = sys.argv[1:]
    folder = Path(name).resolve()
    for rank in map(int, ranks):
        try:
            found = forked(partial(_rank, folder, rank, int(world), int(steps)))
        except RunError as error:
            sys.exit(f"rank {rank}:\n{error}")
        print(json.dumps(found), flush=True)


def _rank(folder: Path, rank: int, world: int, steps: int) -> dict[str, Any]:
    start = time.perf_counter()
    record = trained(folder, rank, world, steps)
    return {"rank": rank, "seconds": round(time.perf_counter() - start, 3), "record": packed(record)}


if __name__ == "__main__":
    main()
