"""The trained weights as a file of their own."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from pathlib import Path

from . import agree, console, tensorfile, whole
from .errors import RunError
from .layout import Block, Layout, Model, block_of, modules


def safetensors(model: Model, path: Path, layout: Layout | None = None) -> None:
    """Writes the model's tensors by name, and compares what was written; a file that is there is replaced.

    Of many ranks the first writes the tensors of the whole model, all of its stages.
    """
    layout = layout or Layout()
    first: dict[int, str] = {}  # a layout knows a shared tensor by the first of its names
    blocks = {
        name: block_of(first.setdefault(id(tensor), name), tensor, layout)
        for module in modules(model)
        for name, tensor in module.state_dict(keep_vars=True).items()
    }
    table = whole.table(blocks, layout.mesh)
    if not layout.mesh.first:
        whole.give(table, blocks, layout.mesh)
    agree.together(lambda: _write(path, table, blocks, layout) if layout.mesh.first else None, layout.mesh)
    console.LINE.note(f"weights written: {path}")


def _write(path: Path, table: whole.Table, blocks: dict[str, Block], layout: Layout) -> None:
    temporary = path.with_name(f".{path.name}.new")
    tensors = whole.gather(table, blocks, layout.mesh)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        digest = tensorfile.write_each(temporary, table, tensors)
        with temporary.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise RunError(f"{path} was not written as it is; check the disk")
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}; nothing was changed") from error
    finally:
        deque(tensors, maxlen=0)  # the other ranks wait until what they give is taken
        temporary.unlink(missing_ok=True)
