"""Programs with generated kernels beside those without: on a CPU the registered formulas run, with equal numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from dskc.dsl.source import Source

from ..emission.compiled import compile_source, example, load_model
from .cases import BY_NAME, CASES, Case, made, tensors
from .load import loaded


def program(source: Source, folder: Path, *flags: str) -> ModuleType:
    """`model.py`, with the `kernels` that it imports."""
    sys.modules.pop("kernels", None)
    sys.path.insert(0, str(folder))
    try:
        return load_model(compile_source(source, *flags), folder)
    finally:
        sys.path.remove(str(folder))


def batch(name: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    if name == "vit_digits":
        images = torch.randn(2, 1, 8, 8, generator=generator)
        return images, torch.randint(0, 10, (2,), generator=generator)
    tokens = torch.randint(0, 512, (2, 2, 16), generator=generator)
    return tokens[0], tokens[1]


@pytest.mark.parametrize("name", ["stdlib_gpt", "vit_digits"])
def test_generated_kernels_give_the_same_numbers(name: str, tmp_path: Path) -> None:
    found = []
    for kernels in ("library", "generated"):
        flags = (f"training.kernels={kernels}", "precision.compute=fp32")
        module = program(example(name), tmp_path / kernels, *flags)
        model = next(each for each in vars(module).values() if hasattr(each, "objectives"))()
        model.initialize(0)
        loss = model.objectives(*batch(name))["loss"]
        loss.backward()
        found.append((loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])))
    (loss, gradients), (other, others) = found

    assert "kernels." in (tmp_path / "generated" / "model.py").read_text("utf-8")
    torch.testing.assert_close(other, loss, rtol=1e-6, atol=0)
    assert float((others - gradients).norm() / gradients.norm()) < 1e-6


def run(function: object, inputs: list[Tensor], compiled: bool = False) -> list[Tensor]:
    given = [each.detach().requires_grad_() for each in inputs]
    call = torch.compile(function, fullgraph=True, dynamic=False) if compiled else function
    result = call(*given)  # type: ignore[operator]
    outputs = [result] if isinstance(result, Tensor) else list(result)
    total = sum((each * each).sum() for each in outputs)
    return [*outputs, *torch.autograd.grad(total, given, allow_unused=True)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_formulas_and_their_shapes(case: Case, tmp_path: Path) -> None:
    """The CPU implementation equals PyTorch in fp64; `opcheck` holds what is registered of both ops."""
    found = made(case, 24)
    module = loaded(found.text, tmp_path)
    inputs = tensors(found.group, 3, torch.float64)

    for ours, right in zip(run(getattr(module, found.function), inputs), run(case.torch, inputs), strict=True):
        torch.testing.assert_close(ours, right if right is not None else torch.zeros_like(ours))
    name = found.function.upper()
    forward, backward = getattr(module, f"{name}_OP"), getattr(module, f"{name}_GRADIENT_OP")
    noted = noting(module, f"{name}_GRADIENT_OP")
    first = noting(module, f"{name}_OP")
    run(getattr(module, found.function), [each.float() for each in inputs])
    for op, arguments in ((forward, first[0]), (backward, noted[0])):
        torch.library.opcheck(op, tuple(a.detach() if isinstance(a, Tensor) else a for a in arguments))


def noting(module: ModuleType, name: str) -> list[tuple[object, ...]]:
    """Arguments of the calls of an op of the module, from now on."""
    calls: list[tuple[object, ...]] = []
    op = getattr(module, name)

    def note(*arguments: object) -> object:
        calls.append(arguments)
        return op(*arguments)

    setattr(module, name, note)
    return calls


@pytest.mark.parametrize("name", ["add_rms_norm", "silu_gate", "own_block"])
def test_compiled_in_one_graph(name: str, tmp_path: Path) -> None:
    """`torch.compile(fullgraph=True)` goes around the kernels, forward and backward."""
    found = made(BY_NAME[name], 24)
    function = getattr(loaded(found.text, tmp_path), found.function)
    inputs = tensors(found.group, 3, torch.float32)

    for ours, right in zip(run(function, inputs, compiled=True), run(function, inputs), strict=True):
        torch.testing.assert_close(ours, right)


@pytest.mark.parametrize("case", [each for each in CASES if each.name != "unused"], ids=lambda case: case.name)
def test_second_derivatives(case: Case, tmp_path: Path) -> None:
    found = made(case, 8)
    function = getattr(loaded(found.text, tmp_path), found.function)
    inputs = [each.requires_grad_() for each in tensors(found.group, 2, torch.float64)]

    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_low_precision_is_written_once(tmp_path: Path) -> None:
    """Under autocast a norm that only products read comes in their format."""
    found = made(BY_NAME["add_rms_norm"], 32, "bf16")
    function = getattr(loaded(found.text, tmp_path), found.function)
    inputs = tensors(found.group, 3, torch.float32)

    with torch.autocast("cpu", torch.bfloat16):
        total, norm = function(*inputs)

    assert (total.dtype, norm.dtype) == (torch.float32, torch.bfloat16)
    assert [each.dtype for each in function(*inputs)] == [torch.float32, torch.float32]
