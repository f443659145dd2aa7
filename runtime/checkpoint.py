"""Checkpoints that are whole or not there, checked before they are trusted, and exact to resume from.

A checkpoint is a folder `step-00000100` with `model.safetensors`, `training.safetensors` (optimizer and random
states), `state.json`, and `manifest.json` (size and SHA-256 of each of them). It is written beside its place, forced
to the disk and renamed: a crash, a full disk or a kill at any moment leaves the earlier ones as they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from . import console, tensorfile
from .errors import RunError
from .guard import NonFiniteError

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

    def __init__(self, folder: Path, plan: str, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError("at least one checkpoint has to be kept")
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

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position, final: bool = False) -> bool:
        """Writes a checkpoint and drops the oldest beyond `keep`.

        A full disk or a missing permission is reported and gives False; the earlier checkpoints stay and training can
        go on. After the `final` step nothing will be saved any more, so there it raises `RunError`. Weights that are
        not finite raise `NonFiniteError` and are not written.
        """
        _refuse_non_finite(model, position.step)
        if self.path(position.step).exists():
            return True
        temporary = self.folder / f"{UNFINISHED}{position.step:08}-{os.getpid()}"
        try:
            self._clear_unfinished()
            temporary.mkdir(parents=True)
            self._write(temporary, model, optimizer, position)
            temporary.rename(self.path(position.step))
            tensorfile.sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            reason = self._failed(position.step, error)
            if final:
                raise RunError(f"{reason}. Make room and run again: it goes on from there") from error
            console.LINE.note(f"warning: {reason}; training goes on")
            return False
        console.LINE.note(f"checkpoint written: {self.path(position.step)}")
        self._drop_old()
        return True

    def _write(self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position) -> None:
        state = {**asdict(position), "plan": self.plan, "optimizer": type(optimizer).__name__}
        files = {
            MODEL: tensorfile.write(folder / MODEL, model_tensors(model)),
            TRAINING: tensorfile.write(folder / TRAINING, {**optimizer_tensors(model, optimizer), **random_states()}),
            STATE: tensorfile.write_json(folder / STATE, state),
        }
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

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Position:
        """Loads the newest good checkpoint into the model, the optimizer and the random generators.

        Damaged ones are named, set aside and passed over. Without any checkpoint the position is the start.
        """
        steps = self.steps()
        for step in reversed(steps):
            reason = damage(self.path(step))
            if reason is None:
                return self._load(self.path(step), model, optimizer)
            console.LINE.note(f"warning: the checkpoint of step {step} is damaged ({reason}) and is passed over")
            self._set_aside(step)
        if steps:
            raise RunError(
                f"none of the {len(steps)} checkpoints in {self.folder} can be read; they are named {DAMAGED}... now. "
                "Run again to start from the beginning, or put back a good copy"
            )
        return Position()

    def _set_aside(self, step: int) -> None:
        aside = self.folder / f"{DAMAGED}{self.path(step).name}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            self.path(step).rename(aside)
        except OSError as error:
            raise RunError(f"the damaged checkpoint {self.path(step)} cannot be set aside: {error.strerror}") from error

    def _load(self, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> Position:
        state = json.loads((path / STATE).read_text("utf-8"))
        weights = tensorfile.read(path / MODEL)
        _refuse_other_model(path, model_tensors(model), weights)
        if optimizer is not None and state["optimizer"] != type(optimizer).__name__:
            raise RunError(
                f"{path} was written by a run with {state['optimizer']}, but this one uses {type(optimizer).__name__}. "
                "Use another run folder, as in --run second"
            )
        if state["plan"] != self.plan:
            console.LINE.note(f"note: {path} was written by another plan of the same model; the run goes on from it")
        with torch.no_grad():
            for name, tensor in model_tensors(model).items():
                tensor.copy_(weights[name])
        if optimizer is not None:
            training = tensorfile.read(path / TRAINING)
            set_optimizer(model, optimizer, training)
            set_random_states(training)
        console.LINE.note(f"going on from step {state['step']}: {path}")
        return Position(state["step"], state["samples"])


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


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers by name; one that is shared goes by its first name only."""
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor
    return tensors


def _refuse_non_finite(model: nn.Module, step: int) -> None:
    bad = [
        name
        for name, tensor in model_tensors(model).items()
        if tensor.is_floating_point() and not torch.isfinite(tensor.detach()).all()
    ]
    if bad:
        raise NonFiniteError(f"after step {step} these weights are NaN or infinite: {_some(bad)}; nothing was written")


def _refuse_other_model(path: Path, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    differences = {
        "only in the model": [name for name in ours if name not in theirs],
        "only in the checkpoint": [name for name in theirs if name not in ours],
        "of another shape": [
            f"{name} {list(theirs[name].shape)} (the model's is {list(ours[name].shape)})"
            for name in ours
            if name in theirs and theirs[name].shape != ours[name].shape
        ],
    }
    found = "; ".join(f"{kind}: {_some(names)}" for kind, names in differences.items() if names)
    if found:
        raise RunError(
            f"{path} is a checkpoint of another model. {found}. Use another run folder for it, as in --run second"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as `optimizer/<kind>/<parameter>`, independent of how its groups are laid out."""
    return {
        f"optimizer/{kind}/{name}": value
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def set_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Gives each parameter its state back; the groups keep the settings they were built with."""
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for path, value in tensors.items():
        if path.startswith("optimizer/"):
            _, kind, name = path.split("/", 2)
            parameter = parameters[name]
            # AdamW's step counter stays a float32 scalar; with the fused kernel it lies beside its parameter.
            optimizer.state[parameter][kind] = value.to(parameter.device)


def random_states() -> dict[str, Tensor]:
    """The states of PyTorch's global generators, which dropout draws from."""
    states: dict[str, Tensor] = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random/cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(tensors: dict[str, Tensor]) -> None:
    """Puts PyTorch's global generators back; a state of a kind of device that is not here is passed over."""
    torch.set_rng_state(tensors["random/cpu"])
    if torch.cuda.is_available() and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"])
