"""Files worth keeping between runs: trained tokenizers and encoded corpora, each named by what it was made from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import RunError


def folder() -> Path:
    """`$DSKC_CACHE`, else `dskc` in the user's cache folder; made if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(os.environ.get("DSKC_CACHE") or Path(base) / "dskc")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the cache folder {path} cannot be made ({error.strerror}); set DSKC_CACHE to another"
        ) from error
    return path


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` in one rename, or vanishes when the work on it fails."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise RunError(f"cannot write in {path.parent}: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path} was not written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
