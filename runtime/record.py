"""What a run leaves to look at: a progress line, `metrics.jsonl`, TensorBoard files and a plot of the loss."""

from __future__ import annotations

import fcntl
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import board, cache, console
from .errors import RunError

SMOOTH = 0.9  # share of the past in the running mean of a step's seconds


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`; a last line cut short by a crash is left out."""
    records: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


def _hold(folder: Path) -> int:
    """Locks a run's folder for as long as the descriptor is open, however the process ends."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(held)
        raise RunError(f"another process trains in {folder}; use another run folder") from error
    except OSError:  # a file system without locks
        return held
    return held


class Record:
    """Records of one run in `folder`; `per_step` counts the `unit` (tokens or samples) that a step consumes.

    Every `every` steps one record holds their means. A run that goes on from step `start` drops what an earlier one
    had recorded beyond it. Used in a `with` statement, so that a run which stops early has its plot as well.
    Of many ranks one `writes`; the others go through the same calls.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        per_step: int,
        unit: str,
        start: int = 0,
        every: int = 1,
        title: str = "",
        tensorboard: bool = True,
        progress: bool = True,
        writes: bool = True,
    ) -> None:
        self.writes = writes
        if not writes:
            return
        self.path = folder / "metrics.jsonl"
        self.steps, self.per_step, self.unit, self.every = steps, per_step, unit, every
        self.title, self.progress = title, progress
        self._waiting: list[tuple[float, ...]] = []  # steps not yet recorded: loss, seconds, gradient norm
        self._done, self._left_out = 0, 0
        self._step = start
        self._seconds = 0.0  # running mean of a step's time
        self._first = 0.0  # when the first step ended
        self._warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _hold(folder)
            self._open(start)
        except OSError as error:
            raise RunError(f"cannot record the run in {folder}: {error.strerror}") from error
        self._board = board.Board(folder / "tensorboard", start) if tensorboard else None
        if start >= steps:
            console.LINE.note(f"all {steps} steps of this run are done; another run folder starts from the beginning")
        self._last = time.perf_counter()

    def _open(self, step: int) -> None:
        """Drops what lies beyond a step."""
        kept = [json.dumps(record) + "\n" for record in read(self.path) if record["step"] <= step]
        with cache.creating(self.path) as temporary:
            temporary.write_text("".join(kept), "utf-8")
        self._file = self.path.open("a", encoding="utf-8", buffering=1)  # one line at a time

    def go_back(self, step: int) -> None:
        """The run goes on from an earlier step: what was recorded beyond it has not happened."""
        if not self.writes:
            return
        self._waiting.clear()
        with self._training_first():
            self._file.close()
            self._open(step)

    def step(self, step: int, loss: float, rate: float, norm: float | None = None, left_out: int = 0) -> None:
        """Takes note of one optimizer step; `step` counts those done, so the first is 1.

        `left_out` are steps that a guard has skipped or taken back so far. A loss that is not finite is none to record.
        """
        sys.audit("dskc.step", step)  # for whoever watches the ranks from outside, as `dskc chaos` does
        if not self.writes:
            return
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self._done += 1
        self._step = step
        if self._done == 1:
            self._first = now
        self._seconds = seconds if self._done <= 2 else SMOOTH * self._seconds + (1.0 - SMOOTH) * seconds
        self._left_out = left_out
        if math.isfinite(loss) and (norm is None or math.isfinite(norm)):
            self._waiting.append((loss, seconds) if norm is None else (loss, seconds, norm))
        if self._waiting and (step % self.every == 0 or step == self.steps):
            self._record(step, rate)
        if self.progress and (console.LINE.due() or self._done == 1 or step == self.steps):
            console.LINE.update(self._progress(step, loss, rate, norm))

    def _record(self, step: int, rate: float) -> None:
        """Writes the means over the steps since the last record."""
        loss, seconds, *norm = (sum(values) / len(self._waiting) for values in zip(*self._waiting, strict=True))
        self._waiting.clear()
        values = {"loss": loss, "rate": rate, **({"gradient_norm": norm[0]} if norm else {})}
        values |= {"left_out": self._left_out} if self._left_out else {}
        self._write(step, "train", {**values, f"{self.unit}_per_second": self.per_step / seconds})

    def _progress(self, step: int, loss: float, rate: float, norm: float | None) -> str:
        width = len(str(self.steps))
        parts = [
            f"step {step:>{width}}/{self.steps}",
            f"loss {loss:.4f}",
            f"lr {rate:.2e}",
            *([] if norm is None else [f"norm {norm:.2f}"]),
            *([f"{self._left_out} left out"] if self._left_out else []),
        ]
        if self._done > 1:  # the first step also compiles and warms up: its time says nothing about those after it
            pace = (self._last - self._first) / (self._done - 1)  # evaluations and checkpoints included
            parts.insert(2, f"{console.count(self.per_step / self._seconds)} {self.unit}/s")
            parts.append(f"{console.duration((self.steps - step) * pace)} left")
        return "   ".join(parts)

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Records means over the validation samples, just taken; the time since the last step is not training."""
        if not self.writes:
            return
        self._write(step, "validation", values)
        shown = "   ".join(f"{name} {value:.4f}" for name, value in values.items())
        console.LINE.note(f"step {step:>{len(str(self.steps))}}/{self.steps}   validation: {shown}")
        self._last = time.perf_counter()

    def _write(self, step: int, phase: str, values: Mapping[str, float]) -> None:
        with self._training_first():
            self._file.write(json.dumps({"step": step, "phase": phase, **values}) + "\n")
            if self._board is not None:
                self._board.add(step, {f"{phase}/{name}": value for name, value in values.items()})

    @contextmanager
    def _training_first(self) -> Iterator[None]:
        """A disk that takes no more records is reported once; it is no reason to stop training."""
        try:
            yield
        except OSError as error:
            if not self._warned:
                console.LINE.note(f"warning: cannot record in {self.path.parent}: {error.strerror}; training goes on")
            self._warned = True

    def close(self) -> None:
        """Ends the files and draws `loss.png`; nothing when no step was recorded."""
        if not self.writes:
            return
        console.LINE.end()
        for file in (self._file, self._board):
            if file is not None:
                with self._training_first():
                    file.close()
        records = read(self.path)
        if records:
            from . import plot

            with self._training_first():
                console.LINE.note(
                    f"loss curve: {plot.loss_curve(records, self.path.with_name('loss.png'), self.title)}"
                )
        os.close(self._lock)

    def __enter__(self) -> Record:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is KeyboardInterrupt and self.writes:
            console.LINE.note(f"stopped after step {self._step}; steps since the last checkpoint have to be repeated")
