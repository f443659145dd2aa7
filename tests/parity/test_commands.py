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

    assert "2 ranks, then one process: 5 steps after step 5" in said

    program = tmp_path / "verify" / "small" / "ranks" / "model.py"
    program.write_text(program.read_text("utf-8").replace("labels.numel() * DATA.size", "labels.numel()"), "utf-8")
    test = [sys.executable, str(tmp_path / "verify" / "test_program.py")]
    done = subprocess.run(test, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: the gradient of vit.head.weight differs" in done.stderr


def test_compile_writes_the_test_of_the_program(tmp_path: Path) -> None:
    """Without dskc beside it, by pytest; and what is broken is told."""
    assert main(("compile", str(SPEC), "--standalone", "-o", str(tmp_path), "--set", "training.execution=eager")) == 0
    assert not (tmp_path / "small" / "ranks").exists()
    done = _pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout

    checkpoints = tmp_path / "dskc_runtime" / "state.py"
    checkpoints.write_text(checkpoints.read_text("utf-8") + BROKEN, "utf-8")
    done = _pytest(tmp_path)
    assert done.returncode == 1
    assert "the loss of step 7 is" in done.stderr + done.stdout


BROKEN = """

def set_optimizer(*_: object) -> None:
    pass
"""


def _pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_program.py"]
    environment = {"HOME": "/", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def test_a_spec_without_a_small_form_is_compiled_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dskc.compiler.shrink.SETTINGS", ("training.steps=0",))
    assert main(("compile", str(SPEC), "-o", str(tmp_path))) == 0
    assert "W0941" in capsys.readouterr().err
    assert (tmp_path / "train.py").is_file()
    assert not (tmp_path / "test_program.py").exists()


def test_auto_is_settled_before_it_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--set", "parallel=auto", "--set", "parallel.world_size=4", "--set", 'cluster.gpu="H100"')
    assert main(("compile", str(SPEC), "-o", str(tmp_path), *flags)) == 0, capsys.readouterr().err
    assert "COUNT = 4" in (tmp_path / "test_program.py").read_text("utf-8")
    common = ["--isolated", "--line-length", "100", "--target-version", "py311", "."]
    for command in (["format", "--diff"], ["check", "--select", "E,F,I,UP,B"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, *common], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stdout


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


def test_ranks_of_the_data_axis_show_a_sample(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All of them compute it, with gathered parameters; one shows it."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("all that is written here " * 200)
    settings = (
        f'data.source=text("{tmp_path}/text/*.txt")', "data.tokenizer=bytes", "data.vocab=256", "data.sequence=32",
        "training.micro_batch_size=2", "training.evaluate=none", "data.validation=0", "training.execution=eager",
        "model.dim=32", "model.depth=1", "parallel.world_size=2", "parallel.shard=parameters",
        'observe.sample=sample("Once upon", 8)',
    )  # fmt: skip
    flags = [word for each in settings for word in ("--set", each)]
    spec = str(SPEC.with_name("stdlib_gpt.dsk"))
    assert main(("run", spec, "-o", str(tmp_path / "out"), "--device", "cpu", "--steps", "2", *flags)) == 0
    assert capfd.readouterr().out.count("Once upon") == 1
