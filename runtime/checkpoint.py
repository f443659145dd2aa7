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

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist

from . import agree, console, state, whole
from .errors import RunError
from .guard import NonFiniteError
from .layout import Layout, Model
from .pace import Cost
from .parts import Parts
from .writer import MANIFEST, MODEL, STATE, TRAINING, UNFINISHED, Staging, Work, files_of

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


class Checkpoints:
    """The checkpoints of one run; the `keep` newest good ones stay.

    `extra` are parts with a state of their own, the same on all ranks, such as the history of a guard: by name.
    """

    def __init__(
        self,
        folder: Path,
        plan: str,
        keep: int = 2,
        layout: Layout | None = None,
        background: bool = False,
        extra: Mapping[str, Stateful] | None = None,
    ) -> None:
        if keep < 1:
            raise ValueError("at least one checkpoint has to be kept")
        self._layout = layout or Layout()
        self._mesh = self._layout.mesh
        self.folder = folder
        self.plan = plan
        self.keep = keep
        self.cost = Cost()
        self._extra = extra or {}
        self._thread = ThreadPoolExecutor(1, "checkpoint") if background else None
        self._saving: Future[str] | None = None
        self._staging = Staging()
        self._group: dist.ProcessGroup | None = None

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        found = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(name) for name in found if name.isdigit())

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step:08}"

    def save(self, model: Model, optimizer: torch.optim.Optimizer, position: Position, final: bool = False) -> bool:
        """Writes a checkpoint and drops the oldest beyond `keep`; all ranks come to the same end.

        A full disk or a missing permission is reported and gives False; the earlier checkpoints stay and training can
        go on. After the `final` step nothing will be saved any more, so there it raises `RunError`. Weights that are
        not finite raise `NonFiniteError` and are not written. In the `background` it returns when the state is copied,
        after the save before it has ended; then `finish` tells what became of it.
        """
        self.finish()
        begun = time.monotonic()
        agree.together(lambda: _refuse_non_finite(model, position.step), self._mesh)
        if agree.yes(self.path(position.step).exists(), self._mesh):
            return True
        work = self._work(model, optimizer, position)
        if self._thread is None or final:
            reason = self._write(work, final)
            if reason and final:
                raise RunError(f"{reason}. Make room and run again: it goes on from there")
            written = not reason
        else:
            self._saving, written = self._thread.submit(self._write, work, final), True
        if not final:  # no next one follows from what it costs
            self.cost.stall = time.monotonic() - begun
        return written

    def finish(self) -> bool:
        """Waits for the save in flight; whether it was written."""
        saving, self._saving = self._saving, None
        return saving is None or not saving.result()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        """The end of training, and an error in it, wait for the save in flight."""
        self.finish()

    def _work(self, model: Model, optimizer: torch.optim.Optimizer, position: Position) -> Work:
        """What this rank writes; in the background a copy of it, since training changes the state."""
        blocks = {MODEL: state.model_blocks(model, self._layout)}
        blocks[TRAINING] = state.training_blocks(model, optimizer, self._layout)
        files = {name: whole.owned(whole.table(own, self._mesh), own, self._mesh) for name, own in blocks.items()}
        about = {**asdict(position), "plan": self.plan, "optimizer": type(optimizer).__name__}
        extra = {name: each.state() for name, each in self._extra.items()}
        about["extra"] = json.loads(json.dumps(extra))  # as it is now
        if self._thread is not None:
            files = self._staging.copies(files)
            if self._mesh.world > 1 and self._group is None:
                self._group = self._mesh.another_control()
        return Work(self.path(position.step), files, about, self._mesh, self._group)

    def _write(self, work: Work, final: bool) -> str:
        """Why nothing was written, the same on all ranks; it is said here, but for what ends the run."""
        begun = time.monotonic()
        reason = work.write()
        self.cost.writing = time.monotonic() - begun if self._thread is not None else 0.0
        if reason:
            reason = self._failed(work.path, reason)
            if not final:
                console.LINE.note(f"warning: {reason}; training goes on")
            return reason
        console.LINE.note(f"checkpoint written: {work.path}")
        if self._mesh.first:
            self._drop_old()
        return ""

    def _failed(self, path: Path, reason: str) -> str:
        steps = self.steps()
        last = f"the last good one is of step {steps[-1]}" if steps else "there is none yet"
        step = int(path.name.removeprefix("step-"))
        return f"the checkpoint of step {step} was not written: {reason} ({self.folder}); {last}"

    def _drop_old(self) -> None:
        for step in self.steps()[: -self.keep]:
            # Renamed first: a crash while its files are being removed must not leave half a checkpoint by that name.
            doomed = self.folder / f"{UNFINISHED}{step:08}-old"
            try:
                self.path(step).rename(doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                console.LINE.note(f"warning: the old checkpoint {self.path(step)} stays: {error.strerror}")

    def restore(self, model: Model, optimizer: torch.optim.Optimizer | None = None) -> Position:
        """Loads the newest good checkpoint into the model, the optimizer and the random generators.

        Damaged ones are named, set aside and passed over. Without any checkpoint the position is the start. The first
        rank says which there are; all of them check the files, each its share.
        """
        step = self._newest()
        if step < 0:
            return Position()
        table = whole.table(state.model_blocks(model, self._layout), self._mesh)
        return agree.together(lambda: self._load(self.path(step), model, optimizer, table), self._mesh)

    def _newest(self) -> int:
        """The step of the newest good checkpoint; -1 where there never was one."""
        steps: list[int] = json.loads(agree.first(json.dumps(self.steps()), self._mesh))
        for step in reversed(steps):
            agree.together(lambda step=step: self._refuse_unseen(step), self._mesh)  # type: ignore[misc]
            found = damage(self.path(step), self._mesh.rank, self._mesh.world) or ""
            reason = next(filter(None, agree.everyone(found, self._mesh)), "")
            if not reason:
                return step
            console.LINE.note(f"warning: the checkpoint of step {step} is damaged ({reason}) and is passed over")
            agree.together(lambda step=step: self._set_aside(step), self._mesh)  # type: ignore[misc]
        if steps:
            raise RunError(
                f"none of the {len(steps)} checkpoints in {self.folder} can be read; they are named {DAMAGED}... now. "
                "Run again to start from the beginning, or put back a good copy"
            )
        return -1

    def _refuse_unseen(self, step: int) -> None:
        if not self.path(step).is_dir():
            raise RunError(f"{self.path(step)} is not there. All machines of a run have to see its folder")

    def _set_aside(self, step: int) -> None:
        if not self._mesh.first:
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
            weights, training = (Parts(files_of(kind, path)) for kind in (MODEL, TRAINING))
        except OSError as error:
            raise RunError(
                f"{path} cannot be read: {error.strerror or error}. All machines of a run have to see its folder"
            ) from error
        _refuse_other_model(path, table, weights)
        if optimizer is not None and about["optimizer"] != type(optimizer).__name__:
            raise RunError(
                f"{path} was written by a run with {about['optimizer']}, but this one uses {type(optimizer).__name__}. "
                "Use another run folder, as in --run second"
            )
        if about["plan"] != self.plan:
            console.LINE.note(f"note: {path} was written by another plan of the same model; the run goes on from it")
        state.set_model(model, self._layout, weights)
        if optimizer is not None:
            state.set_optimizer(model, optimizer, self._layout, training)
            state.set_random_states(self._layout, training)
            self._set_extra(path, about.get("extra", {}))
        console.LINE.note(f"going on from step {about['step']}: {path}")
        return Position(about["step"], about["samples"])

    def _set_extra(self, path: Path, found: dict[str, dict[str, object]]) -> None:
        """Parts that the checkpoint knows nothing of start anew; what it has for others is passed over."""
        for name, each in self._extra.items():
            if name in found:
                each.restore(found[name])
        if different := sorted(set(found) ^ set(self._extra)):
            console.LINE.note(f"note: {path} was written by a run with another set of parts: {_some(different)}")


def damage(path: Path, share: int = 0, shares: int = 1) -> str | None:
    """What is wrong with the files of a checkpoint, or None if each has the size and hash of its manifest.

    One of several `shares` looks at the files of its own only.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        missing = [kind for kind in (MODEL, TRAINING, STATE) if not _listed(manifest, kind)]
        if missing:
            return f"its manifest lacks {', '.join(missing)}"
        for name in sorted(manifest)[share::shares]:
            expected = manifest[name]
            size = (path / name).stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size:,} bytes instead of {expected['bytes']:,}"
            with (path / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                    return f"{name} has another checksum than when it was written"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is no manifest"
    return None


def _listed(manifest: dict[str, object], kind: str) -> bool:
    return any(name.startswith(kind.partition(".")[0]) for name in manifest)


def _refuse_non_finite(model: Model, step: int) -> None:
    bad = [
        name
        for name, block in state.model_blocks(model, Layout()).items()
        if block.local.is_floating_point() and not torch.isfinite(block.local).all()
    ]
    if bad:
        raise NonFiniteError(f"after step {step} these weights are NaN or infinite: {_some(bad)}; nothing was written")


def _refuse_other_model(path: Path, ours: whole.Table, file: Parts) -> None:
    theirs = {name: file.shape(name) for name in file.names()}
    differences = {
        "only in the model": [name for name in ours if name not in theirs],
        "only in the checkpoint": [name for name in theirs if name not in ours],
        "of another shape": [
            f"{name} {list(theirs[name])} (the model's is {list(ours[name].shape)})"
            for name in ours
            if name in theirs and theirs[name] != ours[name].shape
        ],
    }
    found = "; ".join(f"{kind}: {_some(names)}" for kind, names in differences.items() if names)
    if found:
        raise RunError(
            f"{path} is a checkpoint of another model. {found}. Use another run folder for it, as in --run second"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
