"""What a run tells its user when it cannot go on: a sentence and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable


class RunError(Exception):
    """A run cannot go on for a reason that its user can remedy; the message says which."""


class StopError(RunError):
    """A run cannot go on, and would come to the same end if it were started again."""


class Preempted(Exception):
    """The run was told to end, and has saved."""


PREEMPTED = 75  # the exit code of a run that was told to end: EX_TEMPFAIL of sysexits.h, "try again later"


def positive(text: str) -> int:
    """A flag's whole number above 0; argparse turns the ValueError into a message with the flag's name."""
    number = int(text)
    if number < 1:
        raise ValueError(f"{number} is not above 0")
    return number


def main(program: Callable[[], None]) -> None:
    """Runs a program; a `RunError` is printed and ends it with exit code 1, Ctrl-C with 130, SIGTERM with 75.

    Of many ranks each says which it is, and an error of any kind ends its process at once, so that torchrun ends the
    others rather than let them wait for it.
    """
    rank = os.environ.get("RANK", "") if os.environ.get("WORLD_SIZE", "1") != "1" else ""
    try:
        program()
    except RunError as error:
        print(f"\nerror{f' on rank {rank}' if rank else ''}: {error}", file=sys.stderr)
        _end(1, at_once=bool(rank))
    except Preempted:
        _end(PREEMPTED, at_once=bool(rank))
    except KeyboardInterrupt:
        if rank in ("", "0"):
            print("\nstopped", file=sys.stderr)
        _end(130, at_once=bool(rank))
    except Exception:
        if not rank:
            raise
        print(f"\nerror on rank {rank}:\n{traceback.format_exc().rstrip()}", file=sys.stderr)
        _end(1, at_once=True)


def _end(code: int, at_once: bool) -> None:
    """`at_once`: without the work that Python does at the end of a process, which may wait for other ranks."""
    if not at_once:
        raise SystemExit(code) from None
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
