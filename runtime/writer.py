"""Writes one checkpoint: each rank the blocks that it owns, then the first the list of all files, and publishes it.

Nothing here touches the model: what is written was staged before, so that a thread can do it while training goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
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
UNFINISHED = ".writing-"


class Staging:
    """Host memory for one copy of this rank's blocks, pinned where they come from a GPU; used again by each save."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def copies(self, files: Mapping[str, Mapping[str, Block]]) -> dict[str, dict[str, Block]]:
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
class Work:
    """One checkpoint to be written: `files` are the blocks that this rank owns, by file; `group` is for its words."""

    path: Path
    files: dict[str, dict[str, Block]]
    about: dict[str, object]
    mesh: Mesh
    group: dist.ProcessGroup | None = None

    @property
    def temporary(self) -> Path:
        """Where it lies until it is complete."""
        return self.path.with_name(f"{UNFINISHED}{self.path.name}")

    def write(self) -> str:
        """Why it could not be written, the same on all ranks; empty where it was."""
        try:
            self._all(self._begin if self.mesh.first else _nothing)
            rows = self._all(self._own)
            self._all(lambda: self._publish(rows) if self.mesh.first else None)
        except Unwritten as error:
            if self.mesh.first:
                shutil.rmtree(self.temporary, ignore_errors=True)
            return str(error)
        return ""

    def _all(self, does: Callable[[], object]) -> list[Any]:
        """What it gives on each rank, when all have done it; `Unwritten` if one of them could not."""
        try:
            said: dict[str, object] = {"done": does()}
        except OSError as error:
            said = {"failed": error.strerror or str(error)}
        try:
            heard = [json.loads(text) for text in agree.everyone(json.dumps(said), self.mesh, self.group)]
        except RuntimeError as error:  # of a group whose ranks are gone; training finds out by itself
            raise Unwritten(f"the ranks lost each other: {error}") from error
        for each in heard:
            if "failed" in each:
                raise Unwritten(each["failed"])
        return [each["done"] for each in heard]

    def _begin(self) -> None:
        for path in self.path.parent.glob(f"{UNFINISHED}*"):
            shutil.rmtree(path)
        self.temporary.mkdir(parents=True)

    def _own(self) -> dict[str, dict[str, object]]:
        """Writes this rank's files; what the manifest says of them."""
        found = {}
        for kind, blocks in self.files.items():
            if blocks or self.mesh.world == 1:
                name = kind if self.mesh.world == 1 else _of_rank(kind, self.mesh.rank)
                sha = parts.write(self.temporary / name, blocks)
                found[name] = self._row(name, sha)
        return found

    def _row(self, name: str, sha: str) -> dict[str, object]:
        return {"bytes": (self.temporary / name).stat().st_size, "sha256": sha}

    def _publish(self, rows: list[dict[str, dict[str, object]]]) -> None:
        manifest = {name: row for own in rows for name, row in own.items()}
        manifest[STATE] = self._row(STATE, tensorfile.write_json(self.temporary / STATE, self.about))
        tensorfile.write_json(self.temporary / MANIFEST, manifest)
        tensorfile.sync_folder(self.temporary)
        self.temporary.rename(self.path)
        tensorfile.sync_folder(self.path.parent)


def _nothing() -> None:
    pass


def _of_rank(kind: str, rank: int) -> str:
    """`model-00003.safetensors`: the blocks that one of many ranks owns."""
    stem, _, ending = kind.partition(".")
    return f"{stem}-{rank:05}.{ending}"


def files_of(kind: str, folder: Path) -> list[Path]:
    """The files of one kind in a checkpoint of any number of ranks."""
    stem, _, ending = kind.partition(".")
    return sorted(folder.glob(f"{stem}*.{ending}"))
