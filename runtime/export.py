"""The trained weights as a file of their own."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from . import console, tensorfile
from .errors import RunError


def safetensors(model: nn.Module, path: Path) -> None:
    """Writes the model's tensors by name, and compares what was written; a file that is there is replaced."""
    temporary = path.with_name(f".{path.name}.new")
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        tensorfile.write(temporary, tensors)
        written = tensorfile.read(temporary)
        wrong = [name for name, tensor in tensors.items() if not torch.equal(written[name], tensor.cpu())]
        if wrong:
            raise RunError(f"{path}: {wrong[0]} was not written as it is; check the disk")
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}; nothing was changed") from error
    finally:
        temporary.unlink(missing_ok=True)
    console.LINE.note(f"weights written: {path}")
