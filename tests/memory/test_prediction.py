"""Predicted memory against what a tracker sees of the generated program, on fake tensors of a GPU."""

from __future__ import annotations

import math
import os
import re
import shutil
import statistics
import subprocess
import sys

import pytest

from dskc.compiler.build import check, make_plan
from dskc.compiler.memory import KINDS, StageMemory, memory_of
from dskc.compiler.refused import Refused
from dskc.dsl.source import Source

from ..emission.compiled import ROOT, example


def predicted(source: Source, *flags: str) -> StageMemory:
    checked = check(source, None, flags)
    assert checked.spec is not None
    assert checked.lowered is not None
    return memory_of(make_plan(checked.spec, checked.lowered), checked.spec)[0]


@pytest.mark.skipif(shutil.which("g++") is None, reason="the fake device is compiled")
@pytest.mark.parametrize(
    "words", ["digits", "vit_digits", "stdlib_gpt zero2", "stdlib_gpt sequence2", "resnet50 fp32 data2"]
)
def test_within_five_percent_of_the_tracker(words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks/memory.py"), "--only", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)

    errors = [float(text) for text in re.findall(r"measured\s*([+-][\d.]+)%", done.stdout)]
    assert errors, done.stderr[-2000:]
    assert done.returncode == 0, done.stdout
    assert max(map(abs, errors)) <= 5


def test_kinds_add_up_to_the_peak_and_margin_is_apart() -> None:
    found = predicted(example("stdlib_gpt"))

    assert found.peak == sum(getattr(found, kind) for kind in KINDS)
    assert found.parameters == found.gradients == 4 * 5_475_584
    assert found.optimizer == 2 * found.parameters
    assert 0 < found.margin < found.peak / 10


@pytest.mark.parametrize("kind", ["off", "full", "sqrt", "selective"])
def test_nothing_is_left_after_a_step_whatever_the_depth(kind: str) -> None:
    """What is not played one by one changes by the same amount each time, so the peak is linear in the depth."""
    sizes = [predicted(example("stdlib_gpt"), f"model.depth={n}", f"memory.checkpointing={kind}") for n in (25, 36, 49)]
    if kind == "sqrt":
        assert sizes[0].peak < sizes[1].peak < sizes[2].peak
    else:
        assert (sizes[1].peak - sizes[0].peak) * 13 == (sizes[2].peak - sizes[1].peak) * 11


def marks(limit: str) -> tuple[int, list[tuple[str, int, int]]]:
    """Peak within a budget, and what is recomputed for it."""
    checked = check(example("stdlib_gpt"), None, (f"memory.checkpointing=budget({limit})",))
    assert checked.spec is not None
    assert checked.lowered is not None
    plan = make_plan(checked.spec, checked.lowered)
    parts = [(p.kind, p.start, p.stop) for node in plan.nodes("forward") for p in node.recompute]
    return memory_of(plan, checked.spec)[0].peak, parts


def test_a_budget_recomputes_the_least_that_fits() -> None:
    assert marks("250 MiB")[1] == [("selective", 0, 3)]
    assert marks("180 MiB")[1] == [("full", 0, 3), ("selective", 3, 6)]
    for limit in (150, 180, 200, 250, 280):
        assert 0.9 * limit < marks(f"{limit} MiB")[0] / 2**20 <= limit


def test_a_budget_that_nothing_fits_is_refused_with_numbers() -> None:
    with pytest.raises(Refused) as refused:
        marks("140 MiB")

    assert refused.value.diagnostic.code == "E0408"
    assert "but the budget is" in refused.value.diagnostic.message


def test_activations_grow_with_the_root_of_the_depth() -> None:
    """Chen et al. 2016: n layers in segments of sqrt(n). Fitted over 16 to 256 layers, on logarithmic axes."""
    depths = (16, 32, 64, 128, 256)
    for kind, low, high in (("sqrt", 0.4, 0.6), ("off", 0.95, 1.05)):
        flags = ("model.dim=64", f"memory.checkpointing={kind}", "precision.compute=fp32")
        found = [predicted(example("stdlib_gpt"), *flags, f"model.depth={depth}") for depth in depths]
        sizes = [each.activations + each.recompute + each.transient for each in found]
        x, y = [math.log(depth) for depth in depths], [math.log(size) for size in sizes]
        assert low < statistics.linear_regression(x, y).slope < high, (kind, sizes)
