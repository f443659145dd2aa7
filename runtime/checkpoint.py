"""Checkpoints that are whole or not there, checked before they are trusted, and exact to resume from.

A checkpoint is a folder `step-00000100` with `model.safetensors`, `training.safetensors` (optimizer and random
states), `state.json`, and `manifest.json` (size and SHA-256 of each of them). It is written beside its place, forced
to the disk and renamed: a crash, a full disk or a kill at any moment leaves the earlier ones as they were.

It holds the state of the whole run whatever its layout, so that any layout resumes any other. Of many ranks the first
puts the tensors together one by one and writes them; each rank reads its own blocks.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from . import agree, console, state, tensorfile, whole
from .errors import RunError
from .guard import NonFiniteError
from .layout import Layout, Model

MODEL, TRAINING, STATE, MANIFEST = "model.safetensors", "training.safetensors", "state.json", "manifest.json"
UNFINISHED = ".writing-"
DAMAGED = "damaged-"


@dataclass
class Position:
    """How far a run is: what, besides tensors, a resumed run needs to go on as if it had never stopped."""

    step: int = 0  # optimizer steps done
    samples: int = 0  # training samples consumed


class Checkpoints:
    """The checkpoints of one run; the `keep` newest good ones stay."""

    def __init__(self, folder: Path, plan: str, keep: int = 2, layout: Layout | None = None) -> None:
        if keep < 1:
            raise ValueError("at least one checkpoint has to be kept")
        self._layout = layout or Layout()
        self._mesh = self._layout.mesh
        self.folder = folder
        self.plan = plan
        self.keep = keep

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
        not finite raise `NonFiniteError` and are not written.
        """
        agree.together(lambda: _refuse_non_finite(model, position.step), self._mesh)
        if agree.yes(self.path(position.step).exists(), self._mesh):
            return True
        reason = agree.first(self._write(model, optimizer, position), self._mesh)
        if reason and final:
            raise RunError(f"{reason}. Make room and run again: it goes on from there")
        if reason:
            console.LINE.note(f"warning: {reason}; training goes on")
            return False
        console.LINE.note(f"checkpoint written: {self.path(position.step)}")
        if self._mesh.first:
            self._drop_old()
        return True

    def _write(self, model: Model, optimizer: torch.optim.Optimizer, position: Position) -> str:
        """Why the first rank could not write; nothing on the others, which give it what it writes."""
        parts = {MODEL: state.model_blocks(model, self._layout)}
        parts[TRAINING] = state.training_blocks(model, optimizer, self._layout)
        tables = {name: whole.table(blocks, self._mesh) for name, blocks in parts.items()}
        if not self._mesh.first:
            for name, blocks in parts.items():
                whole.give(tables[name], blocks, self._mesh)
            return ""
        streams = {name: whole.gather(tables[name], blocks, self._mesh) for name, blocks in parts.items()}
        temporary = self.folder / f"{UNFINISHED}{position.step:08}-{os.getpid()}"
        about = {**asdict(position), "plan": self.plan, "optimizer": type(optimizer).__name__}
        try:
            self._clear_unfinished()
            temporary.mkdir(parents=True)
            self._write_files(temporary, tables, streams, about)
            temporary.rename(self.path(position.step))
            tensorfile.sync_folder(self.folder)
        except OSError as error:
            for stream in streams.values():
                deque(stream, maxlen=0)  # the others wait until what they give is taken
            shutil.rmtree(temporary, ignore_errors=True)
            return self._failed(position.step, error)
        return ""

    def _write_files(
        self,
        folder: Path,
        tables: dict[str, whole.Table],
        streams: dict[str, Iterator[Tensor]],
        about: dict[str, object],
    ) -> None:
        files = {name: tensorfile.write_each(folder / name, tables[name], streams[name]) for name in tables}
        files[STATE] = tensorfile.write_json(folder / STATE, about)
        manifest = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha} for name, sha in files.items()}
        tensorfile.write_json(folder / MANIFEST, manifest)
        tensorfile.sync_folder(folder)

    def _failed(self, step: int, error: OSError) -> str:
        steps = self.steps()
        last = f"the last good one is of step {steps[-1]}" if steps else "there is none yet"
        return f"the checkpoint of step {step} was not written: {error.strerror or error} ({self.folder}); {last}"

    def _clear_unfinished(self) -> None:
        for path in self.folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(path)

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
        rank chooses for all.
        """
        chosen = agree.together(lambda: self._newest() if self._mesh.first else 0, self._mesh)
        step = int(agree.first(str(chosen), self._mesh))
        if step < 0:
            return Position()
        table = whole.table(state.model_blocks(model, self._layout), self._mesh)
        return agree.together(lambda: self._load(self.path(step), model, optimizer, table), self._mesh)

    def _newest(self) -> int:
        """The step of the newest good checkpoint; -1 where there never was one."""
        steps = self.steps()
        for step in reversed(steps):
            reason = damage(self.path(step))
            if reason is None:
                return step
            console.LINE.note(f"warning: the checkpoint of step {step} is damaged ({reason}) and is passed over")
            self._set_aside(step)
        if steps:
            raise RunError(
                f"none of the {len(steps)} checkpoints in {self.folder} can be read; they are named {DAMAGED}... now. "
                "Run again to start from the beginning, or put back a good copy"
            )
        return -1

    def _set_aside(self, step: int) -> None:
        aside = self.folder / f"{DAMAGED}{self.path(step).name}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            self.path(step).rename(aside)
        except OSError as error:
            raise RunError(f"the damaged checkpoint {self.path(step)} cannot be set aside: {error.strerror}") from error

    def _load(self, path: Path, model: Model, optimizer: torch.optim.Optimizer | None, table: whole.Table) -> Position:
        try:
            about = json.loads((path / STATE).read_text("utf-8"))
            weights, training = (tensorfile.Reader(path / name) for name in (MODEL, TRAINING))
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
        console.LINE.note(f"going on from step {about['step']}: {path}")
        return Position(about["step"], about["samples"])


def damage(path: Path) -> str | None:
    """What is wrong with the files of a checkpoint, or None if each has the size and hash of its manifest."""
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        missing = {MODEL, TRAINING, STATE} - set(manifest)
        if missing:
            return f"its manifest lacks {', '.join(sorted(missing))}"
        for name, expected in manifest.items():
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


def _refuse_non_finite(model: Model, step: int) -> None:
    bad = [
        name
        for name, block in state.model_blocks(model, Layout()).items()
        if block.local.is_floating_point() and not torch.isfinite(block.local).all()
    ]
    if bad:
        raise NonFiniteError(f"after step {step} these weights are NaN or infinite: {_some(bad)}; nothing was written")


def _refuse_other_model(path: Path, ours: whole.Table, file: tensorfile.Reader) -> None:
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
