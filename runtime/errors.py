"""What a run tells its user when it cannot go on: a sentence and an exit code, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable


class RunError(Exception):
    """A run cannot go on for a reason that its user can remedy; the message says which."""


def positive(text: str) -> int:
    """A flag's whole number above 0; argparse turns the ValueError into a message with the flag's name."""
    number = int(text)
    if number < 1:
        raise ValueError(f"{number} is not above 0")
    return number


def main(program: Callable[[], None]) -> None:
    """Runs a program; a `RunError` is printed and ends it with exit code 1, Ctrl-C with 130."""
    try:
        program()
    except RunError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        raise SystemExit(130) from None
