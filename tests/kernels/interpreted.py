"""Runs kernels in Triton's interpreter and prints their errors; a process of its own, as TRITON_INTERPRET has to be
set before Triton is imported.

The interpreter truncates on the way to bfloat16, where a GPU rounds to nearest: `faithful` puts that right.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from .cases import BY_NAME, CASES, Case, made, tensors
from .load import loaded

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LONG = ("add_rms_norm", "layer_norm", "own_softmax")
SIZES = [*((case.name, 48, 37) for case in CASES), *((case.name, 1000, 7) for case in CASES)]
SIZES += [(case.name, 2048, 3) for case in CASES] + [(name, 8_192, 2) for name in LONG]


def faithful() -> None:
    original = interpreter._convert_float

    def convert(value: Any, source: Any, target: Any, mode: Any) -> Any:
        if source == tl.float32 and target == tl.bfloat16:
            rounded = torch.from_numpy(np.ascontiguousarray(value).view(np.float32)).bfloat16()
            return rounded.view(torch.int16).numpy().view(np.uint16).reshape(value.shape)
        return original(value, source, target, mode)

    interpreter._convert_float = convert


def listed(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def both(function: Any, inputs: Sequence[Tensor], incoming: Sequence[Tensor]) -> list[Tensor]:
    """Outputs and gradients."""
    given = [each.detach().clone().requires_grad_() for each in inputs]
    outputs = listed(function(*given))
    back = [each.to(output.dtype) for each, output in zip(incoming, outputs, strict=True)]
    gradients = torch.autograd.grad(outputs, given, back)
    return [each.detach().double() for each in (*outputs, *gradients)]


def error(value: Tensor, exact: Tensor) -> float:
    return float((value - exact).norm() / exact.norm().clamp_min(1e-30))


def measured(case: Case, columns: int, rows: int, dtype: torch.dtype, folder: Path) -> dict[str, list[float]]:
    """Errors of outputs and gradients: of the kernel, and of PyTorch op by op in the same format."""
    found = made(case, columns)
    kernel = getattr(loaded(found.text, folder, launching=True), found.function)
    inputs = tensors(found.group, rows, dtype)
    exact = [each.double() for each in inputs]
    shapes = [each.shape for each in listed(case.torch(*exact))]
    generator = torch.Generator().manual_seed(1)
    incoming = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    truth = both(case.torch, exact, [each.double() for each in incoming])
    ours, theirs = both(kernel, inputs, incoming), both(case.torch, inputs, incoming)
    return {
        "ours": [error(value, right) for value, right in zip(ours, truth, strict=True)],
        "torch": [error(value, right) for value, right in zip(theirs, truth, strict=True)],
    }


def second(case: Case, folder: Path) -> dict[str, bool]:
    """`gradcheck` and `gradgradcheck` of the kernels in fp64."""
    found = made(case, 8)
    kernel = getattr(loaded(found.text, folder, launching=True), found.function)
    inputs = [each.requires_grad_() for each in tensors(found.group, 2, torch.float64)]
    return {
        "first": torch.autograd.gradcheck(kernel, inputs, raise_exception=False, fast_mode=False),
        "second": torch.autograd.gradgradcheck(kernel, inputs, raise_exception=False, fast_mode=True),
    }


def results() -> Iterator[tuple[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case, columns, rows in SIZES:
            for dtype in ("fp32", "bf16") if columns != 48 else DTYPES:
                found = measured(BY_NAME[case], columns, rows, DTYPES[dtype], folder)
                yield f"{case}-{columns}-{dtype}", found
        for case_ in (each for each in CASES if each.name != "unused"):  # gradgradcheck needs gradients that depend
            yield f"{case_.name}-derivatives", second(case_, folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    faithful()
    for key, value in results():
        print(json.dumps([key, value]), flush=True)
