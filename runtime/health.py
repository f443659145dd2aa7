"""Whether a run goes on: signs of life of its ranks, a signal that ends them in time, and when to give up.

    with health.watch(run, TIMES):
        ...                                                # load, build, restore
        health.ready(checkpoints, model, updates, position, last)
        while position.step < last:
            ...
            values = guard.finite(...)                     # here the ranks agree on whether to leave
            position.step += 1
            health.step()

A process of its own watches each rank (`watchdog`) and kills it when it says nothing for longer than it may; the
launcher then starts all ranks again. After SIGTERM the ranks finish their step, or leave an evaluation, save, and end
with code 75. What happens is recorded in `events`. Without `watch` all of this does nothing.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from . import agree, console, crashes, events
from .errors import Preempted, StopError
from .mesh import Mesh
from .recovery import Times

if TYPE_CHECKING:
    from .checkpoint import Checkpoints, Position
    from .layout import Model

ATTEMPTS = 3


class Watch:
    """The rank's side: what it tells its watchdog, and what it has been told."""

    def __init__(self, run: Path, times: Times) -> None:
        self.times = times
        self.rank = int(os.environ.get("RANK", "0"))
        self.leaving = False  # SIGTERM came to this rank
        self.agreed = False  # all ranks leave at the end of this step
        self.position: Position | None = None
        self.mesh, self.last = Mesh(), 0
        self.settled = False  # the first step is done
        self.skip_failing = 0
        self.skips: list[tuple[int, int | None]] = []  # see `crashes.skips`
        self.save: Callable[[], bool] = bool
        self.asked: tuple[dist.Work | None, torch.Tensor] | None = None
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONSAFEPATH": "1"}
        command = [sys.executable, "-m", f"{__package__}.watchdog", str(os.getpid()), str(run), str(self.rank)]
        self._dog = subprocess.Popen(
            [*command, str(times.preemption)], stdin=subprocess.PIPE, env=environment, start_new_session=True
        )
        assert self._dog.stdin is not None
        self._pipe = self._dog.stdin
        os.set_blocking(self.pipe, False)

    @property
    def pipe(self) -> int:
        """Where the watchdog listens."""
        return self._pipe.fileno()

    def tell(self, said: dict[str, object]) -> None:
        """One line to the watchdog; one that is gone, or too slow to read, is no reason to stop."""
        with suppress(OSError):
            os.write(self.pipe, json.dumps(said).encode() + b"\n")

    def end(self, why: str) -> None:
        """The last word: nothing, or what the rank fails of."""
        self.tell({"end": why[:1000]})
        with suppress(OSError):
            self._pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._dog.wait(5)

    def terminated(self, *_: object) -> None:
        """SIGTERM: the end of the step is the end of the run; before the first one there is nothing to save."""
        first, self.leaving = not self.leaving, True
        if first and self.position is None:
            events.LOG.add("preempted", saved=False)
            raise Preempted

    def leave(self) -> None:
        """Saves and ends; all ranks are here."""
        beat("saving", "preemption")
        saved = self.save()
        if self.mesh.first:
            events.LOG.add("preempted", saved=saved)
            console.LINE.note(f"told to end: after step {events.LOG.step}, {'saved' if saved else 'not saved'}")
        raise Preempted


WATCH: Watch | None = None  # a process trains one run


@contextmanager
def watch(run: Path, times: Times | None = None, attempts: int = ATTEMPTS, skip_failing: int = 0) -> Iterator[None]:
    """Watches over this rank until the block ends; `StopError` after `attempts` starts in a row without a new step.

    With `skip_failing`, the samples of a step that failed in so many starts in a row are passed over; then it is
    `attempts` times that many.
    """
    global WATCH
    before = signal.getsignal(signal.SIGTERM)
    enabled = faulthandler.is_enabled()
    faulthandler.enable()  # what the watchdog kills, and what crashes, prints its stack
    events.LOG.open(run, int(os.environ.get("RANK", "0")))
    WATCH = made = Watch(run, times or Times())
    made.skip_failing = skip_failing
    beat("starting", "data")
    signal.signal(signal.SIGTERM, made.terminated)
    woken = signal.set_wakeup_fd(made.pipe, warn_on_full_buffer=False)
    try:
        if made.rank == 0:
            _begin(made, run, attempts)
        yield
        if made.mesh.first:
            events.LOG.add("finished")
        made.end("")
    except (Preempted, KeyboardInterrupt):
        made.end("")
        raise
    except StopError as error:
        events.LOG.add("stopped", reason=str(error))
        made.end("")
        _end_launcher(made)
        raise
    except BaseException as error:
        made.end(f"{type(error).__name__}: {error}")
        raise
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGTERM, before)
        if not enabled:
            faulthandler.disable()
        events.LOG.close()
        WATCH = None


