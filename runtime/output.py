"""Writes a large file past the page cache, and hashes it meanwhile.

Through the cache, a system that is short of clean pages makes whoever writes wait for all that anybody has written, and
`fsync` comes on top. Data go through a few buffers instead: one is filled while another is on its way to the disk and a
third is hashed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

PIECE: Final = 16 << 20  # bytes of a buffer
BUFFERS: Final = 3
BLOCK: Final = 4096  # what O_DIRECT writes is a multiple of


class Output:
    """One file that does not exist yet; `write_all(handle, data)` writes all of some bytes."""

    def __init__(self, path: Path, write_all: Callable[[int, memoryview], None], piece: int = PIECE) -> None:
        self._write_all, self._piece = write_all, piece
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._buffers = [mmap.mmap(-1, piece) for _ in range(BUFFERS)]  # each begins at a page
        self._busy: list[list[Future[None]]] = [[] for _ in range(BUFFERS)]
        self._now = self._filled = 0
        self._digest = hashlib.sha256()
        self._writer, self._hasher = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._direct(True)

    def write(self, chunks: Iterable[memoryview]) -> str:
        """Writes all of it and forces it to the disk; the SHA-256."""
        try:
            for data in chunks:
                self._add(np.frombuffer(data, np.uint8))
            self._flush()
            for number in range(BUFFERS):
                self._wait(number)
            os.fsync(self._handle)
        finally:
            self._writer.shutdown()
            self._hasher.shutdown()
            os.close(self._handle)
        return self._digest.hexdigest()

    def _add(self, data: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        start = 0
        while start < len(data):
            size = min(self._piece - self._filled, len(data) - start)
            buffer = np.frombuffer(self._buffers[self._now], np.uint8)
            buffer[self._filled : self._filled + size] = data[start : start + size]
            self._filled, start = self._filled + size, start + size
            if self._filled == self._piece:
                self._flush()

    def _flush(self) -> None:
        """Has the buffer written and hashed, and goes on with the next."""
        data = memoryview(self._buffers[self._now])[: self._filled]
        self._busy[self._now] = [self._writer.submit(self._out, data), self._hasher.submit(self._digest.update, data)]
        self._now, self._filled = (self._now + 1) % BUFFERS, 0
        self._wait(self._now)

    def _wait(self, number: int) -> None:
        for each in self._busy[number]:
            each.result()
        self._busy[number] = []

    def _out(self, data: memoryview) -> None:
        whole = len(data) // BLOCK * BLOCK
        self._write_all(self._handle, data[:whole])
        if whole < len(data):  # the end of the file
            self._direct(False)
            self._write_all(self._handle, data[whole:])

    def _direct(self, on: bool) -> None:
        """Past the cache, where the file system can."""
        flags = fcntl.fcntl(self._handle, fcntl.F_GETFL)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._handle, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
