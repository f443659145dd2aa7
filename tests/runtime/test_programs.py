"""Whole runs: they learn, they resume to the bit, and they end cleanly when they cannot go on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dskc.runtime import guard, record
from dskc.runtime.checkpoint import Checkpoints

from . import programs

CORPUS = "{stdlib}/json/*.py"


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_two_halves_equal_the_whole(tmp_path: Path, compute: str) -> None:
    whole = programs.train_gpt(CORPUS, tmp_path / "whole", steps=20, compute=compute)
    first = programs.train_gpt(CORPUS, tmp_path / "halves", steps=20, stop=10, compute=compute)
    second = programs.train_gpt(CORPUS, tmp_path / "halves", steps=20, compute=compute)
    assert first.losses + second.losses == whole.losses
    assert second.validation == whole.validation
    assert second.sample == whole.sample
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    metrics = [
        entry["step"] for entry in record.read(tmp_path / "halves" / "metrics.jsonl") if entry["phase"] == "train"
    ]
    assert metrics == list(range(1, 21))


def test_a_language_model_learns(tmp_path: Path) -> None:
    outcome = programs.train_gpt(CORPUS, tmp_path, steps=60)
    assert outcome.losses[0] == pytest.approx(5.7, abs=0.1)  # log(300): knows nothing
    assert outcome.validation["loss"] < 4.3
    assert {path.name for path in tmp_path.iterdir()} >= {"metrics.jsonl", "loss.png", "tensorboard", "checkpoints"}


def test_a_convolutional_net_learns_the_digits(tmp_path: Path) -> None:
    outcome = programs.train_net(tmp_path, epochs=25)
    assert outcome.validation["accuracy"] > 0.93


def test_a_diverging_run_stops_by_its_step_and_keeps_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.train_gpt(CORPUS, tmp_path, steps=20, stop=10)
    monkeypatch.setattr(programs.schedule, "cosine", lambda step, *_, **__: 1e30 if step >= 12 else 1e-3)
    with pytest.raises(guard.NonFiniteError, match=r"step 14: .* is nan"):
        programs.train_gpt(CORPUS, tmp_path, steps=20)
    assert Checkpoints(tmp_path / "checkpoints", "gpt").steps() == [10]
