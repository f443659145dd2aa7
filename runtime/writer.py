"""Writes one checkpoint: each rank the blocks that it owns, then the first the list of all files, and publishes it.

Nothing here touches the model: what is written was staged before, so that a thread can do it while training goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from . import agree, parts, tensorfile
from .layout import Block
from .mesh import Mesh

MODEL, TRAINING, STATE, MANIFEST = "model.safetensors", "training.safetensors", "state.json", "manifest.json"
KINDS = MODEL, TRAINING
UNFINISHED = ".writing-"
SPLIT = 512 << 20  # bytes of a file, about
THREADS = 4  # files that a rank writes at a time

Files = Mapping[str, Mapping[str, Block]]
"""By kind of file the blocks that a rank owns."""
Rows = dict[str, dict[str, Any]]
"""By name of a file its `bytes` and `sha256`."""


class Staging:
    """Host memory for one copy of this rank's blocks, pinned where they come from a GPU; used again by each save."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def copies(self, files: Files) -> Files:
        """The same blocks as they are now; complete when this returns."""
        copied = {
            kind: {name: self._copy(f"{kind}/{name}", b) for name, b in own.items()} for kind, own in files.items()
        }
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copied

    def _copy(self, key: str, block: Block) -> Block:
        kept, local = self._kept.get(key), block.local
        if kept is None or (kept.shape, kept.dtype) != (local.shape, local.dtype):
            kept = self._kept[key] = torch.empty(local.shape, dtype=local.dtype, pin_memory=local.is_cuda)
        return replace(block, local=kept.copy_(local, non_blocking=True))


class Unwritten(Exception):
    """A rank could not write; all of them raise it."""


@dataclass(frozen=True)
class Crew:
    """The ranks that write together; a thread beside the training has a `group` of all of them to itself."""

    mesh: Mesh
    group: dist.ProcessGroup | None = None

    def all(self, does: Callable[[], object]) -> list[Any]:
        """What it gives on each rank (as JSON has it), when all have done it; `Unwritten` if one of them could not."""
        try:
            said: dict[str, object] = {"done": does()}
        except OSError as error:
            said = {"failed": error.strerror or str(error)}
        except RuntimeError as error:
            raise Unwritten(f"the ranks lost each other: {error}") from error
        try:
            heard = [json.loads(text) for text in agree.everyone(json.dumps(said), self.mesh, self.group)]
        except RuntimeError as error:  # of a group whose ranks are gone; training finds out by itself
            raise Unwritten(f"the ranks lost each other: {error}") from error
        for each in heard:
            if "failed" in each:
                raise Unwritten(each["failed"])
        return [each["done"] for each in heard]


def write_files(files: Files, folder: Path, mesh: Mesh) -> Rows:
    """Writes what a rank owns; where that is much, to several files at a time, each hashed by a core of its own."""
    chosen: dict[str, Mapping[str, Block]] = {}
    for kind, blocks in files.items():
        if blocks or mesh.world == 1:
            name = kind if mesh.world == 1 else of_rank(kind, mesh.rank)
            groups = _groups(blocks)
            chosen |= {of_rank(name, n) if len(groups) > 1 else name: group for n, group in enumerate(groups)}
    with ThreadPoolExecutor(THREADS if len(chosen) > len(files) else 1) as threads:
        shas = list(threads.map(lambda name: parts.write(folder / name, chosen[name]), chosen))
    return {name: row(folder / name, sha) for name, sha in zip(chosen, shas, strict=True)}


def _groups(blocks: Mapping[str, Block]) -> list[dict[str, Block]]:
    """Blocks for one file each, of `SPLIT` bytes or one block more."""
    found: list[dict[str, Block]] = [{}]
    held = 0
    for name, block in blocks.items():
        if held >= SPLIT:
            found.append({})
            held = 0
        found[-1][name] = block
        held += block.local.nbytes
    return found


def row(path: Path, sha: str) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha}


@dataclass(frozen=True)
class Work:
    """One checkpoint in the folder that all ranks see: `own` writes the files of this rank into a folder."""

    path: Path
    own: Callable[[Path], Rows]
    about: dict[str, object]
    crew: Crew

    @property
    def temporary(self) -> Path:
        """Where it lies until it is complete."""
        return self.path.with_name(f"{UNFINISHED}{self.path.name}")

    def write(self) -> str:
        """Why it could not be written, the same on all ranks; empty where it was."""
        first = self.crew.mesh.first
        try:
            self.crew.all(self._begin if first else _nothing)
            rows = self.crew.all(lambda: self.own(self.temporary))
            self.crew.all(lambda: self._publish(rows) if first else None)
        except Unwritten as error:
            if first:
                shutil.rmtree(self.temporary, ignore_errors=True)
            return str(error)
        return ""

    def _begin(self) -> None:
        clear(self.path.parent)
        self.temporary.mkdir(parents=True)

    def _publish(self, rows: list[Rows]) -> None:
        manifest = {name: each for own in rows for name, each in own.items()}
        path = self.temporary / STATE
        manifest[STATE] = row(path, tensorfile.write_json(path, self.about))
        tensorfile.write_json(self.temporary / MANIFEST, manifest)
        publish(self.temporary, self.path)


def clear(folder: Path) -> None:
    """Removes what was never finished."""
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)


def publish(temporary: Path, path: Path) -> None:
    """Gives a complete folder its name, so that it is there as a whole or not at all, whenever the power goes."""
    tensorfile.sync_folder(temporary)
    temporary.rename(path)
    tensorfile.sync_folder(path.parent)


def drop(path: Path) -> None:
    """Removes a folder; renamed first, since a crash meanwhile must not leave half of it by its name."""
    doomed = path.with_name(f"{UNFINISHED}{path.name}-old")
    path.rename(doomed)
    shutil.rmtree(doomed)


def steps_in(folder: Path) -> list[int]:
    """Steps of the complete checkpoints in a folder, oldest first."""
    found = (path.name.removeprefix("step-") for path in folder.glob("step-*"))
    return sorted(int(name) for name in found if name.isdigit())


def step_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08}"


def _nothing() -> None:
    pass


def of_rank(kind: str, rank: int) -> str:
    """`model-00003.safetensors`: the blocks that one of many ranks owns."""
    stem, _, ending = kind.partition(".")
    return f"{stem}-{rank:05}.{ending}"


def files_of(kind: str, folder: Path) -> list[Path]:
    """The files of one kind in a checkpoint of any number of ranks."""
    stem, _, ending = kind.partition(".")
    return sorted(folder.glob(f"{stem}*.{ending}"))
