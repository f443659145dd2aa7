"""Compiles kernels ahead of time for every architecture and prints what they take; needs no GPU.

python -m tests.kernels.ahead            the sizes, formats and families that CI holds
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch

from dskc.runtime import ahead, tiles

from .cases import BY_NAME, made, tensors
from .load import loaded

ROWS = 64
SIZES = [("add_layer_norm", 1 << power) for power in range(5, 14)]
SIZES += [(name, 704) for name in ("silu_gate", "bias_gelu", "own_block", "own_softmax")]


def launches(name: str, columns: int, compute: str, architecture: str, folder: Path) -> list[ahead.Launch]:
    """Forward and backward as a program on that architecture starts them."""
    found = made(BY_NAME[name], columns, compute)
    dtype = torch.bfloat16 if compute == "bf16" else torch.float32
    inputs = [each.requires_grad_() for each in tensors(found.group, ROWS, torch.float32)]
    given = [
        each.to(dtype) if leaf.kind == "tile" else each for leaf, each in zip(found.group.inputs, inputs, strict=True)
    ]
    with mock.patch.object(tiles, "architecture", return_value=architecture), ahead.recorded() as noted:
        kernel = getattr(loaded(found.text, folder, launching=True), found.function)
        result = kernel(*given)
        outputs = (result,) if isinstance(result, torch.Tensor) else result
        torch.autograd.grad(outputs, inputs, [torch.ones_like(each) for each in outputs], allow_unused=True)
    return noted


def results() -> Iterator[tuple[str, ahead.Resources]]:
    with tempfile.TemporaryDirectory() as folder:
        for architecture in ahead.TARGETS:
            for name, columns in SIZES:
                for compute in ("fp32", "bf16"):
                    for launch in launches(name, columns, compute, architecture, Path(folder)):
                        which = launch.kernel.fn.__name__.rpartition("_")[2]
                        key = f"{name}-{columns}-{compute}-{which}-{architecture}"
                        yield key, ahead.resources(launch, architecture)


if __name__ == "__main__":
    for key, value in results():
        print(json.dumps([key, value.registers, value.spilled, value.shared]), flush=True)
