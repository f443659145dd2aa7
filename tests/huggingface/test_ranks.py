"""Weights go into ranks and come out of them as they are, whichever way the ranks share them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from dskc.compiler.cli import main

from .checkpoints import checkpoint

SHARED = {
    "tensor": ("parallel.tensor_model_parallel=2",),
    "parameters": ("parallel.shard=parameters",),
}


@pytest.mark.parametrize(("name", "layout"), [("llama", "tensor"), ("qwen2_tied", "parameters"), ("gpt2", "tensor")])
def test_ranks_read_and_write_the_whole_model(
    name: str, layout: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A step of a rate of nearly nothing leaves the weights as they were."""
    theirs = checkpoint(name, tmp_path / "theirs")
    spec = tmp_path / "imported.dsk"
    assert main(["import", str(tmp_path / "theirs/config.json"), "-o", str(spec)]) == 0
    settings = (
        "data.source=random()", "precision.compute=fp32", "optimizer.lr=1e-30", "training.execution=eager",
        "training.steps=1", "schedule.warmup=0%", "parallel.world_size=2", 'export.huggingface="hf"', *SHARED[layout],
    )  # fmt: skip
    flags = [word for each in settings for word in ("--set", each)]
    assert main(["run", str(spec), "-o", str(tmp_path / "out"), "--device", "cpu", *flags]) == 0, capfd.readouterr().err

    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "run" / "hf")

    assert {key: getattr(back.config, key) for key in ("vocab_size", "model_type")} == {
        key: getattr(theirs.config, key) for key in ("vocab_size", "model_type")
    }
    there = dict(theirs.named_parameters())
    for key, value in back.named_parameters():
        assert torch.equal(value, there[key]), key
