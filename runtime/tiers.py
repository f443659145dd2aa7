"""The tiers of one run that are nearer than the folder that all ranks see: written first, asked first.

Each save goes to all of them. The folder that all ranks see gets a copy, made from files of the first tier, as often as
it keeps up. What is in a tier belongs to the run whose folder has the same `run.id`, so that a folder that was emptied
by hand starts anew.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from . import agree, console, tensorfile
from .mesh import Mesh
from .near import Near, Tier
from .writer import Crew, Files, Rows, Unwritten, row, step_folder

NAME: Final = "run.id"
OWNER: Final = "run"
"""The file of a tier that says which folder the run is in."""


class Tiers:
    """The tiers of the run in `folder`, the fastest first; those that cannot be used are told once and left out."""

    def __init__(self, tiers: Sequence[Tier], folder: Path, mesh: Mesh) -> None:
        self._tiers, self._folder, self._mesh = tiers, folder, mesh
        self._nears: list[Near] | None = None

    def __bool__(self) -> bool:
        return bool(self._tiers)

    def opened(self) -> list[Near]:
        """The tiers that can be used; all ranks ask for them together the first time."""
        if self._nears is None:
            self._nears = []
            run = agree.first(self._name() if self._mesh.first else "", self._mesh) if self._tiers else ""
            for tier in self._tiers:
                near = Near(tier, run, self._mesh)
                reason = near.open()
                if reason:
                    console.LINE.note(f"warning: no checkpoints are kept near the ranks: {reason}")
                else:
                    self._nears.append(near)
                    if near.nodes.first:
                        self._sweep(near)
        return self._nears

    def _name(self) -> str:
        """What the run is called in its tiers; where its folder cannot be written, by the place of the folder."""
        path = self._folder / NAME
        try:
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                tensorfile.write_text(path, uuid.uuid4().hex)
            return path.read_text("utf-8").strip()
        except OSError:
            return uuid.uuid5(uuid.NAMESPACE_URL, str(self._folder.absolute())).hex

    def _sweep(self, near: Near) -> None:
        """Removes what an earlier run in the same folder has left on this node."""
        with contextlib.suppress(OSError):
            (near.folder / OWNER).write_text(str(self._folder.absolute()), "utf-8")
            for path in near.tier.folder.glob("dskc-*"):
                owner = path / OWNER
                if path != near.folder and owner.is_file() and owner.read_text("utf-8") == str(self._folder.absolute()):
                    Near.remove(path)

    def write(self, step: int, files: Files, about: Mapping[str, object], crew: Crew) -> tuple[Near, Rows] | None:
        """Writes a step to all tiers; the first that has it, with the files of this rank. The same on all ranks."""
        found = None
        for near in self.opened():
            try:
                rows = near.write(step, files, about, crew)
                found = found or (near, rows)
            except Unwritten as error:
                console.LINE.note(f"warning: the checkpoint of step {step} is not kept in {near.folder}: {error}")
        return found

    def complete(self) -> dict[int, list[Near]]:
        """Steps whose state is there, and the tiers that have it, the fastest first."""
        found: dict[int, list[Near]] = {}
        for near in self.opened():
            for step in near.complete():
                found.setdefault(step, []).append(near)
        return found

    def leave(self) -> None:
        """Removes what the run has here, when its last state is where all ranks see it."""
        for near in self._nears or ():
            if near.nodes.first:
                Near.remove(near.folder)


def copied(near: Near, step: int, rows: Rows, folder: Path) -> Rows:
    """Copies this rank's files of a step to a folder that all ranks see."""
    found = {}
    for name, each in rows.items():
        sha = tensorfile.copy(step_folder(near.folder, step) / name, folder / name)
        if sha != each["sha256"]:
            raise OSError(f"{name} in {near.folder} is damaged")
        found[name] = row(folder / name, sha)
    return found