def _begin(made: Watch, run: Path, attempts: int) -> None:
    """The first rank tells how the ranks ended the last time, and decides whether to go on."""
    records = events.read(run)
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    why = crashes.verdict(records, attempts * max(1, made.skip_failing))
    if why is None and again:  # a rank that ended otherwise may have been the first to be noticed
        last = [record for life in crashes.lives(records)[-1:] for record in life.records]
        why = next((record["reason"] for record in last if record["event"] == "stopped"), None)
    if why is not None:
        raise StopError(why)
    ended = [life for life in crashes.lives(records)[-1:] if not life.orderly]
    made.skips = crashes.skips(records, made.skip_failing) if made.skip_failing else []
    events.LOG.add("started", world=int(os.environ.get("WORLD_SIZE", "1")))
    for life in ended:
        console.LINE.note(f"started again: {crashes.cause(life)}")


def _end_launcher(made: Watch) -> None:
    """torchrun starts ranks again whatever their exit code is; a third SIGTERM would leave its ranks behind."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    end = time.monotonic() + (0.0 if os.environ.get("LOCAL_RANK") == "0" else 2.0)
    while time.monotonic() < end and not made.leaving:
        time.sleep(0.05)
    if not made.leaving:
        os.kill(os.getppid(), signal.SIGTERM)


def beat(doing: str = "training", rung: str = "heartbeat") -> None:
    """A sign of life; the next one follows within the time-out `rung` of `Times`. Other threads have no say."""
    if WATCH is not None and threading.current_thread() is threading.main_thread():
        WATCH.tell({"step": events.LOG.step, "allow": getattr(WATCH.times, rung), "doing": doing})


def ready(
    checkpoints: Checkpoints, model: Model, optimizer: torch.optim.Optimizer, position: Position, last: int
) -> None:
    """Before the first step: what is saved where the run has to end; training keeps `position` up to date."""
    events.LOG.step = position.step
    if WATCH is None:
        return
    WATCH.mesh = checkpoints.mesh
    if WATCH.mesh.first:
        events.LOG.add("resumed", samples=position.samples)
    if WATCH.skip_failing:
        heard = agree.first(json.dumps(WATCH.skips), WATCH.mesh)
        WATCH.skips = [(done, first) for done, first in json.loads(heard)]

    def save() -> bool:
        return checkpoints.save(model, optimizer, position) and checkpoints.finish()

    WATCH.last, WATCH.save, WATCH.position = last, save, position
    beat("first step", "store")


def pass_over(position: Position, samples: int) -> None:
    """Before each step, which takes so many `samples`: counts them as consumed where the step fails again and again."""
    while WATCH is not None:
        first = position.samples
        known = next((each for each in WATCH.skips if each in ((position.step, first), (position.step, None))), None)
        if known is None:
            return
        position.samples += samples
        if known[1] is None:
            WATCH.skips[WATCH.skips.index(known)] = (position.step, first)
            if WATCH.mesh.first:
                events.LOG.add("skipped", samples=[first, first + samples - 1], why=crashes.FAILING)
        console.LINE.note(f"step {position.step + 1}: samples {first} to {first + samples - 1} are passed over")


def step() -> None:
    """After each step: a sign of life; `Preempted` where the ranks have agreed to end."""
    if WATCH is None or WATCH.position is None:
        return
    events.LOG.step = WATCH.position.step
    if not WATCH.settled:
        WATCH.mesh.settle()
        WATCH.settled = True
    if WATCH.agreed:
        WATCH.leave()
    if WATCH.position.step < WATCH.last:
        beat()
    else:
        beat("finishing", "data")


def pause(mesh: Mesh | None = None) -> None:
    """Between two batches of an evaluation: a sign of life; `Preempted` where a rank was told to end before the last.

    What this rank was told is on its way while the batch is computed, so that the ranks never wait for it.
    """
    if WATCH is None or WATCH.position is None:
        return
    events.LOG.step = WATCH.position.step
    beat("evaluating")
    told = torch.tensor(float(WATCH.leaving))
    if mesh is not None and mesh.world > 1:
        before, work = WATCH.asked, dist.all_reduce(told, dist.ReduceOp.MAX, group=mesh.control, async_op=True)
        WATCH.asked = work, told
        if before is None:
            return
        work, told = before
        if work is not None:
            work.wait()
    if told.item():
        WATCH.leave()


def first() -> bool:
    """Whether this rank records what all of them do."""
    return WATCH is None or WATCH.mesh.first


def leaving() -> bool:
    """Whether this rank was told to end."""
    return WATCH is not None and WATCH.leaving


def agreed(leave: bool) -> None:
    """What the ranks have agreed on: to leave at the end of this step, or not."""
    if WATCH is not None and leave:
        WATCH.agreed = True
