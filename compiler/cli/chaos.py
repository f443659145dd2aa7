"""`dskc chaos`: run a spec on this machine while faults strike it, and compare its end with an undisturbed run."""

from __future__ import annotations

import argparse
import subprocess
import sys

from . import Subparsers, add_command
from .compile import compile_spec, output_folder
from .run import positive
from .spec_file import UsageError, add_spec_arguments, fail

EPILOG = """\
examples:
  dskc chaos gpt.dsk                                     eight faults drawn by chance
  dskc chaos gpt.dsk --random 20 --seed 7                twenty others, the same ones each time
  dskc chaos gpt.dsk --faults kill@20 hang:rank=1@40     these, each when that step is done
  dskc chaos gpt.dsk --faults kill:at=publish@20 --set training.steps=60 --keep

faults, each with @STEP; what is not given is chosen by chance:
  kill:rank=R,at=MOMENT,after=S   SIGKILL to a rank; segfault takes the same and sends SIGSEGV
                                  MOMENT: step, or in the next save create, write, manifest, publish, remove
  hang:rank=R                     SIGSTOP: the rank is there and does nothing
  node:node=N,at=MOMENT           all processes of a node at once; nodes are simulated, one launcher each
  rendezvous                      the launcher that hosts the rendezvous
  terminate                       SIGTERM to all launchers, as before a preemption
  truncate:file=F,rank=R          the newest checkpoint loses the end of a file, then a rank is killed
  bit-flip:file=F,rank=R          the same with one bit flipped; F: model, training, state, manifest
  disk-full                       no room for checkpoints until a save has failed
  slow-disk:seconds=S             each operation on the files of a checkpoint takes S longer
  clock:seconds=S                 the wall clock jumps by S, which may be negative

The spec is compiled into build/SPEC/chaos/program and run twice by its own launch/torchrun.sh, undisturbed and
disturbed; what Slurm or Kubernetes would start again is started again. Weights, optimizer, random states and losses
of both have to be the same bits. Each fault has to be seen from outside, and has to leave its trace in
run/events.jsonl. Needs Linux.
build/SPEC/chaos/disturbed: chaos.json, timeline.png, output.log
exit codes: 0 the run has stood it, 1 it has not or the spec has errors, 2 wrong usage"""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "chaos", EPILOG)
    add_spec_arguments(command)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--faults", nargs="+", metavar="FAULT", help="these faults, such as kill@20")
    which.add_argument("--random", type=positive, metavar="N", help="N faults drawn by chance (8)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of everything left to chance (0)")
    command.add_argument("-o", "--output", metavar="DIR", help="folder of the program (build/SPEC)")
    command.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    command.add_argument(
        "--patience", type=positive, default=120, metavar="SECONDS", help="longest time without a new step (120)"
    )
    command.add_argument("--keep", action="store_true", help="keep both run folders; they are kept after a failure")
    command.set_defaults(run=run, standalone=False, force=True)


def run(args: argparse.Namespace) -> int:
    """Compiles, then hands over to the harness, which is part of the runtime."""
    place = output_folder(args) / "chaos"
    args.output = str(place / "program")
    args.overrides = [*args.overrides, "observe.log_every=1"]  # the losses of all steps are compared
    try:
        program = compile_spec(args)
    except UsageError as error:
        return fail(error)
    if program is None:
        return 1
    command = [sys.executable, "-m", "dskc.runtime.chaos", str(program), str(place), "--seed", str(args.seed)]
    command += ["--device", args.device, "--patience", str(args.patience), *(["--keep"] if args.keep else [])]
    command += ["--faults", *args.faults] if args.faults else ["--random", str(args.random or 8)]
    sys.stdout.flush()
    return subprocess.run(command, check=False).returncode
