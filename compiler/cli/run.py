"""`dskc run`: compile a spec and train on this machine."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from . import Subparsers, add_command
from .compile import add_compile_arguments, compile_spec
from .spec_file import UsageError, fail

EPILOG = """\
examples:
  dskc run gpt.dsk                       compile into build/gpt and train; again: go on from the newest checkpoint
  dskc run gpt.dsk --run runs/second     another run of the same program
  dskc run gpt.dsk --set training.steps=50 -o build/short

Checkpoints, metrics.jsonl and loss.png are in the run folder (build/gpt/run).
A rank that fails is started again with the others; what happens is in events.jsonl, beside these.
exit codes: that of the program; 0 fine, 1 errors in the spec or the run, 2 wrong usage, 75 told to end by SIGTERM, and
saved, 130 stopped with Ctrl-C"""

PREEMPTED = 75  # as in runtime/errors.py; torchrun ends with 1 then, whatever its ranks end with

OWN_STORE = ("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
"""Ranks that are started again meet in a store of their own: the old one holds addresses of ranks that are gone."""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "run", EPILOG)
    add_compile_arguments(command)
    command.add_argument("--run", dest="folder", metavar="DIR", help="folder of checkpoints and records (in -o: run)")
    command.add_argument("--steps", type=positive, metavar="N", help="stop after this step")
    command.add_argument("--device", help="cpu or cuda (the GPU if there is one)")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compiles, then trains; the exit code is the program's."""
    try:
        folder = compile_spec(args)
    except UsageError as error:
        return fail(error)
    return launch(folder, args) if folder is not None else 1


def launch(folder: Path, args: argparse.Namespace) -> int:
    """Runs `train.py` in the current folder, its output shown as it comes; on many ranks by torchrun."""
    ranks = ranks_of(folder)
    reason = missing_devices(ranks, args.device) if ranks > 1 else None
    if reason is not None:
        print(f"dskc: {reason}", file=sys.stderr)
        return 1
    command = [sys.executable, str(folder / "train.py")]
    if ranks > 1:
        # `--`: torchrun would take `--run` for an abbreviation of its own flags
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", *torchrun_options(folder, ranks), "--"]
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # as in launch/torchrun.sh
    for flag, value in (("--run", args.folder), ("--steps", args.steps), ("--device", args.device)):
        command += [flag, str(value)] if value is not None else []
    sys.stdout.flush()
    code = followed(command)
    return PREEMPTED if code == 1 and preempted(Path(args.folder or folder / "run")) else code


def followed(command: list[str]) -> int:
    """Runs a command to its end; SIGTERM is handed on to it."""
    with subprocess.Popen(command) as process:
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the program too, which ends in order
        terminate = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            code = process.wait()
        finally:
            signal.signal(signal.SIGINT, interrupt)
            signal.signal(signal.SIGTERM, terminate)
    return 128 - code if code < 0 else code


def torchrun_options(folder: Path, ranks: int) -> list[str]:
    """Those of `launch/torchrun.sh`, for all ranks on this machine."""
    from ..emit.launch import options
    from ..recovery.ladder import Ladder

    predicted = json.loads((folder / "plan.json").read_text("utf-8"))["predicted"]["recovery"]
    ladder = Ladder(**predicted["time_outs"])
    return [f"--{name}={value}" for name, value in options(1, ranks, ladder)]


def preempted(run: Path) -> bool:
    """Whether the last thing that happened to a run is that it was told to end."""
    path = run / "events.jsonl"
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
    try:
        return bool(lines) and json.loads(lines[-1]).get("event") == "preempted"
    except ValueError:
        return False


def ranks_of(folder: Path) -> int:
    """How many processes the program is for."""
    asked = json.loads((folder / "plan.json").read_text("utf-8"))["spec"]["parallel"]
    return int(asked["world_size"])


def missing_devices(ranks: int, device: str | None) -> str | None:
    """Why this machine cannot run that many ranks; without a GPU, or with `--device cpu`, they share the processor."""
    found = 0 if device == "cpu" else gpus()
    if found >= ranks:
        return None
    if found == 0 and device in (None, "cpu"):
        print(f"note: {ranks} ranks share the CPU of this machine, which shows that the program runs, not its speed")
        return None
    return (
        f"the program is for {ranks} ranks, but this machine has {found} GPU{'s' if found != 1 else ''}. Start it on "
        "more machines (see launch/ in its folder), or give --device cpu to try it on the processor"
    )


def gpus() -> int:
    """The CUDA GPUs that torch finds, in a process of its own: the compiler does without torch."""
    code = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else 0


def positive(text: str) -> int:
    """A whole number above 0; argparse turns the ValueError into a usage error."""
    number = int(text)
    if number < 1:
        raise ValueError(f"{number} is not above 0")
    return number
