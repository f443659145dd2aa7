"""Processes that die and disks that are full, without touching the machine's own."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

NEW_MOUNTS, NEW_USER, PRIVATE, REFUSED = 0x0002_0000, 0x1000_0000, (1 << 18) | (1 << 14), 77


def in_a_child(work: Callable[[], None]) -> int:
    """Runs `work` in a forked process; its exit code, 0 when `work` came to its end."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # a fork has none of the threads that PyTorch computes with and would wait for them
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def on_a_small_disk(folder: Path, work: Callable[[], None]) -> None:
    """Runs `work` in a child process that alone sees a disk of 64 KiB at `folder`."""
    folder.mkdir()

    def with_disk() -> None:
        libc = ctypes.CDLL(None)
        if libc.unshare(NEW_MOUNTS) and libc.unshare(NEW_MOUNTS | NEW_USER):
            os._exit(REFUSED)
        libc.mount(b"none", b"/", None, PRIVATE, None)
        if libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, b"size=64k"):
            os._exit(REFUSED)
        work()

    code = in_a_child(with_disk)
    if code == REFUSED:
        pytest.skip("mounting is not permitted here")
    assert code == 0
