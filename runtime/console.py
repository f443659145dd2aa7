"""One line of progress: rewritten in place on a terminal, written now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time


class Line:
    """A progress line on standard output; `every` is the least number of seconds between two updates."""

    def __init__(self, terminal: bool | None = None) -> None:
        self.terminal = sys.stdout.isatty() if terminal is None else terminal
        self.every = 0.1 if self.terminal else 10.0
        self._shown = 0.0
        self._open = False

    def due(self) -> bool:
        """Whether enough time has passed for another update."""
        return time.monotonic() - self._shown >= self.every

    def update(self, text: str) -> None:
        """Shows `text` in place of the last update."""
        self._shown = time.monotonic()
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write("\r\x1b[K" + text[:width])
        else:
            sys.stdout.write(text + "\n")
        sys.stdout.flush()
        self._open = self.terminal

    def note(self, text: str) -> None:
        """Writes lines that stay, above the progress line."""
        sys.stdout.write(("\r\x1b[K" if self._open else "") + text + "\n")
        sys.stdout.flush()
        self._open = False

    def end(self) -> None:
        """Leaves the last update standing."""
        if self._open:
            self.note_break()

    def note_break(self) -> None:
        """Ends the line that is being rewritten."""
        sys.stdout.write("\n")
        sys.stdout.flush()
        self._open = False


def duration(seconds: float) -> str:
    """`48 s`, `3:20` (minutes), `2:03:20` (hours)."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def count(number: float) -> str:
    """`950`, `12.3k`, `4.9M`: three digits or so."""
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.{0 if number >= 100 * size else 1}f}{suffix}"
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def size(count_of_bytes: float) -> str:
    """`512 B`, `3.2 MiB` ..."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count_of_bytes < 1024 or unit == "GiB":
            break
        count_of_bytes /= 1024
    return f"{count_of_bytes:.0f} {unit}" if unit == "B" else f"{count_of_bytes:.1f} {unit}"
