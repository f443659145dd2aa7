"""Writes a program's folder: whole files only, and never over what a person has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

RECORD = ".dskc.json"


class WriteError(Exception):
    """The folder cannot be written; the message says why and what to do."""


def write(folder: Path, files: Mapping[str, str], force: bool = False) -> None:
    """Replaces the program in `folder`; all files are complete on the disk before the first takes its place."""
    known = _recorded(folder)
    stale = [name for name in known if name not in files]
    if not force:
        _refuse_edited(folder, files, known)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".writing-"))
        try:
            for name, text in {**files, RECORD: _record(files)}.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text.encode())
            for name in (*files, RECORD):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary / name, folder / name)
            for name in stale:
                (folder / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise WriteError(f"cannot write {folder}: {error.strerror or error}") from error


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _record(files: Mapping[str, str]) -> str:
    hashes = {name: _hash(text.encode()) for name, text in sorted(files.items())}
    return json.dumps({"files": hashes}, indent=1) + "\n"


def _recorded(folder: Path) -> dict[str, str]:
    """Hashes of what was written last, of files inside the folder."""
    try:
        found = json.loads((folder / RECORD).read_text("utf-8"))["files"]
        inside = {name: str(value) for name, value in found.items() if ".." not in Path(name).parts}
        return {name: value for name, value in inside.items() if not Path(name).is_absolute()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _refuse_edited(folder: Path, files: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Errors where a file is neither as it was written nor as it would be."""
    edited = []
    for name in sorted({*files, *known}):
        path = folder / name
        if not path.exists():
            continue
        data = path.read_bytes() if path.is_file() else b""
        new = files.get(name)
        if _hash(data) != known.get(name) and (new is None or data != new.encode()):
            edited.append(name)
    if edited:
        were = "was" if len(edited) == 1 else "were"
        raise WriteError(
            f"{', '.join(edited)} in {folder} {were} changed since dskc wrote this folder, or not written by dskc; "
            "choose another folder with -o, or give --force to write over"
        )
