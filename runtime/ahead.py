"""Compiles kernels for GPUs that are not here, and reads from the result what they take of one."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

TARGETS: Final = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED: Final = {"sm_80": 166_912, "sm_90": 232_448, "gfx942": 65_536}
"""Bytes of shared memory that a program may have."""
_NAMES: Final = {
    torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16",
    torch.int64: "i64", torch.int32: "i32", torch.int16: "i16", torch.int8: "i8", torch.uint8: "u8", torch.bool: "i1",
}  # fmt: skip
_OPTIONS: Final = ("num_warps", "num_stages", "num_ctas", "waves_per_eu", "maxnreg")
ALIGNED: Final = 16


@dataclass(frozen=True)
class Launch:
    """One start of a kernel: its arguments by name, and the options of the compiler."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel takes: registers of a thread, bytes that did not fit into them, bytes of shared memory."""

    registers: int
    spilled: int
    shared: int


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Notes kernels in the place of starting them; what they would have written stays as it is."""
    launches: list[Launch] = []

    def note(kernel: Any, *args: Any, grid: tuple[int, ...], warmup: bool, **options: Any) -> None:  # noqa: ARG001
        named = dict(zip(kernel.arg_names, args, strict=False))
        named |= {name: value for name, value in options.items() if name in kernel.arg_names}
        launches.append(Launch(kernel, grid, named, {k: v for k, v in options.items() if k in _OPTIONS}))

    with mock.patch.object(JITFunction, "run", note):
        yield launches


def resources(launch: Launch, architecture: str) -> Resources:
    """Compiles a kernel as it would be for these arguments on that architecture."""
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    aligned: dict[tuple[int, ...], list[list[Any]]] = {}
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name], constants[index,] = "constexpr", value
            continue
        signature[parameter.name] = _type(value)
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % ALIGNED == 0):
            aligned[index,] = [["tt.divisibility", ALIGNED]]
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=TARGETS[architecture], options={"enable_fp_fusion": True, **launch.options})
    if architecture.startswith("gfx"):
        return _of_amd(made.asm["amdgcn"], made.metadata.shared)
    return _of_nvidia(made.asm["cubin"], made.metadata.shared)


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"*{_NAMES[value.dtype]}"
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def _of_amd(text: str, shared: int) -> Resources:
    """The metadata at the end of the assembly."""
    found = {name: int(number) for name, number in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", text)}
    return Resources(found["vgpr_count"], 4 * found["vgpr_spill_count"], shared)


def _of_nvidia(binary: bytes, shared: int) -> Resources:
    """What `cuobjdump` of the Triton wheel says."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        done = subprocess.run([str(tool), "-res-usage", file.name], capture_output=True, text=True, check=True)
    found = {name: int(number) for name, number in re.findall(r"\b(REG|STACK):(\d+)", done.stdout + done.stderr)}
    return Resources(found["REG"], found["STACK"], shared)
