"""Where text comes from: files, found by a pattern, read as documents in an order that every machine agrees on."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import console
from .errors import RunError

PIECE = 256 << 10  # characters; a longer text file becomes several documents, cut at line ends

# Folders of the standard library that are no part of it (installed packages) or that only some systems ship (tests).
NOT_STDLIB = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})

LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell them, UTF-8 cannot

Reader = Callable[[Path], Iterator[str]]


class Unreadable(Exception):
    """A file that holds no text; it is left out, counted and named."""


@dataclass(frozen=True)
class Documents:
    """Texts of a source, read again from its files at each pass. `digests` holds 64 bits of each one's hash."""

    source: str
    files: tuple[Path, ...]
    read: Reader
    digests: npt.NDArray[np.uint64]
    chosen: npt.NDArray[np.bool_]
    characters: int

    def __iter__(self) -> Iterator[str]:
        chosen = iter(self.chosen)
        for path in self.files:
            for text in self.read(path):
                if next(chosen):
                    yield text

    def __len__(self) -> int:
        return int(self.chosen.sum())

    @property
    def key(self) -> str:
        """A hash of the texts and of their order."""
        return hashlib.sha256(self.digests[self.chosen].tobytes()).hexdigest()


def find(pattern: str) -> tuple[Path, ...]:
    """The files that match `pattern`, sorted by name; `**` is any depth, `{stdlib}` Python's standard library."""
    stdlib = sysconfig.get_paths()["stdlib"]
    full = os.path.abspath(pattern.replace("{stdlib}", glob.escape(stdlib)))
    files = sorted(Path(name) for name in glob.iglob(full, recursive=True) if os.path.isfile(name))
    if "{stdlib}" in pattern:
        files = [path for path in files if NOT_STDLIB.isdisjoint(path.relative_to(stdlib).parts)]
    if not files:
        root = _fixed_part(full)
        state = "which has no file like that" if root.is_dir() else "which does not exist"
        raise RunError(f"no file matches {pattern!r}: looked in {root}, {state}")
    return tuple(files)


def _fixed_part(pattern: str) -> Path:
    """The folder above the first wildcard."""
    parts = Path(pattern).parts
    wild = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:wild])


def text(pattern: str) -> Documents:
    """Each file that matches is a document (UTF-8); one beyond 256 Ki characters is cut at line ends into several."""
    return _scan(f"text({pattern!r})", pattern, _read_text)


def jsonl(pattern: str, field: str = "text") -> Documents:
    """Each line is a JSON object whose string `field` is a document; blank lines are passed over."""
    return _scan(f"jsonl({pattern!r})", pattern, lambda path: _read_jsonl(path, field))


def parquet(pattern: str, column: str = "text") -> Documents:
    """Each row's string `column` is a document; empty cells are passed over."""
    return _scan(f"parquet({pattern!r})", pattern, lambda path: _read_parquet(path, column))


def _read_text(path: Path) -> Iterator[str]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable from error
    start = 0
    while len(content) - start > PIECE:
        cut = content.rfind("\n", start, start + PIECE) + 1 or start + PIECE
        yield content[start:cut]
        start = cut
    if start < len(content):
        yield content[start:]


def _read_jsonl(path: Path, field: str) -> Iterator[str]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise RunError(f"{path}:{number}: not a line of JSON ({error})") from error
            if not isinstance(entry, dict) or field not in entry:
                there = ", ".join(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
                raise RunError(f"{path}:{number}: no field {field!r}; there is {there or 'nothing'}")
            if not isinstance(entry[field], str):
                raise RunError(f"{path}:{number}: the field {field!r} is no text but {type(entry[field]).__name__}")
            if not entry[field].isascii() and LONE_SURROGATE.search(entry[field]):
                raise RunError(f"{path}:{number}: the field {field!r} has half a surrogate pair, which is no text")
            yield entry[field]


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if column not in names:
                raise RunError(f"{path}: no column {column!r}; there is {', '.join(names)}")
            kind = table.schema_arrow.field(column).type
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise RunError(f"{path}: the column {column!r} is no text but {kind}")
            for batch in table.iter_batches(columns=[column]):
                yield from (cell for cell in batch.column(0).to_pylist() if cell is not None)
    except pyarrow.ArrowInvalid as error:
        raise RunError(f"{path}: not a Parquet file that can be read ({error})") from error


def _scan(source: str, pattern: str, read: Reader) -> Documents:
    """One pass over the files that finds what cannot be read and hashes each document."""
    files, unreadable = [], []
    digests: list[bytes] = []
    characters = 0
    found = find(pattern)
    for done, path in enumerate(found):
        try:
            for document in read(path):
                digests.append(hashlib.blake2b(document.encode(), digest_size=8).digest())
                characters += len(document)
            files.append(path)
        except Unreadable:
            unreadable.append(path)
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}") from error
        if console.LINE.due():
            console.LINE.update(f"reading {source}: {done + 1} of {len(found)} files")
    if not characters:
        raise RunError(f"{source} holds no text: {len(found)} files matched, all empty or not UTF-8")
    console.LINE.replace(
        f"{source}: {len(digests):,} documents, {console.count(characters)} characters, {len(files):,} files"
    )
    if unreadable:
        names = ", ".join(map(str, unreadable[:3])) + (", ..." if len(unreadable) > 3 else "")
        console.LINE.note(f"{source}: {len(unreadable)} files left out because they are not UTF-8: {names}")
    hashes = np.frombuffer(b"".join(digests), np.uint64)
    return Documents(source, tuple(files), read, hashes, np.ones(len(hashes), np.bool_), characters)


def split(documents: Documents, share: float, seed: int) -> tuple[Documents, Documents]:
    """Training and validation documents.

    A document's own hash decides, so equal documents never fall on both sides, and adding others moves none. The
    share is met on average; each side gets at least one document.
    """
    seeded = np.uint64(int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little"))
    draws = _mix64(documents.digests ^ seeded)
    held_out = draws < np.uint64(min(share, 1.0) * (2**64 - 1))
    if not held_out.any():
        held_out = draws == draws.min()
    if held_out.all():
        held_out = draws != draws.max()
    if not held_out.any():
        raise RunError(
            f"{documents.source} is one document of {documents.characters:,} characters (or copies of one), which "
            f"cannot be split into training and validation; add documents or set the validation share to 0"
        )
    return replace(documents, chosen=~held_out), replace(documents, chosen=held_out)


def _mix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
