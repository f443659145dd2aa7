"""Bytes of a spec -> Source."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from .diagnostics import Sink
from .source import Source, Span

MAX_BYTES = 8 * 1024 * 1024


def read(path: Path, sink: Sink) -> Source | None:
    """The text of a file, or None when it is too large; OSError when there is none."""
    return decode(str(path), content(path), sink)


def content(path: Path, most: int = MAX_BYTES + 1) -> bytes:
    """The first `most` bytes of a regular file; OSError for anything else, since a pipe or a device may never end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "not a regular file; pipe it to standard input and name it `-`", str(path))
    with path.open("rb") as file:
        return file.read(most)


def decode(name: str, data: bytes, sink: Sink) -> Source | None:
    """The text of bytes; those that are not UTF-8 are reported once and stand as U+FFFD."""
    if len(data) > MAX_BYTES:
        where = Span(Source(name, ""), 0, 0)
        help = "a spec is a page or two; data belongs in files of its own"
        sink.error("E0120", f"file is larger than {MAX_BYTES:,} bytes", where, help)
        return None
    try:
        return Source(name, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        source = Source(name, data.decode("utf-8", errors="replace"))
        start = len(data[: error.start].decode("utf-8"))
        is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        help = "it looks like UTF-16; save it as UTF-8" if is_utf16 else "save it as UTF-8"
        message = f"byte 0x{data[error.start]:02x} is not UTF-8 text"
        sink.error("E0100", message, Span(source, start, start + 1), help)
        return source
