"""Runs a program while faults strike it, one after the other, each when the run has come back from the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import processes
from .account import Outcome, settle
from .faults import Fault
from .link import Note
from .strike import STRIKES, Field, NotNow, later, moment
from .watch import Seen, Watch

FRUITLESS = 4  # starts of the job in a row without a new step, after which it is not started again


class Lost(Exception):
    """The run does not come back; the message says from what."""


@dataclass
class Due:
    """A strike that comes a moment after its note."""

    time: float
    note: Note


class Disturbed:
    """The run of `around.job`; `report` is called when a fault is over."""

    def __init__(
        self, around: Field, faults: Sequence[Fault], patience: float, report: Callable[[Outcome], None]
    ) -> None:
        self.around, self.patience, self._report = around, patience, report
        self.outcomes = [Outcome(fault) for fault in faults]
        self.watch = Watch(around.run)
        self._at = 0  # the fault that is next or under way
        self._since = 0.0  # when the step of the next one was done
        self._due: Due | None = None
        self._news = time.monotonic()  # when a step was done that had not been done before
        self._highest = 0
        self._fruitless = 0
        self._ending = False

    def go(self) -> None:
        """Trains to the end; `Lost` where there is no end."""
        job = self.around.job
        self._launch()
        while True:
            self.around.link.serve(0.02, self._answer)
            self._look()
            if self._ending:
                if job.over():
                    self._ending = False
                    self._launch()
            elif (codes := job.ended()) and self._over(codes):
                return
            if time.monotonic() - self._news > self.patience:
                raise Lost(f"no new step for {self.patience:g} s after {self._last()}")

    def _launch(self) -> None:
        self._fruitless += 1
        if self._fruitless > FRUITLESS:
            raise Lost(f"{FRUITLESS} starts of the job in a row without a new step after {self._last()}")
        self.around.job.launch()
        self.watch.add("launch")

    def _over(self, codes: dict[int, int]) -> bool:
        """Whether the run is done; a launcher that failed ends the job, which is then started again."""
        if all(code == 0 for code in codes.values()) and not self._preempted():
            return len(codes) == self.around.job.shape.nodes
        for node, code in codes.items():
            if code or self._preempted():
                self.watch.add("exit", node, code)
        if any(each.value["event"] == "stopped" for each in self.watch.seen if each.what == "event"):
            raise Lost("the program says that starting it again would not help")
        self.around.job.ask()
        self._ending = True
        return False

    def _preempted(self) -> bool:
        outcome = self._current()
        return outcome is not None and outcome.struck is not None and outcome.fault.kind.name == "terminate"

    def _current(self) -> Outcome | None:
        return self.outcomes[self._at] if self._at < len(self.outcomes) else None

    def _last(self) -> str:
        struck = [str(outcome.fault) for outcome in self.outcomes if outcome.struck is not None]
        return struck[-1] if struck else "the start"

    def _answer(self, note: Note) -> float:
        """Takes note of what a rank does, and strikes if it is the moment; how long the rank is to sleep."""
        self.watch.add(note.what, note.rank, note.value)
        if note.what == "born":
            self.around.ranks[note.rank] = (note.pid, note.value[0])
        if note.what == "step" and note.value > self._highest:
            self._highest, self._news, self._fruitless = note.value, time.monotonic(), 0
        self._arm(note)
        return self.around.slowed if note.what == "disk" else 0.0

    def _arm(self, note: Note) -> None:
        outcome = self._current()
        if outcome is None or outcome.struck is not None or self._due is not None:
            return
        if note.what == "step" and note.value >= outcome.fault.step and not self._since:
            self._since = time.monotonic()
        if moment(outcome.fault, note, self._since):
            if later(outcome.fault):
                self._due = Due(time.monotonic() + later(outcome.fault), note)
            else:
                self._strike(outcome, note)

    def _strike(self, outcome: Outcome, note: Note) -> None:
        self.watch.poll()  # what was written until now is no trace of it
        begun, peak = time.monotonic(), self._highest
        try:
            proof = STRIKES[outcome.fault.kind.name](self.around, outcome.fault, note)
        except NotNow:
            return
        outcome.struck, outcome.proof, outcome.peak = begun, proof, peak
        self.watch.add("struck", note.rank, str(outcome.fault), at=begun)

    def _look(self) -> None:
        """Reads what has been written and printed, and sees whether the fault under way is over."""
        outcome = self._current()
        if self._due is not None and time.monotonic() >= self._due.time and outcome is not None:
            due, self._due = self._due, None
            self._strike(outcome, due.note)
        for line in self.around.job.lines():
            self.watch.add("line", line.node, line.text, at=line.time)
        for seen in self.watch.poll():
            if outcome is not None and outcome.struck is not None and not outcome.shown:
                self._show(outcome, seen)
        if outcome is not None and outcome.struck is not None and outcome.shown:
            self._close(outcome)

    def _show(self, outcome: Outcome, seen: Seen) -> None:
        if not names(outcome.fault, seen.value, self.around.link.shift):
            return
        outcome.shown = seen.value["event"]
        if outcome.fault.kind.name == "disk-full":
            self.around.disk.free()
        self.around.slowed = 0.0

    def _close(self, outcome: Outcome) -> None:
        if self._highest <= outcome.peak:
            return
        settle(outcome, sorted(self.watch.seen, key=lambda seen: seen.time))
        if outcome.back is not None:
            self._report(outcome)
            self._at, self._since = self._at + 1, 0.0

    def finish(self) -> None:
        """Takes account of the fault that was under way when the run ended, and ends what is left of it."""
        time.sleep(0.05)
        self._look()
        outcome = self._current()
        if outcome is not None:
            settle(outcome, sorted(self.watch.seen, key=lambda seen: seen.time))
            self._report(outcome)
        left = self.around.job.processes()
        self.around.job.close()
        if any(processes.state(pid) for pid in left):
            raise RuntimeError(f"processes {left} are still there")


def names(fault: Fault, record: dict[str, Any], shift: float) -> bool:
    """Whether an event is the trace of a fault: it is of the right kind, and says what was done."""
    if record["event"] not in fault.kind.shows:
        return False
    if fault.kind.name == "slow-disk":
        return float(record.get("seconds", 0.0)) >= fault.number("seconds")
    if fault.kind.name == "clock":
        return abs(float(record["time"]) - time.time() - shift) < abs(fault.number("seconds")) / 2
    return True
