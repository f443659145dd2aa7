"""Gives a state back from the nodes' own tiers: each rank gets the files that it needs and its node lacks.

First the nodes check what they have, each rank its share. Then all know which tensor lies in which part, and on which
nodes the part is; a rank that needs one from elsewhere gets it, and leaves it in the folder of its node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import agree, console, peer, tensorfile
from .near import Near, part_of, whole
from .parts import Parts, overlap
from .state import Wanted
from .writer import KINDS, Rows, step_folder


@dataclass(frozen=True)
class Part:
    """What one rank wrote: its files, in each its tensors (shape of the whole, start, shape), and who has it."""

    files: Rows
    tensors: Mapping[str, Mapping[str, Sequence[Sequence[int]]]]
    nodes: tuple[int, ...]

    def needed(self, kind: str, wanted: Wanted) -> bool:
        """Whether one of its files of a kind has elements of these blocks."""
        for file, tensors in self.tensors.items():
            if file.startswith(kind.partition(".")[0]):
                for name, start, shape in wanted:
                    if name in tensors and overlap(tensors[name][1], tensors[name][2], start, shape):
                        return True
        return False


class Recall:
    """A state of a tier whose files have been checked; `about` is its `state.json`. The same on all ranks."""

    def __init__(self, near: Near, step: int) -> None:
        self._near, self._mesh = near, near.mesh
        self.path = step_folder(near.folder, step)
        self._parts: dict[int, Part] = {}
        self.about: dict[str, Any] = {}
        own, here = near.parts(step), near.nodes.here
        mine = {rank: said for rank, said in sorted(own.items()) if here[rank % len(here)] == self._mesh.rank}
        good = {rank: self._said(said) for rank, said in mine.items() if whole(self.path, said["files"])}
        self.damaged = sorted(set(mine) - set(good))
        heard = agree.everyone(json.dumps({"good": good, "damaged": self.damaged}), self._mesh)
        self._gather([json.loads(text) for text in heard])

    def _said(self, said: dict[str, Any]) -> dict[str, Any]:
        tensors = {name: tensorfile.Reader(self.path / name).table() for name in said["files"]}
        return {**said, "tensors": tensors}

    def _gather(self, heard: Sequence[dict[str, Any]]) -> None:
        world = 0
        for rank, each in enumerate(heard):
            node = self._near.nodes.node(rank)
            for part, said in each["good"].items():
                known = self._parts.get(int(part))
                nodes = (*(known.nodes if known else ()), node)
                self._parts[int(part)] = Part(said["files"], said["tensors"], nodes)
                self.about, world = said["about"], said["world"]
        self.lacks = sorted(set(range(world)) - set(self._parts)) if world else [0]
        self.damaged = sorted({part for each in heard for part in each["damaged"]})

    def shapes(self, kind: str) -> dict[str, tuple[int, ...]]:
        """The tensors of the whole state in files of a kind."""
        stem = kind.partition(".")[0]
        return {
            name: tuple(row[0])
            for part in self._parts.values()
            for file, tensors in part.tensors.items()
            if file.startswith(stem)
            for name, row in tensors.items()
        }

    def fetch(self, wanted: Mapping[str, Wanted]) -> dict[str, Parts] | None:
        """Brings the parts with these blocks to this node; the files of each kind, to be read.

        All ranks together; None on all where one could not take a part.
        """
        asked = {kind: list(blocks) for kind, blocks in wanted.items()}
        need = [
            number
            for number, part in sorted(self._parts.items())
            if any(part.needed(kind, asked[kind]) for kind in KINDS)
        ]
        nodes, own = self._near.nodes, self._near.nodes.node(self._mesh.rank)
        missing = [number for number in need if own not in self._parts[number].nodes]
        asking = [json.loads(text) for text in agree.everyone(json.dumps(missing), self._mesh)]
        failed = ""
        for number, part in sorted(self._parts.items()):
            sender = nodes.members[part.nodes[0]][0]
            for node, members in enumerate(nodes.members):
                takers = [rank for rank in members if number in asking[rank]]
                if node not in part.nodes and takers:
                    failed = self._move(number, part, sender, takers[0]) or failed
        failures = [each for each in agree.everyone(failed, self._mesh) if each]
        if failures:
            console.LINE.note(f"warning: {self.path} cannot be given to all nodes: {failures[0]}")
            return None
        return {kind: self._readers(kind, need) for kind in KINDS}

    def _move(self, number: int, part: Part, sender: int, taker: int) -> str:
        """One rank sends a part, another takes it; why it could not keep it."""
        if self._mesh.rank == sender:
            for name in part.files:
                for work, _ in list(peer.send(self.path / name, taker, self._mesh.control)):
                    work.wait()
        elif self._mesh.rank == taker:
            said = {"world": len(self._parts), "about": self.about, "files": part.files}
            try:
                peer.take(self.path, part.files, sender, self._mesh.control)
                (self.path / part_of(number)).write_text(json.dumps(said), "utf-8")
            except OSError as error:
                return f"{self.path}: {error.strerror or error}"
        return ""

    def _readers(self, kind: str, need: Sequence[int]) -> Parts:
        stem = kind.partition(".")[0]
        paths = [self.path / file for number in need for file in self._parts[number].files if file.startswith(stem)]
        return Parts(paths, self.shapes(kind))
