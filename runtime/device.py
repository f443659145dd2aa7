"""Where a run computes, in which precision, and how much memory it took."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from . import console
from .errors import RunError

P = ParamSpec("P")
T = TypeVar("T")


def choose() -> torch.device:
    """The CUDA GPU where there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def named(name: str) -> torch.device:
    """The device that a flag names: `cpu`, `cuda` or `cuda:1`."""
    try:
        found = torch.device(name)
    except RuntimeError:
        found = torch.device("meta")
    if found.type not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"{name!r} is no device; there is cpu and cuda")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(f"{name!r} is not here: {torch.cuda.device_count()} CUDA GPUs were found")
    return found


def one_process() -> None:
    """`RunError` where several processes were started: each would train the same model into the same folder."""
    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise RunError(f"this program is for one process, but {count} were started; use --nproc-per-node 1")


def describe(device: torch.device) -> str:
    """A name for people: the GPU's, or how many threads the CPU computes with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def allow_tf32(allowed: bool) -> None:
    """Whether float32 products on a GPU may round their factors to TF32 (10 bits of mantissa)."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed  # on by default in PyTorch, unlike the line above


def deterministic() -> None:
    """Only algorithms that give the same bits on each run; PyTorch raises where an operation has none."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def missing_compiler(device: torch.device) -> str | None:
    """Why `torch.compile` cannot work here, or None where it can."""
    # What PyTorch (on a CPU) and Triton (on a GPU) look for.
    usual = ("clang++" if sys.platform == "darwin" else "g++",) if device.type == "cpu" else ("gcc", "clang")
    chosen = os.environ.get("CXX" if device.type == "cpu" else "CC")
    if not any(shutil.which(name) for name in ((chosen,) if chosen else usual)):
        return f"no compiler: {chosen or ' or '.join(usual)} is not installed"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        return f"Python's header files are not installed ({header})"
    if device.type == "cuda":
        try:
            import triton  # noqa: F401
        except ImportError:
            return "triton is not installed"
    return None


def compiled(function: Callable[P, T], device: torch.device, **options: Any) -> Callable[P, T]:
    """`torch.compile(function)`, or the function itself, with the reason said, where nothing can compile it."""
    reason = missing_compiler(device)
    if reason is None:
        return torch.compile(function, **options)
    console.LINE.note(f"runs uncompiled and slower: {reason}")
    return function


def memory_peak(device: torch.device) -> int:
    """Most bytes held so far: by tensors on a GPU, by the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
