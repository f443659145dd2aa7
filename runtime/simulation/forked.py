"""A function in a copy of this process: torch keeps meshes and sharding decisions, which are those of one rank."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from ..errors import RunError


def forked(function: Callable[[], Any]) -> Any:
    """What the function gives, as JSON has it; `RunError` with its traceback where it raises."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _answer(function, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise RunError(text.decode() or f"a process ended with status {os.waitstatus_to_exitcode(status)}")
    return json.loads(text)


def _answer(function: Callable[[], Any], writer: int) -> None:
    """Runs in the child, which ends here: nothing of the parent is to be cleaned up twice."""
    code = 1
    try:
        try:
            text = json.dumps(function())
            code = 0
        except BaseException:
            text = traceback.format_exc()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(text.encode())
    finally:
        os._exit(code)
