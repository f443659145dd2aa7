"""A disk for checkpoints that can be filled: a small tmpfs where one can be mounted, otherwise a limit on files."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SIZE = 256 << 20  # of the tmpfs
OWN = "DSKC_CHAOS_NAMESPACE"
FILLER = ".chaos-filler"


class Disk:
    """The disk below `folder`; `mounted` says which of the two ways it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False
        self._limited: list[int] = []

    def mount(self) -> None:
        """Puts a tmpfs there, if that is permitted in a space of our own; it has to be empty."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if OWN not in os.environ:
            return
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.folder)]
        with contextlib.suppress(OSError):
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill(self, pids: Iterable[int]) -> str:
        """No room any more; what shows it."""
        if not self.mounted:
            return self._limit(pids)
        with (self.folder / FILLER).open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        with (self.folder / FILLER).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))
        left = shutil.disk_usage(self.folder).free
        if left:
            raise RuntimeError(f"{left} bytes of {self.folder} could not be filled")
        return f"tmpfs of {SIZE >> 20} MiB full: 0 bytes free"

    def _limit(self, pids: Iterable[int]) -> str:
        """Files of ranks may be half as large as the largest of a checkpoint; their records have to fit."""
        sizes = [path.stat().st_size for path in self.folder.glob("step-*/*")]
        records = [path.stat().st_size for path in self.folder.parent.glob("*.jsonl")]
        limit = max(sizes, default=0) // 2
        if limit < 2 * max(records, default=0) + 4096:
            raise RuntimeError(f"files of checkpoints are too small for a limit of {limit:,} bytes to reach only them")
        self._limited = list(pids)
        for pid in self._limited:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return f"RLIMIT_FSIZE of {limit:,} bytes on processes {', '.join(map(str, self._limited))}"

    def free(self) -> None:
        """There is room again."""
        (self.folder / FILLER).unlink(missing_ok=True)
        for pid in self._limited:
            with contextlib.suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self._limited = []

    def close(self) -> None:
        """Unmounts it and leaves its files where they were."""
        self.free()
        if not self.mounted:
            return
        beside = self.folder.with_name(f".{self.folder.name}-kept")
        shutil.copytree(self.folder, beside)
        subprocess.run(["umount", str(self.folder)], capture_output=True, check=True)
        self.folder.rmdir()
        beside.rename(self.folder)
        self.mounted = False


def privately() -> None:
    """Starts this program again where its mounts are seen by nobody else and end with it; if that is permitted."""
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if OWN in os.environ:
        return
    with contextlib.suppress(OSError):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            os.environ[OWN] = "1"
            sys.stdout.flush()
            os.execvp(command[0], [*command, sys.executable, *sys.orig_argv[1:]])
