"""The harness's end of the link to the processes under test, and the wall clock that they see."""

from __future__ import annotations

import json
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import shim


@dataclass(frozen=True)
class Note:
    """What a rank is about to do; it waits until the note is answered."""

    what: str  # born, joining, joined, step, disk
    rank: int
    pid: int
    value: Any
    clock: float  # the wall clock as the rank sees it


class Link:
    """A socket in `folder`, which is also the path of the shim."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(shim.__file__, folder / "sitecustomize.py")
        self.shift = 0.0
        self.jump(0.0)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(folder / "link"))
        self._server.listen(64)

    def jump(self, seconds: float) -> None:
        """The wall clock of all processes jumps by so much."""
        self.shift += seconds
        path = self.folder / "clock"
        with path.open("r+b" if path.exists() else "wb") as file:  # in place: processes have it mapped
            file.write(struct.pack("<d", self.shift))

    def serve(self, seconds: float, answer: Callable[[Note], float]) -> bool:
        """Answers one note, if one comes in so many seconds; the answer is how long the rank is to sleep."""
        self._server.settimeout(seconds)
        try:
            link, _ = self._server.accept()
        except TimeoutError:
            return False
        with link:
            link.settimeout(1.0)
            try:
                said = json.loads(link.makefile("rb").readline())
                link.sendall(str(answer(Note(**said))).encode())
            except (OSError, ValueError, TypeError):  # the rank is gone, perhaps by our hand
                pass
        return True

    def close(self) -> None:
        """Ranks that are left go on unwatched."""
        self._server.close()
