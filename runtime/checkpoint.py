"""Checkpoints that are whole or not there, checked before they are trusted, and exact to resume from.

A checkpoint is a folder `step-00000100` with `model.safetensors`, `training.safetensors` (optimizer and random
states), `state.json`, and `manifest.json` (size and SHA-256 of each of them). It is written beside its place, forced
to the disk and renamed: a crash, a full disk or a kill at any moment leaves the earlier ones as they were.

It holds the state of the whole run whatever its layout, so that any layout resumes any other. Of many ranks each writes
the blocks that it owns to files of its own (`model-00003.safetensors`, with the place of each block in its header) and
reads the blocks that it needs from whatever files hold them. With `background` the state is copied to host memory and
written by a thread while training goes on.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from . import agree, console, events, health, state, whole
from .errors import RunError
from .layout import Layout, Model
from .near import Near, Tier
from .pace import Cost
from .parts import Parts
from .recall import Recall
from .sound import damage, lengths, refuse_non_finite, refuse_other_model, some
from .tiers import Tiers, copied
from .writer import (
    KINDS,
    MODEL,
    STATE,
    TRAINING,
    Crew,
    Files,
    Rows,
    Staging,
    Unwritten,
    Work,
    drop,
    files_of,
    step_folder,
    steps_in,
    write_files,
)

DAMAGED = "damaged-"


class Stateful(Protocol):
    """A part of a run with a state that JSON can hold."""

    def state(self) -> dict[str, object]: ...  # noqa: D102
    def restore(self, state: dict[str, object]) -> None: ...  # noqa: D102


@dataclass
class Position:
    """How far a run is: what, besides tensors, a resumed run needs to go on as if it had never stopped."""

    step: int = 0  # optimizer steps done
    samples: int = 0  # training samples consumed


@dataclass(frozen=True)
class Save:
    """What one rank writes of a step; `about` becomes `state.json`."""

    step: int
    files: Files
    about: dict[str, object]


@dataclass(frozen=True)
class Found:
    """A checkpoint whose files are good."""

    path: Path
    about: dict[str, Any]
    weights: Parts
    training: Parts


class Checkpoints:
    """The checkpoints of one run; the `keep` newest good ones stay.

    `extra` are parts with a state of their own, the same on all ranks, such as the history of a guard: by name.
    With `near` each save goes to these tiers, and `folder` gets a copy as often as it keeps up; and the last one.
    """

    def __init__(
        self,
        folder: Path,
        plan: str,
        keep: int = 2,
        layout: Layout | None = None,
        background: bool = False,
        extra: Mapping[str, Stateful] | None = None,
        near: Sequence[Tier] = (),
    ) -> None:
        if keep < 1:
            raise ValueError("at least one checkpoint has to be kept")
        self._layout = layout or Layout()
        self.mesh = self._layout.mesh
        self.folder = folder
        self.plan = plan
        self.keep = keep
        self.cost = Cost()
        self._extra = extra or {}
        self._thread = ThreadPoolExecutor(1, "checkpoint") if background else None
        self._saving: Future[str] | None = None
        self._staging = Staging()
        self._tiers = Tiers(near, folder, self.mesh)
        self._copying = ThreadPoolExecutor(1, "copy") if near else None
        self._copy: Future[str] | None = None
        self._behind: Callable[[], str] | None = None  # copies the newest state where that has not begun
        self._crews: list[Crew] = []

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return steps_in(self.folder)

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return step_folder(self.folder, step)

    def save(self, model: Model, optimizer: torch.optim.Optimizer, position: Position, final: bool = False) -> bool:
        """Writes a checkpoint and drops the oldest beyond `keep`; all ranks come to the same end.

        A full disk or a missing permission is reported and gives False; the earlier checkpoints stay and training can
        go on. After the `final` step nothing will be saved any more, so there it raises `RunError`. Weights that are
        not finite raise `NonFiniteError` and are not written. In the `background` it returns when the state is copied,
        after the save before it has ended; then `finish` tells what became of it.
        """
        health.beat("saving", "data")
        self._settle()
        begun = time.monotonic()
        agree.together(lambda: refuse_non_finite(model, position.step), self.mesh)
        if agree.yes(self.path(position.step).exists(), self.mesh):
            return True
        save = self._staged(model, optimizer, position, final)
        if final:
            reason = self._last(save)
            if reason:
                raise RunError(f"{reason}. Make room and run again: it goes on from there")
        elif self._thread is None:
            self._saving, reason = None, self._write(save)
        else:
            self._saving, reason = self._thread.submit(self._write, save), ""
        if not final:  # no next one follows from what it costs
            self.cost.stall = time.monotonic() - begun
        return not reason

    def _settle(self) -> bool:
        """Waits until the save in flight has written its own; whether it could."""
        saving, self._saving = self._saving, None
        return saving is None or not saving.result()

    def finish(self) -> bool:
        """Waits until the newest state is where all ranks see it; whether it is. All ranks together."""
        written, behind = self._landed(), self._behind
        self._behind = None
        return (behind is None or not behind()) and written

    def _landed(self) -> bool:
        """Waits for all that is in flight; whether it was written."""
        written = self._settle()
        copy, self._copy = self._copy, None
        return (copy is None or not copy.result()) and written

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        """The end of training, and an error in it, wait for the save in flight."""
        self._landed()

    def _staged(self, model: Model, optimizer: torch.optim.Optimizer, position: Position, final: bool) -> Save:
        """What this rank writes; in the background a copy of it, since training changes the state."""
        blocks = {MODEL: state.model_blocks(model, self._layout)}
        blocks[TRAINING] = state.training_blocks(model, optimizer, self._layout)
        files: Files = {name: whole.owned(whole.table(own, self.mesh), own, self.mesh) for name, own in blocks.items()}
        about = {**asdict(position), "plan": self.plan, "optimizer": type(optimizer).__name__}
        extra = {name: each.state() for name, each in self._extra.items()}
        about["extra"] = json.loads(json.dumps(extra))  # as it is now
        if self._thread is not None and not final:
            files = self._staging.copies(files)
        self._tiers.opened()
        if not self._crews:  # each thread speaks in a group of its own
            several = self.mesh.world > 1 and (self._thread is not None or self._copying is not None)
            groups = [
                self.mesh.another_control() if several else None for _ in range(1 if self._copying is None else 2)
            ]
            self._crews = [Crew(self.mesh, group) for group in groups]
        return Save(position.step, files, about)

    def _last(self, save: Save) -> str:
        """The last save goes where all ranks see it, and nothing stays near them."""
        self._landed()
        self._behind = None
        reason = self._published(save, lambda folder: write_files(save.files, folder, self.mesh), final=True)
        if not reason:
            self._tiers.leave()
        return reason

    def _write(self, save: Save) -> str:
        """Why nothing was written, the same on all ranks; it is said here."""
        begun, crew = time.monotonic(), self._crews[0]
        kept = self._tiers.write(save.step, save.files, save.about, crew) if self._tiers else None
        if kept is None:
            if self._copy is not None:
                self._copy.result()  # one writes there at a time
            reason = self._published(save, lambda folder: write_files(save.files, folder, self.mesh))
        else:
            reason = self._copied(save, *kept)
        self.cost.writing = time.monotonic() - begun if self._thread is not None else 0.0
        return reason

    def _copied(self, save: Save, near: Near, rows: Rows) -> str:
        """Has the files that are in a tier copied to the folder of all ranks, unless the last copy is not done."""
        console.LINE.note(f"checkpoint written: {near.folder} (step {save.step})")
        self._tell("saved", save.step, where=str(near.folder))
        try:
            free = self._crews[0].all(lambda: self._copy is None or self._copy.done())[0]
        except Unwritten:
            return ""
        self._behind = None
        if free and self._copying is not None:
            near.held.add(save.step)
            self._copy = self._copying.submit(self._copy_out, save, near, rows)
        else:
            self._behind = lambda: self._copy_out(save, near, rows)
        return ""

    def _copy_out(self, save: Save, near: Near, rows: Rows) -> str:
        reason = self._published(save, lambda folder: copied(near, save.step, rows, folder), crew=1)
        near.held.discard(save.step)
        return reason

    def _published(self, save: Save, own: Callable[[Path], Rows], final: bool = False, crew: int = 0) -> str:
        """Writes to the folder that all ranks see; why it could not."""
        begun = time.monotonic()
        work = Work(self.path(save.step), own, save.about, self._crews[crew])
        reason = work.write()
        if reason:
            reason = self._failed(work.path, reason)
            self._tell("save_failed", save.step, reason=reason)
            if not final:
                console.LINE.note(f"warning: {reason}; training goes on")
            return reason
        console.LINE.note(f"checkpoint written: {work.path}")
        self._tell("saved", save.step, seconds=round(time.monotonic() - begun, 3))
        if self.mesh.first:
            self._drop_old()
        return ""

    def _tell(self, event: str, step: int, **details: object) -> None:
        if self.mesh.first:
            events.LOG.add(event, step, **details)

    def _failed(self, path: Path, reason: str) -> str:
        steps = self.steps()
        last = f"the last good one is of step {steps[-1]}" if steps else "there is none yet"
        step = int(path.name.removeprefix("step-"))
        return f"the checkpoint of step {step} was not written: {reason} ({self.folder}); {last}"

    def _drop_old(self) -> None:
        for step in self.steps()[: -self.keep]:
            try:
                drop(self.path(step))
            except OSError as error:
                console.LINE.note(f"warning: the old checkpoint {self.path(step)} stays: {error.strerror}")

    def restore(self, model: Model, optimizer: torch.optim.Optimizer | None = None) -> Position:
        """Loads the newest good checkpoint into the model, the optimizer and the random generators.

        Damaged ones are named, set aside and passed over. Without any checkpoint the position is the start. The first
        rank says which there are; all of them check the files, each its share. Of one step the nearest is taken.
        """
        health.beat("loading", "data")
        table = whole.table(state.model_blocks(model, self._layout), self.mesh)
        near = self._tiers.complete()
        steps: list[int] = json.loads(agree.first(json.dumps(self.steps()), self.mesh))
        for step in sorted({*near, *steps}, reverse=True):
            for tier in near.get(step, ()):
                if found := self._recalled(tier, step, model, optimizer):
                    console.LINE.note(f"going on from step {step}: {found.path}")
                    return agree.together(lambda found=found: self._set(found, model, optimizer, table), self.mesh)  # type: ignore[misc]
            if step in steps and (position := self._checked(step, model, optimizer, table)):
                console.LINE.note(f"going on from step {step}: {self.path(step)}")
                return position
        if steps:
            raise RunError(
                f"none of the {len(steps)} checkpoints in {self.folder} can be read; they are named {DAMAGED}... now. "
                "Run again to start from the beginning, or put back a good copy"
            )
        return Position()

    def _recalled(self, near: Near, step: int, model: Model, optimizer: torch.optim.Optimizer | None) -> Found | None:
        """A state that the nodes have, when all its parts are good."""
        recall = Recall(near, step)
        if recall.damaged:
            self._tell("damaged", step, reason=f"parts {recall.damaged} in {near.folder}")
        if recall.lacks:
            console.LINE.note(
                f"warning: the checkpoint of step {step} in {near.folder} is damaged (parts of ranks "
                f"{some([str(rank) for rank in recall.lacks])}) and is passed over"
            )
            return None
        training = recall.shapes(TRAINING)
        wanted = {MODEL: state.wanted_of_model(model, self._layout)}
        wanted[TRAINING] = state.wanted_of_training(model, self._layout, training) if optimizer is not None else []
        files = recall.fetch(wanted)
        return None if files is None else Found(recall.path, recall.about, files[MODEL], files[TRAINING])

    def _checked(
        self, step: int, model: Model, optimizer: torch.optim.Optimizer | None, table: whole.Table
    ) -> Position | None:
        """Loads a checkpoint that all ranks see, and checks it meanwhile; a damaged one is named and set aside.

        What was loaded of that is overwritten by the next older one, or nothing is trained.
        """
        agree.together(lambda: self._refuse_unseen(step), self.mesh)
        path, error, position = self.path(step), None, Position()
        with ThreadPoolExecutor(1) as beside:
            checking = beside.submit(damage, path, self.mesh.rank, self.mesh.world)
            try:
                if lengths(path):  # a map of a file that was cut short would end the process
                    position = self._load(path, model, optimizer, table)
            except Exception as raised:  # whatever damage leads to
                error = raised
            found = checking.result() or ""
        reason = next(filter(None, agree.everyone(found, self.mesh)), "")
        if not reason:
            return agree.together(lambda: _or_raise(position, error), self.mesh)
        console.LINE.note(f"warning: the checkpoint of step {step} is damaged ({reason}) and is passed over")
        self._tell("damaged", step, reason=reason)
        agree.together(lambda: self._set_aside(step), self.mesh)
        return None

    def _refuse_unseen(self, step: int) -> None:
        if not self.path(step).is_dir():
            raise RunError(f"{self.path(step)} is not there. All machines of a run have to see its folder")

    def _set_aside(self, step: int) -> None:
        if not self.mesh.first:
            return
        aside = self.folder / f"{DAMAGED}{self.path(step).name}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            self.path(step).rename(aside)
        except OSError as error:
            raise RunError(f"the damaged checkpoint {self.path(step)} cannot be set aside: {error.strerror}") from error

    def _load(self, path: Path, model: Model, optimizer: torch.optim.Optimizer | None, table: whole.Table) -> Position:
        try:
            about = json.loads((path / STATE).read_text("utf-8"))
            weights, training = (Parts(files_of(kind, path)) for kind in KINDS)
        except OSError as error:
            raise RunError(
                f"{path} cannot be read: {error.strerror or error}. All machines of a run have to see its folder"
            ) from error
        return self._set(Found(path, about, weights, training), model, optimizer, table)

    def _set(self, found: Found, model: Model, optimizer: torch.optim.Optimizer | None, table: whole.Table) -> Position:
        path, about = found.path, found.about
        refuse_other_model(path, table, found.weights)
        if optimizer is not None and about["optimizer"] != type(optimizer).__name__:
            raise RunError(
                f"{path} was written by a run with {about['optimizer']}, but this one uses {type(optimizer).__name__}. "
                "Use another run folder, as in --run second"
            )
        if about["plan"] != self.plan:
            console.LINE.note(f"note: {path} was written by another plan of the same model; the run goes on from it")
        state.set_model(model, self._layout, found.weights)
        if optimizer is not None:
            state.set_optimizer(model, optimizer, self._layout, found.training)
            state.set_random_states(self._layout, found.training)
            self._set_extra(path, about.get("extra", {}))
        return Position(about["step"], about["samples"])

    def _set_extra(self, path: Path, found: dict[str, dict[str, object]]) -> None:
        """Parts that the checkpoint knows nothing of start anew; what it has for others is passed over."""
        for name, each in self._extra.items():
            if name in found:
                each.restore(found[name])
        if different := sorted(set(found) ^ set(self._extra)):
            console.LINE.note(f"note: {path} was written by a run with another set of parts: {some(different)}")


def _or_raise(position: Position, error: Exception | None) -> Position:
    if error is not None:
        raise error
    return position
