"""The worker of `run`: `python -m dskc.runtime.simulation FOLDER WORLD STEPS RANK ...`, one line of JSON per rank."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from .events import packed
from .program import trained


def main() -> None:
    """Simulates the ranks in their order."""
    folder, world, steps, *ranks = sys.argv[1:]
    for rank in map(int, ranks):
        start = time.perf_counter()
        try:
            record = trained(Path(folder).resolve(), rank, int(world), int(steps))
        except BaseException:
            print(f"rank {rank}:", file=sys.stderr)
            raise
        seconds = round(time.perf_counter() - start, 3)
        print(json.dumps({"rank": rank, "seconds": seconds, "record": packed(record)}), flush=True)


if __name__ == "__main__":
    main()
