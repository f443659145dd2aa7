"""Whether two runs have come to the same end: tensors of their last checkpoints and the losses of their steps.

Reads safetensors with numpy, whole or in parts of ranks, whose headers say where in the whole each block lies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
TYPES: Final = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
CLOSE: Final = 1e-5  # of the largest element of a tensor, where the layout has changed


class Unlike(Exception):
    """Two runs have not come to the same end; the message says where."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint; the elements of BF16 are its bits."""

    dtype: str
    values: Array

    def floats(self) -> Array:
        """Its numbers as float64."""
        if self.dtype == "BF16":
            return (self.values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return self.values.astype(np.float64)


def newest(run: Path) -> Path:
    """The newest checkpoint of a run; `Unlike` where there is none."""
    found = sorted((run / "checkpoints").glob("step-*"))
    if not found:
        raise Unlike(f"{run} has no checkpoint")
    return found[-1]


def tensors(checkpoint: Path, kind: str) -> dict[str, Tensor]:
    """The tensors of the files of one kind, `model` or `training`."""
    found: dict[str, Tensor] = {}
    filled: dict[str, int] = {}
    for path in sorted(checkpoint.glob(f"{kind}*.safetensors")):
        for name, dtype, whole, start, block in _blocks(path):
            held = found.setdefault(name, Tensor(dtype, np.zeros(whole, block.dtype)))
            held.values[tuple(slice(at, at + n) for at, n in zip(start, block.shape, strict=True))] = block
            filled[name] = filled.get(name, 0) + block.size
    short = [name for name, held in found.items() if filled[name] < held.values.size]
    if short or not found:
        raise Unlike(f"{checkpoint}: {kind} lacks parts of {', '.join(short[:3]) or 'everything'}")
    return found


def _blocks(path: Path) -> Iterator[tuple[str, str, tuple[int, ...], tuple[int, ...], Array]]:
    """Name, format, whole shape, start and elements of each block of a file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    places = header.pop("__metadata__", {})
    for name, about in header.items():
        first, last = (8 + length + at for at in about["data_offsets"])
        shape = tuple(about["shape"])
        block = np.frombuffer(content[first:last], TYPES[about["dtype"]]).reshape(shape)
        whole, start = json.loads(places[name]) if name in places else (shape, (0,) * len(shape))
        yield name, about["dtype"], tuple(whole), tuple(start), block


def compare(reference: Path, disturbed: Path, same_layout: bool = True) -> str:
    """How the ends of two runs agree; `Unlike` where they do not.

    In the same layout weights, optimizer and random states are the same bits; otherwise the weights are as close as
    `CLOSE`.
    """
    ends = newest(reference), newest(disturbed)
    about = [json.loads((end / "state.json").read_text("utf-8")) for end in ends]
    for key in ("step", "samples"):
        if about[0][key] != about[1][key]:
            raise Unlike(f"{key} at the end: {about[1][key]} instead of {about[0][key]}")
    compared, worst = 0, 0.0
    for kind in ("model", "training") if same_layout else ("model",):
        ours, theirs = (tensors(end, kind) for end in ends)
        if set(ours) != set(theirs):
            raise Unlike(f"tensors of one run only: {', '.join(sorted(set(ours) ^ set(theirs))[:3])}")
        for name in ours:
            worst = max(worst, _difference(name, ours[name], theirs[name], same_layout))
            compared += ours[name].values.size
    how = "bit-equal" if same_layout else f"within {worst:.1e} of the largest element of each tensor"
    return f"{compared:,} numbers of step {about[0]['step']} are {how}"


def _difference(name: str, ours: Tensor, theirs: Tensor, exact: bool) -> float:
    if (ours.dtype, ours.values.shape) != (theirs.dtype, theirs.values.shape):
        raise Unlike(f"{name} is {theirs.dtype}{theirs.values.shape} instead of {ours.dtype}{ours.values.shape}")
    if exact:
        bits = [np.frombuffer(held.values.tobytes(), np.uint8) for held in (ours, theirs)]
        wrong = int((bits[0] != bits[1]).sum())
        if wrong:
            raise Unlike(f"{name} differs in {wrong} of {bits[0].size} bytes")
        return 0.0
    if not ours.values.size:
        return 0.0
    a, b = ours.floats(), theirs.floats()
    error = float(np.abs(a - b).max() / (np.abs(a).max() or 1.0))
    if not error <= CLOSE:
        raise Unlike(f"{name} differs by {error:.1e} of its largest element, more than {CLOSE:.0e}")
    return error


def compare_steps(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], same_layout: bool = True) -> str:
    """That the records of two runs have the same steps with the same losses; `Unlike` where not."""
    rows = [[(r["step"], r["loss"]) for r in records if r["phase"] == "train"] for records in (ours, theirs)]
    steps = [[step for step, _ in run] for run in rows]
    if steps[0] != steps[1]:
        odd = sorted(set(steps[0]) ^ set(steps[1])) or [s for s in steps[1] if steps[1].count(s) > 1]
        raise Unlike(f"recorded steps differ: {', '.join(map(str, odd[:5])) or 'their order'}")
    for (step, loss), (_, other) in zip(*rows, strict=True):
        if loss != other if same_layout else not math.isclose(loss, other, rel_tol=CLOSE):
            raise Unlike(f"the loss of step {step} is {other!r} instead of {loss!r}")
    return f"{len(steps[0])} steps, each once, with the same losses"
