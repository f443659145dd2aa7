"""Files worth keeping between runs: trained tokenizers and encoded corpora, each named by what it was made from."""

from __future__ import annotations

import os
import uuid
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
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path} was not written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
