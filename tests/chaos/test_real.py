"""`dskc chaos` on a real program of two ranks, started by its own launch file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from dskc.runtime.chaos.account import PARTS

ROOT = Path(__file__).resolve().parents[2]
FAULTS = ("kill:rank=1,at=write@10", "bit-flip:file=model@22", "disk-full@36", "slow-disk:seconds=0.02@44",
          "clock:seconds=86400@52", "terminate@60")  # fmt: skip


def test_faults_of_a_real_run_change_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dskc.compiler.cli", "chaos", str(ROOT / "benchmarks" / "chaos.dsk")]
    flags = ["--set", "parallel.world_size=2", "--set", "training.steps=72", "-o", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *flags, "--faults", *FAULTS], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "chaos" / "disturbed" / "chaos.json").read_text("utf-8"))
    assert found["passed"]
    assert [fault["event"] for fault in found["faults"]][:3] == ["died", "damaged", "save_failed"]
    assert all(fault["fired"] and fault["proof"] and not fault["wrong"] for fault in found["faults"])
    assert set(found["median_seconds"]) == {*PARTS, "total"}
    assert "are bit-equal" in done.stdout
    assert not (tmp_path / "chaos" / "undisturbed" / "run").exists()
