"""Checkpoints on the nodes themselves: in the memory of a node and of the next one, or on a node's own disk.

A tier is a folder that each node has for itself. A node keeps there what its ranks own of the newest state, and with
`peers` also a copy of what the ranks of the node before it own: one node may be lost. Files in /dev/shm are memory, and
outlive the processes that wrote them.

`step-00000100` holds for each rank of which it has the part the files of that rank, and `part-00003.json`: their sizes
and checksums, and `state.json` of the whole checkpoint. A state is there when the nodes together have the parts of all
ranks. The old one goes when all nodes have the new one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from . import agree, peer, tensorfile
from .mesh import Mesh
from .writer import UNFINISHED, Crew, Files, Rows, Unwritten, clear, drop, publish, step_folder, steps_in, write_files

MEMORY: Final = Path("/dev/shm")
PART: Final = "part-"


@dataclass(frozen=True)
class Tier:
    """A folder on each node; `peers`: the next node keeps a copy of what is in it."""

    folder: Path
    peers: bool = False


class Near:
    """A tier of one run, called `run`, as this rank has it."""

    def __init__(self, tier: Tier, run: str, mesh: Mesh) -> None:
        self.tier, self.mesh = tier, mesh
        self.folder = tier.folder / f"dskc-{run}"
        self.nodes = peer.Nodes(((0,),), 0)
        self.held: set[int] = set()  # steps that are being copied elsewhere

    def open(self) -> str:
        """Makes the folder and finds out which ranks share it; why it cannot be used, the same on all ranks."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            said = {"place": peer.place(self.folder)}
        except OSError as error:
            said = {"failed": f"{self.folder}: {error.strerror}"}
        heard = [json.loads(text) for text in agree.everyone(json.dumps(said), self.mesh)]
        failed = [each["failed"] for each in heard if "failed" in each]
        if not failed:
            self.nodes = peer.Nodes.of([each["place"] for each in heard], self.mesh.rank)
        return failed[0] if failed else ""

    def write(self, step: int, files: Files, about: Mapping[str, object], crew: Crew) -> Rows:
        """Writes the parts of a step, and the copies; what it wrote of this rank. `Unwritten` on all ranks alike."""
        path = step_folder(self.folder, step)
        temporary = path.with_name(f"{UNFINISHED}{path.name}")
        try:
            crew.all(lambda: self._begin(temporary) if self.nodes.first else None)
            rows: list[Rows] = crew.all(lambda: self._part(temporary, files, about))
            if self.tier.peers:
                crew.all(lambda: self._copies(temporary, rows, about, crew))
            crew.all(lambda: publish(temporary, path) if self.nodes.first else None)
        except Unwritten:
            if self.nodes.first:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        self.drop(newest=step)
        return rows[self.mesh.rank]

    def _begin(self, temporary: Path) -> None:
        clear(self.folder)
        stale = step_folder(self.folder, int(temporary.name.rpartition("-")[2]))
        if stale.exists():  # of a run that went back behind this step
            drop(stale)
        temporary.mkdir(parents=True)

    def _part(self, temporary: Path, files: Files, about: Mapping[str, object]) -> Rows:
        rows = write_files(files, temporary, self.mesh)
        self._list(temporary, self.mesh.rank, rows, about)
        return rows

    def _list(self, folder: Path, rank: int, rows: Rows, about: Mapping[str, object]) -> None:
        said = {"world": self.mesh.world, "about": about, "files": rows}
        tensorfile.write_json(folder / part_of(rank), said)

    def _copies(self, temporary: Path, rows: Sequence[Rows], about: Mapping[str, object], crew: Crew) -> None:
        """Gives this rank's files to the next node, and takes those of the node before."""
        buddy = self.nodes.buddy(self.mesh.rank)
        sent = []
        if buddy is not None:
            sent = [each for name in rows[self.mesh.rank] for each in peer.send(temporary / name, buddy, crew.group)]
        failed: OSError | None = None
        for rank in self.nodes.kept():
            try:
                peer.take(temporary, rows[rank], rank, crew.group)
                self._list(temporary, rank, rows[rank], about)
            except OSError as error:
                failed = error
        for work, _ in sent:
            work.wait()
        if failed is not None:
            raise failed

    def drop(self, newest: int) -> None:
        """Removes all states but the newest and those that are being copied; a later one does where this one fails."""
        if not self.nodes.first:
            return
        for step in steps_in(self.folder):
            if step < newest and step not in self.held:
                try:
                    drop(step_folder(self.folder, step))
                except OSError:
                    continue

    @staticmethod
    def remove(folder: Path) -> None:
        """Removes all that a run has in a tier of this node."""
        shutil.rmtree(folder, ignore_errors=True)

    def parts(self, step: int) -> dict[int, dict[str, Any]]:
        """What this node has of a step: by rank what `part-….json` says."""
        found = {}
        for path in step_folder(self.folder, step).glob(f"{PART}*.json"):
            try:
                said = json.loads(path.read_text("utf-8"))
                found[int(path.stem.removeprefix(PART))] = {key: said[key] for key in ("world", "about", "files")}
            except (OSError, ValueError, KeyError, TypeError):
                continue  # as if it were not there: another node may have it
        return found

    def complete(self) -> list[int]:
        """Steps of which the nodes together have the parts of all ranks, oldest first; the same on all ranks."""
        own = {step: {rank: said["world"] for rank, said in self.parts(step).items()} for step in steps_in(self.folder)}
        have: dict[int, dict[int, int]] = {}
        for text in agree.everyone(json.dumps(own), self.mesh):
            for step, ranks in json.loads(text).items():
                have.setdefault(int(step), {}).update({int(rank): world for rank, world in ranks.items()})
        return sorted(step for step, ranks in have.items() if set(ranks) >= set(range(max(ranks.values(), default=1))))


def part_of(rank: int) -> str:
    """The list of the files that one rank owns."""
    return f"{PART}{rank:05}.json"


def whole(folder: Path, rows: Rows) -> bool:
    """Whether files have the sizes and checksums that they were written with."""
    try:
        for name, row in rows.items():
            if (folder / name).stat().st_size != row["bytes"]:
                return False
            if tensorfile.sha256(folder / name) != row["sha256"]:
                return False
    except (OSError, KeyError, TypeError):
        return False
    return True
