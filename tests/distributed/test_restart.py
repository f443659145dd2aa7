"""Ranks that torchrun starts again: what strikes them, what is recorded of it, and that nothing of it is in the end.

One run takes one fault after the other, each in a start of its own, and ends with the weights of an undisturbed one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dskc.runtime import events

PROGRAM = Path(__file__).with_name("faulty.py")


def torchrun(run: Path, steps: int, *faults: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, "--max-restarts=100", "--", str(PROGRAM), str(run), str(steps), *faults],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def told(run: Path) -> list[tuple[int, str, int]]:
    """Start, event and step of what was recorded, without the saves."""
    return [(each["restart"], each["event"], each["step"]) for each in events.read(run) if each["event"] != "saved"]


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted((run / "checkpoints" / f"step-{step:08}").glob("*.safetensors")):
        found |= {f"{file.name} {name}": tensor for name, tensor in load_file(file).items()}
    return found


def assert_same(run: Path, other: Path, step: int) -> None:
    one, two = weights(run, step), weights(other, step)
    assert one
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    done = torchrun(run, 20)
    assert done.returncode == 0, done.stderr
    return run


def test_a_rank_that_dies_hangs_or_is_told_to_end_costs_no_bit(undisturbed: Path, tmp_path: Path) -> None:
    done = torchrun(tmp_path, 20, "kill:0:1:7", "stop:1:1:8", "loop:2:0:9", "term:3:1:12")
    assert done.returncode != 0
    assert "no sign of life for 4 s (training, after step 7; the process is stopped)" in done.stderr
    assert "the process is running" in done.stderr
    assert "in strike" in done.stderr  # the stack of the dead loop
    found = {(start, event): step for start, event, step in told(tmp_path) if event not in ("started", "finished")}
    fallen = {key: step for key, step in found.items() if key[1] in ("hang", "preempted")}
    assert fallen == {(1, "hang"): 7, (2, "hang"): 8, (3, "preempted"): 12}
    deaths = [each for each in events.read(tmp_path) if each["event"] == "died" and each["restart"] == 0]
    assert (deaths[0]["rank"], deaths[0]["step"]) == (1, 6)
    assert deaths[0]["reason"] == "killed, or crashed outside of Python"

    again = torchrun(tmp_path, 20, "evaluate:0:1:20")  # saved when it was told to end, so that is where it goes on
    assert "going on from step 12:" in again.stdout
    assert told(tmp_path)[-1] == (0, "preempted", 20)  # it left the evaluation, and saved
    assert_same(tmp_path, undisturbed, 20)


def test_a_run_that_gets_nowhere_is_ended(tmp_path: Path) -> None:
    done = torchrun(tmp_path, 12, "error:*:1:3", ATTEMPTS="1")
    assert done.returncode != 0
    last = events.read(tmp_path)[-1]
    assert (last["event"], last["restart"]) == ("stopped", 2)
    assert "started again without a step beyond the furthest one, 2." in done.stderr
    assert "rank 1, training after step 2: ValueError: this sample cannot be read" in done.stderr


def test_samples_that_fail_again_and_again_are_passed_over(tmp_path: Path) -> None:
    done = torchrun(tmp_path, 10, "error:*:1:3", SKIP_FAILING="2")
    assert done.returncode == 0, done.stderr
    (record,) = [each for each in events.read(tmp_path) if each["event"] == "skipped"]
    assert (record["restart"], record["step"], record["samples"]) == (2, 2, [16, 23])
    assert "step 3: samples 16 to 23 are passed over" in done.stdout
    state = (tmp_path / "checkpoints" / "step-00000010" / "state.json").read_text()
    assert '"samples": 88' in state


def test_a_loss_that_is_nan_on_one_rank_ends_the_run_at_once(tmp_path: Path) -> None:
    done = torchrun(tmp_path, 12, "nan:0:1:7")
    assert done.returncode != 0
    assert {(start, event, step) for start, event, step in told(tmp_path) if event != "died" and start == 0} == {
        (0, "started", 0),
        (0, "resumed", 0),
        (0, "stopped", 6),
    }
    assert "step 7: loss is nan" in done.stderr
