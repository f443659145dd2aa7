"""What happens to a run besides training: `events.jsonl` in its folder, one record a line, the oldest first.

    {"time": 1789000000.123, "restart": 0, "rank": 0, "step": 120, "event": "saved", "seconds": 0.4}

`time` is seconds since 1970; `restart` how often the launcher has started the ranks again; `step` the optimizer steps
done. All ranks, and what watches over them, append to one file: a record is one `write`, so that they do not mix.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Final

from . import console

FILE: Final = "events.jsonl"
EVENTS: Final = {
    "started": "the ranks were started; the first rank says so before anything else",
    "resumed": "the state of a checkpoint was loaded, or none was there; what is trained next follows it",
    "saved": "a checkpoint was written",
    "save_failed": "a checkpoint could not be written; training goes on",
    "damaged": "a checkpoint did not pass its checks and was set aside",
    "died": "a rank ended before its work was done",
    "hang": "a rank gave no sign of life for too long and was killed",
    "preempted": "the ranks were asked to end, saved and ended",
    "rolled_back": "the loss guard went back to the last checkpoint",
    "skipped": "samples were consumed without a step on them",
    "stopped": "the run ended before its last step, and starting it again would not help",
    "finished": "the last step is done and saved",
}


class Log:
    """Appends to the events of one run; silent until it is opened. Nothing that goes wrong here stops a run."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.rank = 0
        self.step = 0  # steps done, for records that do not say otherwise
        self._restart = 0
        self._warned = False

    def open(self, run: Path, rank: int = 0) -> None:
        """From here on what happens is recorded in the folder `run`."""
        self.path, self.rank, self.step = run / FILE, rank, 0
        self._restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        self._warned = False

    def close(self) -> None:
        """What happens from here on is not recorded."""
        self.path = None

    def add(self, event: str, step: int | None = None, **details: object) -> None:
        """Records an event of `EVENTS`; `details` are values that JSON has."""
        if event not in EVENTS:
            raise ValueError(f"no event is called {event!r}; there are {', '.join(EVENTS)}")
        if self.path is None:
            return
        record = {
            "time": round(time.time(), 3),
            "restart": self._restart,
            "rank": self.rank,
            "step": self.step if step is None else step,
            "event": event,
            **details,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append(self.path, json.dumps(record))
        except OSError as error:
            if not self._warned:
                console.LINE.note(f"warning: cannot record events in {self.path.parent}: {error.strerror}")
            self._warned = True


def append(path: Path, line: str) -> None:
    """Adds a line in one `write`; one that a crash has cut short before it is ended first."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(file).st_size
        cut = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        os.write(file, f"{chr(10) if cut else ''}{line}\n".encode())
    finally:
        os.close(file)


def read(run: Path) -> list[dict[str, Any]]:
    """The records of a run, the oldest first."""
    path = run / FILE
    return parse(path.read_bytes()) if path.is_file() else []


def parse(text: bytes) -> list[dict[str, Any]]:
    """The records in a part of the file; lines that a crash has cut short are left out."""
    records = []
    for line in text.decode("utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("event") in EVENTS:
            records.append(record)
    return records


LOG = Log()  # a process trains one run
