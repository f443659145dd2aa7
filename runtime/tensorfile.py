"""Files of tensors in the safetensors format, written straight to the disk and hashed on the way.

The library's `save` needs a second copy of all tensors in memory and its `save_file` hides why the disk refused; the
format is a length, a JSON header and the bytes, so it is written here and read by the library.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .output import Output

KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


PIECE = 16 << 20  # bytes that are read at a time
AHEAD = 4  # pieces that the disk is asked for beforehand
LARGE = 64 << 20  # bytes of a file that is worth threads and buffers


class Shaped(Protocol):
    """What is known of a tensor before it is there."""

    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102
    @property
    def shape(self) -> Sequence[int]: ...  # noqa: D102


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Writes tensors and forces them to the disk; the SHA-256 of what was written. `OSError` as the system gives it."""
    return write_each(path, tensors, tensors.values(), metadata)


def write_each(
    path: Path, shapes: Mapping[str, Shaped], tensors: Iterable[Tensor], metadata: Mapping[str, str] | None = None
) -> str:
    """`write` for tensors of known shapes that come one after the other."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in shapes.items():
        start, end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {"dtype": KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8
    return _write(path, [len(text).to_bytes(8, "little") + text], tensors, end)


def write_json(path: Path, value: object) -> str:
    """Writes a value as JSON and forces it to the disk; the SHA-256 of what was written."""
    return write_text(path, json.dumps(value, indent=2))


def write_text(path: Path, text: str) -> str:
    """Writes a text and forces it to the disk; the SHA-256 of what was written."""
    return _write(path, [f"{text}\n".encode()], ())


def copy(source: Path, path: Path) -> str:
    """Copies a file and forces the copy to the disk; the SHA-256 of what was written."""
    data = torch.from_file(str(source), shared=False, size=source.stat().st_size, dtype=torch.uint8)
    return _write(path, (), [data], len(data))


def _write(path: Path, chunks: Sequence[bytes], tensors: Iterable[Tensor], size: int = 0) -> str:
    """Writes a file of about `size` bytes."""
    pieces = chain(map(memoryview, chunks), (_bytes(tensor).data for tensor in tensors))
    if size >= LARGE:
        return Output(path, write_all).write(pieces)
    digest = hashlib.sha256()
    with path.open("xb", buffering=0) as file:
        for data in pieces:
            write_all(file.fileno(), data)
            digest.update(data)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> npt.NDArray[np.uint8]:
    """The tensor's bytes, without a copy where it lies on the CPU in one piece."""
    flat = tensor.detach().cpu().contiguous().view(-1)
    raw: npt.NDArray[np.uint8] = flat.view(torch.uint8).numpy()
    return raw


def write_all(handle: int, data: memoryview) -> None:
    """One write may take fewer bytes than it was given; the next one then says why."""
    while len(data):
        data = data[os.write(handle, data) :]


def sha256(path: Path) -> str:
    """The SHA-256 of a file, of which the next pieces are on their way from the disk while one is hashed."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        for start in range(0, os.fstat(file.fileno()).st_size, PIECE):
            os.posix_fadvise(file.fileno(), start, (1 + AHEAD) * PIECE, os.POSIX_FADV_WILLNEED)
            digest.update(buffer[: file.readinto(buffer) or 0])
    return digest.hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU."""
    return safetensors.torch.load_file(path)


class Reader:
    """Blocks of the tensors of a file, on the CPU; only what is asked for is read."""

    def __init__(self, path: Path) -> None:
        self._file: Any = safetensors.safe_open(path, framework="pt")

    def names(self) -> list[str]:
        """The tensors of the file."""
        return list(self._file.keys())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a whole tensor."""
        return tuple(self._file.get_slice(name).get_shape())

    def place(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Shape of the whole tensor that this one is a block of, and where it starts; None where it is the whole."""
        about = self._file.metadata() or {}
        if name not in about:
            return None
        whole, start = json.loads(about[name])
        return tuple(whole), tuple(start)

    def table(self) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
        """For each tensor the shape of the whole, where this block of it starts, and the shape of the block."""
        found = {}
        for name in self.names():
            own = self.shape(name)
            found[name] = (*(self.place(name) or (own, (0,) * len(own))), own)
        return found

    def read(self, name: str, start: Sequence[int] | None = None, shape: Sequence[int] = ()) -> Tensor:
        """Elements start..start+shape of a tensor; without `start` all of it, which is a view of the file."""
        if start is None or not len(start) or 0 in shape or tuple(shape) == self.shape(name):
            whole: Tensor = self._file.get_tensor(name)
            return whole.new_empty(tuple(shape)) if start is not None and 0 in shape else whole
        place = tuple(slice(first, first + size) for first, size in zip(start, shape, strict=True))
        part: Tensor = self._file.get_slice(name)[place]
        return part


def sync_folder(path: Path) -> None:
    """Forces a folder's entries to the disk, so that a rename in it survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
