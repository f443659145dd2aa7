"""Generated kernels without a GPU: numbers under Triton's interpreter, and what the compilers say of them."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from .cases import CASES

ROOT = Path(__file__).resolve().parents[2]
EPSILON = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@cache
def told(module: str) -> list[Any]:
    """What a test process says, line by line; it is run once."""
    pytest.importorskip("triton")
    command = [sys.executable, "-W", "ignore", "-m", f"tests.kernels.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_numbers(case: Any) -> None:
    """At most twice the error of PyTorch op by op in the same format, both against fp64."""
    found = {key: value for key, value in told("interpreted") if key.split("-")[0] == case.name and "ours" in value}

    assert len(found) >= 7
    for key, value in found.items():
        least = torch.finfo(EPSILON[key.rpartition("-")[2]]).eps / 2
        for ours, theirs in zip(value["ours"], value["torch"], strict=True):
            assert ours <= 2 * theirs + least, (key, value)


def test_derivatives() -> None:
    """`gradcheck` and `gradgradcheck` of the kernels themselves."""
    found = {key: value for key, value in told("interpreted") if key.endswith("derivatives")}

    assert len(found) == len(CASES) - 1
    assert not [key for key, value in found.items() if not all(value.values())]


def test_every_architecture_compiles_without_spills() -> None:
    from dskc.runtime.ahead import SHARED

    found = told("ahead")

    assert len(found) >= 100
    assert not [row for row in found if row[2] > 0], "registers do not suffice: more warps or fewer rows in rows.json"
    assert not [row for row in found if row[3] > SHARED[row[0].rpartition("-")[2]]]
