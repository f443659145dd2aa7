"""A machine is lost: the run goes on with the ranks that are left, and ends where an undisturbed one does."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from dskc.compiler.build import check, planned
from dskc.compiler.elastic import Sibling, siblings
from dskc.compiler.emit import program
from dskc.dsl.diagnostics import Diagnostic
from dskc.dsl.source import Source
from dskc.runtime import elastic
from dskc.runtime.errors import RunError
from dskc.runtime.parts import Parts

from ..emission.compiled import example
from .test_relaunch import FLAGS, launched, ranks_of

MACHINES = ("parallel.world_size=4", "parallel.gpu_per_node=2", "parallel.elastic=[4, 2]", *FLAGS[1:])


DEEP = """
dsk 1
model m {
  forward(images: [B, 1, 8, 8], labels: int[B]) {
    x = linear(global_average_pool(images), out: 32) as stem
    repeat 16 as layers { x = x + linear(relu(x), out: 32) }
    loss cross_entropy(linear(x, out: data.classes), labels)
  }
}
data { source: digits() }
training { steps: 10, micro_batch_size: 64 }
"""


def compiled(source: Source, *flags: str) -> tuple[dict[str, str], tuple[Sibling, ...], list[Diagnostic]]:
    checked = check(source, None, flags)
    plan = planned(checked)
    assert plan is not None, list(checked.sink)
    assert checked.spec is not None
    smaller = siblings(checked.spec, checked.sink)
    files = program(checked.spec, plan, checked.sink, smaller=smaller) if not checked.sink.failed else None
    return files or {}, smaller, list(checked.sink)


def machine(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The launcher of one of them; it returns when there is one at which the others can meet it."""
    launcher = launched(folder, "--run", str(folder.parent / "struck"), HEAD="localhost", PORT=str(port))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
            break
        time.sleep(0.05)
    return launcher


def end(launcher: subprocess.Popen[bytes]) -> None:
    """All of a machine: its launcher, then the ranks, which have sessions of their own."""
    ranks = ranks_of(launcher.pid)
    for process in (launcher.pid, *ranks):
        os.kill(process, signal.SIGKILL)
    launcher.communicate()


def weights(run: Path) -> dict[str, torch.Tensor]:
    parts = Parts(sorted((run / "checkpoints/step-00000040").glob("model*.safetensors")))
    return {name: parts.read(name) for name in parts.names()}


def test_a_lost_machine_leaves_a_run_of_the_others(tmp_path: Path) -> None:
    files, _, findings = compiled(Source("m.dsk", DEEP), *MACHINES)
    assert findings == []
    folder = tmp_path / "program"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    script = folder / "launch/torchrun.sh"
    conf = "join_timeout=100,last_call_timeout=1,keep_alive_interval=1"
    script.write_text(re.sub("join_timeout=[^ ]*", conf, script.read_text("utf-8")), "utf-8")

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    first, second = machine(folder, port), machine(folder, port)  # the first is where they meet
    deadline = time.monotonic() + 120
    while not (tmp_path / "struck/checkpoints/step-00000004").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    end(second)
    _, said = first.communicate(timeout=150)
    assert first.returncode == 0, said.decode()

    # three ranks fill the layout of two, and the third waits until they are done
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "--"]
    quiet = subprocess.run(
        [*command, str(folder / "elastic.py"), "--device", "cpu", "--run", str(tmp_path / "quiet")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert quiet.returncode == 0, quiet.stderr
    assert "3 ranks were started: 2 train, the others wait" in quiet.stderr

    expected, found = weights(tmp_path / "quiet"), weights(tmp_path / "struck")
    assert len(expected) > 4
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-5 * value.norm(), name
    assert b"was written by another plan" not in said


def test_the_batch_stays_and_the_plan_is_one() -> None:
    flags = (*MACHINES[:2], "training.micro_batch_size=12", "training.gradient_accumulation=2", *FLAGS[1:])
    files, (sibling,), findings = compiled(Source("m.dsk", DEEP), *flags, "parallel.elastic=[2]")
    assert findings == []
    assert sibling.spec.training.micro_batch_size * sibling.spec.training.gradient_accumulation * 2 == 12 * 2 * 4
    plans = {re.findall('PLAN = "(.*)"', files[name])[0] for name in ("train.py", "world_2/train.py")}
    assert len(plans) == 1
    assert "--nnodes 1:2 " in files["launch/torchrun.sh"]
    assert '-- elastic.py "$@"' in files["launch/torchrun.sh"]
    assert "#SBATCH --no-kill" in files["launch/slurm.sbatch"]
    assert "train.py" not in "".join(files[f"launch/{name}"] for name in ("torchrun.sh", "kubernetes.yaml"))


def test_what_is_found_of_fewer_ranks_only_is_told_with_their_number() -> None:
    """Batch normalisation sees all ranks, but one micro-batch: fewer ranks take two."""
    _, _, (finding,) = compiled(example("digits"), *MACHINES)
    assert finding.code == "W0914"
    assert finding.message.startswith("on 2 ranks: `batch_norm` sees the")


@pytest.mark.parametrize(
    ("sizes", "flags", "words", "help"),
    [
        ("[8, 3]", (), "3 ranks are not whole machines of 2", "sizes that keep it: 4, 2"),
        ("[6]", (), "6 ranks cannot keep the batch of 512 samples: they leave a data axis of 6", "keep it: 4, 2"),
        ("[16]", (), "16 ranks are more than `world_size`, 8", "keep it: 4, 2"),
        ("[6]", ("parallel.pipeline_depth=4", "training.gradient_accumulation=4"),
         "6 ranks do not divide by the other axes: pipeline and tensor take 4", "keep it: 4"),
        ("[4]", ("parallel.pipeline_depth=8", "training.gradient_accumulation=8"),
         "4 ranks do not divide by the other axes", "no smaller size keeps it"),
    ],
)  # fmt: skip
def test_a_size_that_cannot_keep_the_batch_is_an_error(
    sizes: str, flags: tuple[str, ...], words: str, help: str
) -> None:
    source = Source("m.dsk", DEEP)
    given = ("parallel.world_size=8", "parallel.gpu_per_node=2", f"parallel.elastic={sizes}", *flags)
    _, _, findings = compiled(source, *given)
    (error,) = [each for each in findings if each.severity == "error"]
    assert error.code == "E0409"
    assert words in error.message
    assert help in (error.help or "")


def test_too_few_ranks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="1 ranks were started, but the smallest layout of this program needs 2"):
        elastic.start({4: Path("a"), 2: Path("b")})
    monkeypatch.delenv("RANK")
    with pytest.raises(RunError, match=r"RANK not set: start this with launch/torchrun\.sh"):
        elastic.start({4: Path("a")})
