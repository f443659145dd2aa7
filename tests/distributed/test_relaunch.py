"""The generated launch file as it stands: a rank that is killed is started again, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..emission.compiled import compile_source, example

FLAGS = (
    "parallel.world_size=2", "training.execution=eager", "training.epochs=none", "training.steps=40",
    "training.evaluate=none", "data.validation=0", "checkpoint.every=4 steps", "checkpoint.keep=20",
)  # fmt: skip


def launched(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    """The launch file of a program on the CPU of this machine, with torchrun as it is here."""
    binaries = folder.parent / "bin"
    binaries.mkdir(exist_ok=True)
    script = binaries / "torchrun"
    script.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m torch.distributed.run --local-addr localhost "$@"\n', "utf-8"
    )
    script.chmod(0o755)
    path = os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each)  # the script changes its folder
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "PYTHONPATH": path, **variables}
    return subprocess.Popen(
        ["bash", str(folder / "launch/torchrun.sh"), "--device", "cpu", *arguments],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def ranks_of(launcher: int) -> list[int]:
    """The processes of the program that a launcher has started, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == launcher and any(word.endswith((b"train.py", b"elastic.py")) for word in words):
                found.append(int(entry.name))
    return sorted(found)


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "checkpoints/step-00000040").glob("model*.safetensors"))
    return {f"{name} of {file.name}": tensor for file in files for name, tensor in load_file(file).items()}


def test_a_killed_rank_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    for name, text in compile_source(example("digits"), *FLAGS).items():
        path = tmp_path / "program" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    program = tmp_path / "program"
    quiet = launched(program, "--run", str(tmp_path / "quiet"))
    assert quiet.wait(120) == 0, quiet.stderr.read().decode() if quiet.stderr else ""

    struck = launched(program, "--run", str(tmp_path / "struck"))
    end = time.monotonic() + 120
    while not (tmp_path / "struck/checkpoints/step-00000004").exists() and time.monotonic() < end:
        time.sleep(0.02)
    before = ranks_of(struck.pid)
    os.kill(before[-1], signal.SIGKILL)
    _, said = struck.communicate(timeout=120)

    assert struck.returncode == 0, said.decode()
    assert b"failed (exitcode: " in said  # it was struck before it was done
    expected, found = weights(tmp_path / "quiet"), weights(tmp_path / "struck")
    assert len(expected) > 4
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
