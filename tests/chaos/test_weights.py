"""The ends of two runs: files of one rank or of many, the same bits or close, and what tells them apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dskc.runtime import parts
from dskc.runtime.chaos import weights
from dskc.runtime.layout import Block

STATE = {
    "matrix": torch.arange(24.0).reshape(6, 4) / 7,
    "half": torch.arange(5.0).bfloat16() / 3,
    "scalar": torch.tensor(2.5),
    "count": torch.arange(3),
    "empty": torch.zeros(0, 4),
}


def checkpoint(run: Path, state: dict[str, Tensor], cuts: int = 1, step: int = 7) -> Path:
    """A run whose last checkpoint is written by `cuts` ranks, each with its rows of what has rows enough."""
    folder = run / "checkpoints" / f"step-{step:08}"
    folder.mkdir(parents=True)
    for kind in ("model", "training"):
        for rank in range(cuts):
            blocks = {}
            for name, tensor in state.items():
                split = tensor.ndim > 0 and tensor.shape[0] >= cuts
                if split or rank == 0:
                    local = tensor.tensor_split(cuts)[rank] if split else tensor
                    before = sum(len(each) for each in tensor.tensor_split(cuts)[:rank]) if split else 0
                    start = (before, *[0] * (tensor.ndim - 1)) if tensor.ndim else ()
                    blocks[name] = Block(local, tuple(tensor.shape), start)
            parts.write(folder / (f"{kind}-{rank:05}.safetensors" if cuts > 1 else f"{kind}.safetensors"), blocks)
    (folder / "state.json").write_text(json.dumps({"step": step, "samples": 8 * step}), "utf-8")
    return run


def changed(name: str, value: Tensor) -> dict[str, Tensor]:
    return {**STATE, name: value}


@pytest.mark.parametrize("cuts", [1, 3])
def test_the_same_state_is_the_same_however_it_was_cut(cuts: int, tmp_path: Path) -> None:
    ours, theirs = checkpoint(tmp_path / "a", STATE), checkpoint(tmp_path / "b", STATE, cuts)

    assert weights.compare(ours, theirs) == "66 numbers of step 7 are bit-equal"
    for name, held in weights.tensors(weights.newest(theirs), "model").items():
        assert np.array_equal(held.floats(), STATE[name].double().numpy())


def test_one_bit_is_seen(tmp_path: Path) -> None:
    half = STATE["half"].clone()
    half.view(torch.int16)[3] ^= 1
    ours, theirs = checkpoint(tmp_path / "a", STATE), checkpoint(tmp_path / "b", changed("half", half))

    with pytest.raises(weights.Unlike, match="half differs in 1 of 10 bytes"):
        weights.compare(ours, theirs)
    with pytest.raises(weights.Unlike, match=r"half differs by .* of its largest element"):
        weights.compare(ours, theirs, same_layout=False)


@pytest.mark.parametrize(("factor", "close"), [(1 + 5e-6, True), (1 + 3e-5, False), (float("nan"), False)])
def test_another_layout_may_round_otherwise(factor: float, close: bool, tmp_path: Path) -> None:
    theirs = checkpoint(tmp_path / "b", changed("matrix", STATE["matrix"] * factor), cuts=2)
    ours = checkpoint(tmp_path / "a", STATE)

    if close:
        assert "are within" in weights.compare(ours, theirs, same_layout=False)
    else:
        with pytest.raises(weights.Unlike, match="matrix differs by"):
            weights.compare(ours, theirs, same_layout=False)


def test_what_lacks_a_tensor_a_part_a_step_or_everything_is_told(tmp_path: Path) -> None:
    ours = checkpoint(tmp_path / "a", STATE)
    less = checkpoint(tmp_path / "b", {name: STATE[name] for name in STATE if name != "count"})
    early = checkpoint(tmp_path / "c", STATE, step=6)
    cut = checkpoint(tmp_path / "d", STATE, cuts=3)
    (cut / "checkpoints" / "step-00000007" / "model-00001.safetensors").unlink()

    for theirs, why in (
        (less, "one run only: count"),
        (early, "step at the end: 6 instead of 7"),
        (cut, "lacks parts"),
    ):
        with pytest.raises(weights.Unlike, match=why):
            weights.compare(ours, theirs)
    with pytest.raises(weights.Unlike, match="has no checkpoint"):
        weights.newest(tmp_path)


def row(step: int, loss: float) -> dict[str, object]:
    return {"step": step, "loss": loss, "phase": "train"}


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ([row(1, 3.0), row(3, 1.0)], "recorded steps differ: 2"),
        ([row(1, 3.0), row(2, 2.0), row(2, 2.0), row(3, 1.0)], "recorded steps differ: 2"),
        ([row(1, 3.0), row(2, 2.0000001), row(3, 1.0)], "the loss of step 2 is 2.0000001 instead of 2.0"),
    ],
)
def test_every_step_is_there_once_with_its_loss(theirs: list[dict[str, object]], why: str) -> None:
    ours = [row(1, 3.0), row(2, 2.0), row(3, 1.0), {**row(3, 9.0), "phase": "validation"}]

    assert weights.compare_steps(ours, ours) == "3 steps, each once, with the same losses"
    with pytest.raises(weights.Unlike, match=why):
        weights.compare_steps(ours, theirs)
