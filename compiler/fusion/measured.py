"""How much faster generated kernels are than the best of PyTorch and its compiler, as measured on each GPU.

`measured.json` is written by `benchmarks/gpu.py`: by GPU (a preset of `cluster.gpu`), family and kind of group, the
ratio of the times of forward and backward together. What was not measured is left to PyTorch.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("measured.json")


def speedup(gpu: str | None, family: str, kind: str) -> float:
    """The measured ratio; 0 where there is none."""
    return _table().get(gpu or "", {}).get(family, {}).get(kind, 0.0)


@cache
def _table() -> dict[str, dict[str, dict[str, float]]]:
    table: dict[str, dict[str, dict[str, float]]] = json.loads(FILE.read_text("utf-8"))
    return table
