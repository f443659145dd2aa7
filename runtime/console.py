"""One line of progress: rewritten in place on a terminal, written now and then elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time

ON_TERMINAL, ELSEWHERE = 0.1, 10.0  # least seconds between two updates
CLEAR = "\r\x1b[K"  # to the start of the line, and nothing on it


class Line:
    """The line of standard output that progress is shown on, and the lines above it that stay."""

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._text = ""  # what is shown now and may be rewritten
        self.silent = False  # of many ranks one speaks

    @property
    def terminal(self) -> bool:
        """Whether someone watches, rather than a file being written."""
        return sys.stdout.isatty()

    def due(self) -> bool:
        """Whether enough time has passed for another update."""
        return not self.silent and time.monotonic() - self._shown >= (ON_TERMINAL if self.terminal else ELSEWHERE)

    def update(self, text: str) -> None:
        """Shows `text` in place of the last update; where nothing can be rewritten, as a line of its own."""
        self._shown = time.monotonic()
        if self.terminal:
            self._text = text[: shutil.get_terminal_size().columns - 1]
            self._write(CLEAR + self._text)
        else:
            self._write(text + "\n")

    def note(self, text: str) -> None:
        """Writes lines that stay, above the progress line."""
        self._write(f"{CLEAR}{text}\n{self._text}" if self._text else text + "\n")

    def replace(self, text: str) -> None:
        """Writes a line that stays in place of the progress line, whose work is done."""
        self._write((CLEAR if self._text else "") + text + "\n")
        self._text = ""

    def end(self) -> None:
        """Leaves the last update standing."""
        if self._text:
            self._write("\n")
        self._text = ""

    def _write(self, text: str) -> None:
        if self.silent:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read, such as `head`, has gone; that is no reason to stop training
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


LINE = Line()  # standard output has one


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
