"""The job as a cluster runs it: one launcher per node, and an outer loop that starts it again when a node fails.

The launchers are the program's own `launch/torchrun.sh`. The outer loop does what the emitted files for Slurm and
Kubernetes ask for: a launcher that fails ends the whole job (srun --kill-on-bad-exit, JobSet's failurePolicy), what is
left of it is killed (cgroup, pod), and the job is started again with the same command.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from . import processes, shim

GRACE = 5.0  # seconds between SIGTERM and SIGKILL for what is left of a job


@dataclass(frozen=True)
class Shape:
    """How many ranks, on how many nodes."""

    world: int
    nodes: int

    @staticmethod
    def of(program: Path) -> Shape:
        """That of a compiled program: the launch file says how many ranks a node has."""
        world = int(json.loads((program / "plan.json").read_text("utf-8"))["spec"]["parallel"]["world_size"])
        if world == 1:
            return Shape(1, 1)
        each = re.search(r"--nproc-per-node (\d+)", (program / "launch" / "torchrun.sh").read_text("utf-8"))
        return Shape(world, world // int(each[1]) if each else 1)


@dataclass(frozen=True)
class Line:
    """What a launcher or one of its ranks has printed."""

    time: float
    node: int
    text: str


class Job:
    """The processes of one run. Without a `link` folder nothing is in their way."""

    def __init__(
        self, program: Path, run: Path, shape: Shape, link: Path | None, device: str | None, log: Path
    ) -> None:
        self.program, self.run, self.shape = program, run, shape
        self._link, self._device = link, device
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._mark = f"DSKC_CHAOS_RUN={os.getpid()}-{run}"
        self._launchers: dict[int, subprocess.Popen[str]] = {}
        self._lines: SimpleQueue[Line] = SimpleQueue()
        self._readers: list[threading.Thread] = []
        self.port = 0
        self.launches = 0
        self._asked = 0.0

    def launch(self) -> None:
        """Starts a launcher on every node."""
        self.port = _free_port()
        self.launches += 1
        for node in range(self.shape.nodes):
            self._launchers[node] = process = subprocess.Popen(
                self._command(), env=self._environment(), text=True, errors="replace", start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            reader = threading.Thread(target=self._read, args=(node, process), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _command(self) -> list[str]:
        command = ["bash", str(self.program / "launch" / "torchrun.sh")]
        if self.shape.world == 1:
            command = [sys.executable, str(self.program / "train.py")]
        return [*command, "--run", str(self.run), *(["--device", self._device] if self._device else [])]

    def _environment(self) -> dict[str, str]:
        given = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
        path = [os.path.abspath(each) for each in given.get("PYTHONPATH", "").split(os.pathsep) if each]
        key, _, value = self._mark.partition("=")
        found = {
            **given,
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), given.get("PATH", "")]),
            "OMP_NUM_THREADS": given.get("OMP_NUM_THREADS", "1"),
            "HEAD": "127.0.0.1",
            "PORT": str(self.port),
            key: value,
        }
        if self._link is not None:
            path.insert(0, str(self._link))
            found |= {shim.FOLDER: str(self._link), shim.WATCHED: str(self.run / "checkpoints")}
            found |= {"DSKC_CHAOS_ALONE": "0"} if self.shape.world == 1 else {}
        return found | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})

    def _read(self, node: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for text in process.stdout:
            now = time.monotonic()
            self._log.write(f"{now:.3f} node {node}: {text}")
            self._lines.put(Line(now, node, text.rstrip()))

    def lines(self) -> list[Line]:
        """What was printed since the last time."""
        found = []
        while True:
            try:
                found.append(self._lines.get_nowait())
            except Empty:
                return found

    def ended(self) -> dict[int, int]:
        """Exit codes of the launchers that have ended, by node."""
        codes = {node: process.poll() for node, process in self._launchers.items()}
        return {node: code for node, code in codes.items() if code is not None}

    @property
    def launchers(self) -> dict[int, int]:
        """The process of each node's launcher."""
        return {node: process.pid for node, process in self._launchers.items()}

    def processes(self) -> list[int]:
        """All processes of the job that are there, launchers and ranks."""
        return processes.marked(self._mark.encode())

    def ask(self) -> None:
        """Asks what is left of the job to end, as a cluster does first; `over` says when it has."""
        processes.kill(self.processes(), signal.SIGTERM)
        self._asked = time.monotonic()

    def over(self) -> bool:
        """Whether nothing of the job is left; after a while it is ended by force."""
        left = self.processes()
        if left and time.monotonic() - self._asked > GRACE:
            processes.kill(left)
        if left:
            return False
        for process in self._launchers.values():
            process.wait()
        for reader in self._readers:
            reader.join(1.0)
        self._readers.clear()
        return True

    def close(self) -> None:
        """Nothing of the job is left."""
        self._asked = -GRACE
        while not self.over():
            time.sleep(0.01)
        self._log.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
