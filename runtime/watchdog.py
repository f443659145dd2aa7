"""What watches over one rank, in a process of its own: a rank that hangs, or is stopped, cannot watch itself.

    python -m dskc.runtime.watchdog PID RUN RANK PREEMPTION        (started by `health`)

The rank writes to its standard input. A line is JSON: `{"step": 7, "allow": 300.0, "doing": "training"}` says that it
lives and will say so again within 300 s; `{"end": ""}` that it comes to its end as it should, `{"end": "..."}` that it
fails, and why. A byte below 32 is the number of a signal that the rank has been sent, told from within C: it comes
through even where the rank waits for others and runs no Python.

A rank that says nothing for longer than it asked for is killed, its stack printed where it can still do that, and a
`hang` is recorded. A rank that ends without a word has `died`. After SIGTERM a rank has `PREEMPTION` seconds, or none
where another rank has died or hung: then the launcher wants to start all of them again, and it would wait for 30 s.
torchrun's own watchdog is not used: in torch 2.13 it kills the launcher with the rank that hangs, and nothing starts
again.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from . import events

STACK: Final = 2.0  # seconds that a rank has to print its stack
LOOK: Final = 0.1  # seconds between two looks at what other ranks came to, after SIGTERM
QUIET: Final = 2.0  # seconds that a rank which sleeps has more: it may wait for one that is stopped or runs in circles
STATES: Final = {"R": "running", "S": "sleeping", "D": "in the kernel", "T": "stopped", "t": "traced", "Z": "gone"}


class Watchdog:
    """Follows what one rank says until it ends."""

    def __init__(self, pid: int, run: Path, rank: int, preemption: float) -> None:
        self.pid, self.preemption = pid, preemption
        self._run = run
        self._log = events.Log()
        self._log.open(run, rank)
        self._seen = _size(self._log.path)  # what was recorded before is of earlier starts
        self._deadline = float("inf")
        self._said: dict[str, Any] = {"step": 0, "allow": 0.0, "doing": "starting"}
        self._text = b""
        self._patient = False  # whether it has had `QUIET` already
        self._terminated = False  # by the launcher, or by whoever ends the job
        self._end: str | None = None

    def follow(self) -> None:
        """Until the rank ends, one way or the other."""
        gone = _process(self.pid)
        while True:
            wait = self._deadline - time.monotonic()
            wait = min(wait, LOOK) if self._terminated else wait
            ready, _, _ = select.select([0, *gone], [], [], None if wait == float("inf") else max(0.0, wait))
            if 0 in ready and not self._hear():
                break
            if set(gone) & set(ready):
                while self._hear():  # what it said last
                    pass
                break
            if self._terminated and self._others_fell():
                self._kill()
            elif time.monotonic() >= self._deadline and not self._late():
                break
        self._gone()

    def _hear(self) -> bool:
        """Takes what the rank says; False where it will say nothing more."""
        ready, _, _ = select.select([0], [], [], 0)
        text = os.read(0, 1 << 16) if ready else b""
        for byte in text:
            if byte == signal.SIGTERM and not self._terminated:
                self._terminated = True
                self._deadline = min(self._deadline, time.monotonic() + self.preemption)
        *lines, self._text = (self._text + bytes(b for b in text if b >= 32 or b == 10)).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        return bool(text)

    def _take(self, said: dict[str, Any]) -> None:
        self._end = said.get("end", self._end)
        if "allow" in said:
            self._said, self._patient = said, False
            self._log.step = said["step"]
            if not self._terminated:
                self._deadline = time.monotonic() + said["allow"]

    def _late(self) -> bool:
        """What becomes of a rank that has said nothing for too long; whether it is waited for."""
        state = _state(self.pid)
        if state == "sleeping" and not (self._terminated or self._patient):
            self._patient, self._deadline = True, self._deadline + QUIET
            return True
        if self._terminated:
            self._kill()
            return True
        waited = round(self._said["allow"], 1)
        self._log.add("hang", doing=self._said["doing"], state=state, waited=waited)
        self._end = ""  # that is said
        print(
            f"\nerror on rank {self._log.rank}: no sign of life for {waited:g} s ({self._said['doing']}, after step "
            f"{self._said['step']}; the process is {state}): it is killed",
            file=sys.stderr,
            flush=True,
        )
        _send(self.pid, signal.SIGABRT)  # faulthandler prints the stack, unless the process is stopped
        end = time.monotonic() + STACK
        while time.monotonic() < end and _state(self.pid) not in ("stopped", "gone"):
            time.sleep(0.05)
        self._kill()
        return False

    def _others_fell(self) -> bool:
        """Whether another rank has died or hung since this one was started."""
        if self._log.path is None or _size(self._log.path) <= self._seen:
            return False
        with self._log.path.open("rb") as file:
            file.seek(self._seen)
            text = file.read()
        return any(
            record["event"] in ("died", "hang") and record["rank"] != self._log.rank for record in events.parse(text)
        )

    def _kill(self) -> None:
        self._deadline = float("inf")
        _send(self.pid, signal.SIGKILL)

    def _gone(self) -> None:
        """Records the end of a rank that is none; of those that the launcher ended, the first rank tells the step."""
        if self._end == "" or (self._terminated and self._end is None and self._log.rank):
            return
        killed = "ended by the launcher" if self._terminated else "killed, or crashed outside of Python"
        self._log.add("died", doing=self._said["doing"], reason=self._end or killed)


def _process(pid: int) -> list[int]:
    """What becomes readable when the process ends; where there is no such thing, the pipe alone tells it."""
    try:
        return [os.pidfd_open(pid)]
    except (AttributeError, OSError):
        return []


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return "gone" if Path("/proc/self").exists() else "unknown"
    return STATES.get(text.rpartition(")")[2].split()[0], "unknown")


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _size(path: Path | None) -> int:
    return path.stat().st_size if path is not None and path.exists() else 0


def main() -> None:
    """Watches until the rank is gone."""
    pid, run, rank, preemption = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its rank, not before
    Watchdog(int(pid), Path(run), int(rank), float(preemption)).follow()


if __name__ == "__main__":
    main()
