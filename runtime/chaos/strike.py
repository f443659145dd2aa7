"""How each fault is brought about, and the proof, from outside the program, that it was."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from . import processes
from .disk import Disk
from .faults import Fault
from .job import Job
from .link import Link, Note

Proof = str  # what shows that a fault was brought about


class NotNow(Exception):
    """A fault has nothing to strike yet."""


@dataclass
class Field:
    """What a fault can reach: the job, its ranks as they are now, the files of the run."""

    job: Job
    link: Link
    run: Path
    disk: Disk
    chance: random.Random
    ranks: dict[int, tuple[int, int]] = field(default_factory=dict)  # rank: (process, its launcher)
    slowed: float = 0.0  # seconds that each operation on a checkpoint takes longer

    def pid(self, rank: int) -> int:
        """The process of a rank."""
        if rank not in self.ranks or not processes.state(self.ranks[rank][0]):
            raise NotNow
        return self.ranks[rank][0]

    def target(self, fault: Fault, note: Note) -> int:
        """The rank that a fault is for: in a save the one that just does it, otherwise the one that was named."""
        return note.rank if fault.settings.get("at", "step") != "step" else int(str(fault.settings["rank"]))


def _gone(pids: list[int], name: str) -> Proof:
    processes.kill(pids, getattr(signal, name))
    if not processes.wait_for(pids, None):
        raise RuntimeError(f"{pids} survived {name}")
    return f"{name}: process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))} gone"


def kill(around: Field, fault: Fault, note: Note) -> Proof:
    """SIGKILL to a rank."""
    return _gone([around.pid(around.target(fault, note))], "SIGKILL")


def segfault(around: Field, fault: Fault, note: Note) -> Proof:
    """SIGSEGV to a rank."""
    return _gone([around.pid(around.target(fault, note))], "SIGSEGV")


def hang(around: Field, fault: Fault, note: Note) -> Proof:
    """SIGSTOP to a rank."""
    pid = around.pid(around.target(fault, note))
    processes.kill([pid], signal.SIGSTOP)
    if not processes.wait_for([pid], "T"):
        raise RuntimeError(f"{pid} was not stopped")
    return f"SIGSTOP: process {pid} is in state T"


def node(around: Field, fault: Fault, _: Note) -> Proof:
    """All processes of a node: its launcher, its ranks and what they have started."""
    launcher = around.job.launchers[int(str(fault.settings["node"]))]
    if not any(parent == launcher and processes.state(pid) for pid, parent in around.ranks.values()):
        raise NotNow
    return _gone(processes.descendants(launcher, around.job.processes()), "SIGKILL")


def rendezvous(around: Field, _fault: Fault, _: Note) -> Proof:
    """The launcher that listens on the port where the launchers meet; of one node there is one launcher."""
    launchers = list(around.job.launchers.values())
    host = processes.listener(around.job.port) if len(launchers) > 1 else launchers[0]
    if host not in launchers:
        raise NotNow
    return _gone([host], "SIGKILL") + ("" if len(launchers) == 1 else f", which listened on port {around.job.port}")


def terminate(around: Field, _fault: Fault, _: Note) -> Proof:
    """SIGTERM to all launchers; they are watched until they have ended."""
    launchers = list(around.job.launchers.values())
    processes.kill(launchers, signal.SIGTERM)
    return f"SIGTERM sent to {', '.join(map(str, launchers))}"


def truncate(around: Field, fault: Fault, note: Note) -> Proof:
    """Cuts a file of the newest checkpoint in two, then kills a rank."""
    path = _victim(around, str(fault.settings["file"]))
    size = path.stat().st_size
    os.truncate(path, size // 2)
    return f"{_short(path)} {size:,} -> {path.stat().st_size:,} bytes; {kill(around, fault, note)}"


def bit_flip(around: Field, fault: Fault, note: Note) -> Proof:
    """Flips a bit of a file of the newest checkpoint, then kills a rank."""
    path = _victim(around, str(fault.settings["file"]))
    content = bytearray(path.read_bytes())
    bit = around.chance.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"{_short(path)} bit {bit:,} of {8 * len(content):,} flipped; {kill(around, fault, note)}"


def disk_full(around: Field, _fault: Fault, _: Note) -> Proof:
    """No room for what ranks write."""
    return around.disk.fill([pid for pid, _ in around.ranks.values()])


def slow_disk(around: Field, fault: Fault, _: Note) -> Proof:
    """Each operation on checkpoint files waits."""
    around.slowed = fault.number("seconds")
    return f"each operation on checkpoint files waits {around.slowed:g} s"


def clock(around: Field, fault: Fault, note: Note) -> Proof:
    """The wall clock jumps; ranks show theirs with their next note."""
    around.link.jump(fault.number("seconds"))
    return f"wall clock {fault.number('seconds'):+,.0f} s at {note.clock:.0f}"


STRIKES: Final[dict[str, Callable[[Field, Fault, Note], Proof]]] = {
    "kill": kill, "segfault": segfault, "hang": hang, "node": node, "rendezvous": rendezvous, "terminate": terminate,
    "truncate": truncate, "bit-flip": bit_flip, "disk-full": disk_full, "slow-disk": slow_disk, "clock": clock,
}  # fmt: skip


def _victim(around: Field, kind: str) -> Path:
    """A file of the newest checkpoint, provided that an older one is there to fall back to."""
    found = sorted((around.run / "checkpoints").glob("step-*"))
    files = sorted(found[-1].glob(f"{kind}*")) if len(found) > 1 else []
    if not files:
        raise NotNow
    return around.chance.choice(files)


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def moment(fault: Fault, note: Note, since: float) -> bool:
    """Whether a note is the moment of a fault; `since`: when its step was done, 0 where it was not yet."""
    at = str(fault.settings.get("at", "step"))
    if at == "step":
        return note.what == "step" and note.value >= fault.step
    if note.what != "disk" or not since:
        return False
    operation, path, *_ = note.value
    name = Path(path).name
    if at == "create":
        return operation == "create" and name.startswith(".")
    if at == "write":
        return operation == "open" and name.endswith(".safetensors")
    if at == "manifest":
        return operation == "open" and name.startswith("manifest")
    if at == "publish":
        return operation == "rename" and name.startswith(".")
    return operation == "remove" or (operation == "rename" and name.startswith("step-"))


def later(fault: Fault) -> float:
    """Seconds from its moment to the strike."""
    return float(str(fault.settings.get("after", 0.0)))
