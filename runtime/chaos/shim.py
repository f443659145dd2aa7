"""What runs inside the processes under test: it tells the harness what they are about to do and waits for its answer.

The harness copies this file to `sitecustomize.py` on their path, so Python runs it before the program, which stays as
it was emitted. It imports nothing but the standard library.

A rank tells of its start, of its steps (the audit events `dskc.*` of the runtime) and of what it does to checkpoint
files, one short connection each: a signal between two of them, and a fork, cannot mix them up. While it waits the
harness can do to it what it wants at exactly that moment. The answer is how many seconds to sleep. All processes see
the harness's wall clock; monotonic clocks are left alone, as a jump of the real clock leaves them.
"""

from __future__ import annotations

import datetime
import json
import mmap
import os
import socket
import struct
import sys
import time
from typing import Any

FOLDER, WATCHED, OWNER = "DSKC_CHAOS", "DSKC_CHAOS_WATCHED", "DSKC_CHAOS_OWNER"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS = {"os.mkdir": "create", "os.rename": "rename", "os.remove": "remove", "os.rmdir": "remove"}


class Tell:
    """Connects to the harness; falls silent when it is gone."""

    def __init__(self, folder: str, rank: int) -> None:
        self._address, self._rank = os.path.join(folder, "link"), rank
        self._watched = os.environ.get(WATCHED, "\0")

    def __call__(self, what: str, value: object = None) -> None:
        """Says it and does what the answer asks for."""
        said = {"what": what, "rank": self._rank, "pid": os.getpid(), "value": value, "clock": time.time()}
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.connect(self._address)
                link.sendall(json.dumps(said).encode() + b"\n")
                seconds = float(link.recv(64) or 0)
        except (OSError, ValueError):
            return
        if seconds > 0:
            time.sleep(seconds)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """Python calls it before each audited operation."""
        if event.startswith("dskc."):
            self(event[5:], args[0] if args else None)
        elif event == "open":
            path, mode, flags = args
            if self._inside(path) and (flags & WRITES if mode is None else set(mode) & set("wax+")):
                self("disk", ["open", str(path)])
        elif event in OPERATIONS and self._inside(args[0]):
            self("disk", [OPERATIONS[event], str(args[0]), str(args[1]) if event == "os.rename" else ""])

    def _inside(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._watched)


def shift_clock(folder: str, dates: bool) -> None:
    """From here on `time.time` is off by the number of seconds in a file; `dates` as well."""
    with open(os.path.join(folder, "clock"), "rb") as file:
        view = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    offset, real, real_ns = struct.Struct("<d"), time.time, time.time_ns
    time.time = lambda: real() + offset.unpack_from(view)[0]
    time.time_ns = lambda: real_ns() + int(offset.unpack_from(view)[0] * 1e9)
    if not dates:
        return

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)  # noqa: UP017

    Shifted.__name__ = Shifted.__qualname__ = "datetime"  # launchers send dates to each other as this class
    Shifted.__module__ = "datetime"
    datetime.datetime = Shifted  # type: ignore[misc]


def begin() -> None:
    """Ranks are watched; their launchers have the clock only, and so have the processes that ranks start."""
    folder = os.environ.get(FOLDER)
    if folder is None or not os.path.isdir(folder):
        return
    rank = os.environ.get("RANK", os.environ.get("DSKC_CHAOS_ALONE"))
    shift_clock(folder, dates=rank is None)
    if rank is not None and os.environ.setdefault(OWNER, str(os.getpid())) == str(os.getpid()):
        tell = Tell(folder, int(rank))
        tell("born", [os.getppid(), int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))])
        sys.addaudithook(tell.hook)


if __name__ == "sitecustomize":
    begin()
