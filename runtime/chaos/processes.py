"""Processes as Linux shows them in /proc: who is there, who is stopped, who belongs to a run, who listens."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")


def state(pid: int) -> str | None:
    """The letter of its state, such as R, S and T (stopped); None when it is gone or only its exit code is left."""
    try:
        letter = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
    return None if letter in "ZX" else letter


def parent(pid: int) -> int | None:
    """The process that started it."""
    try:
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def descendants(ancestor: int, among: Iterable[int]) -> list[int]:
    """The process itself, then those of `among` that it or one of them has started."""
    parents = {pid: parent(pid) for pid in among}
    found = [ancestor]
    for pid in found:  # grows while it is read
        found += [child for child, own in parents.items() if own == pid]
    return found


def marked(mark: bytes) -> list[int]:
    """The processes that have `mark` in their environment: those of one run, whoever started them."""
    found = []
    for path in PROC.iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (path / "environ").read_bytes().split(b"\0") and state(int(path.name)):
                    found.append(int(path.name))
    return found


def kill(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Sends a signal to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_for(pids: Iterable[int], wanted: str | None, seconds: float = 5.0) -> bool:
    """Whether all of them come into a state (None: are gone) in so many seconds."""
    waiting, end = set(pids), time.monotonic() + seconds
    while waiting and time.monotonic() < end:
        waiting = {pid for pid in waiting if state(pid) != wanted}
        if waiting:
            time.sleep(0.001)
    return not waiting


def listener(port: int) -> int | None:
    """The process that listens on a TCP port of this machine."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
                    sockets.add(f"socket:[{fields[9]}]")
    for path in PROC.iterdir() if sockets else ():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                if any(os.readlink(file) in sockets for file in (path / "fd").iterdir()):
                    return int(path.name)
    return None
