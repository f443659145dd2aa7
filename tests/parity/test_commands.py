"""`dskc verify` and `dskc run` on several ranks of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dskc.compiler.cli import main, run

SPEC = Path(__file__).parents[2] / "examples" / "vit_digits.dsk"
FLAGS = ("--set", "parallel.world_size=2", "--set", "parallel.shard=optimizer", "--set", "training.execution=eager")


def test_verify_tells_what_it_compared_and_names_what_differs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(("verify", str(SPEC), "-o", str(tmp_path), *FLAGS)) == 0
    said = capfd.readouterr().out
    assert "run here:  data 2, shard optimizer (2 ranks)" in said
    assert "made small: model.dim 64 -> 16" in said
    assert "40 gradients, 10 losses" in said

    program = tmp_path / "verify" / "ranks" / "model.py"
    program.write_text(program.read_text("utf-8").replace("labels.numel() * DATA.size", "labels.numel()"), "utf-8")
    test = [sys.executable, str(tmp_path / "verify" / "test_program.py")]
    done = subprocess.run(test, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: the gradient of vit.head.weight differs" in done.stderr


def test_nothing_to_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("verify", str(SPEC), "-o", str(tmp_path))) == 1
    assert "for one process" in capsys.readouterr().out


def test_run_starts_the_ranks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(("run", str(SPEC), "-o", str(tmp_path), "--device", "cpu", "--steps", "3", *FLAGS)) == 0
    assert "2 ranks share the CPU" in capfd.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert records[-1]["step"] == 3
    assert records[-1]["phase"] == "validation"
    assert (tmp_path / "run" / "checkpoints" / "step-00000003").is_dir()


def test_run_refuses_too_few_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "gpus", lambda: 2)
    assert "for 8 ranks, but this machine has 2 GPUs" in str(run.missing_devices(8, None))
    assert run.missing_devices(2, "cuda") is None
    assert run.missing_devices(8, "cpu") is None
    monkeypatch.setattr(run, "gpus", lambda: 0)
    assert "has 0 GPUs" in str(run.missing_devices(2, "cuda"))
