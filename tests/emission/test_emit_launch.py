"""Launch files: shells and YAML read them, their numbers are those of the layout, names of a spec stay data."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dskc.compiler.emit.launch import FILES, RESTARTS, job_name, launch_view
from dskc.compiler.emit.render import render
from dskc.compiler.layout import layout_of
from dskc.compiler.recovery.ladder import ladder

from .compiled import example, resolved
from .test_emit_safety import HOSTILE

LAYOUTS: dict[str, tuple[str, ...]] = {
    "one_node": ("parallel.world_size=4",),
    "two_nodes": ("parallel.world_size=16",),
    "small_nodes": ("parallel.world_size=8", "parallel.gpu_per_node=2", "parallel.tensor_model_parallel=2"),
}


LADDER = ladder(20, starting=100.0, leaving=50.0)


def files(layout: str, name: str = "gpt", *flags: str) -> dict[str, str]:
    spec = resolved(example("stdlib_gpt"), *LAYOUTS[layout], *flags)
    view = launch_view(spec, layout_of(spec), LADDER, name, "stdlib_gpt.dsk")
    return {file: render(file, view) for file in FILES}


def options(words: list[str]) -> dict[str, str]:
    """`--name value` and `--name=value` of a command."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return {w.split("=")[0]: w.partition("=")[2] or after for w, after in pairs if w.startswith("--")}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["gpt", *HOSTILE, "-", "9", "UPPER case", "x" * 500])
def test_shells_and_yaml_read_them(layout: str, name: str, tmp_path: Path) -> None:
    for file, text in files(layout, name).items():
        if file.endswith(".yaml"):
            assert yaml.safe_load(text)["metadata"]["name"] == job_name(name)
        else:
            done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
            assert done.returncode == 0, done.stderr
            code = [line for line in text.split("\n") if "boom" in line and not line.startswith("#")]
            assert all(re.fullmatch(r"  --rdzv-id [a-z0-9-]+ \\", line) for line in code)


@pytest.mark.parametrize(("layout", "nodes", "each"), [("one_node", 1, 4), ("two_nodes", 2, 8), ("small_nodes", 4, 2)])
def test_numbers_are_those_of_the_layout(layout: str, nodes: int, each: int) -> None:
    found = files(layout)
    torchrun = re.search(r"exec torchrun ((?:[^\n\\]|\\\n)*)", found["launch/torchrun.sh"])
    assert torchrun is not None
    given = options(shlex.split(torchrun[1].replace("\\\n", " ")))
    assert given["--nproc-per-node"] == str(each)
    assert ("--standalone" in given) == (nodes == 1)
    assert given.get("--nnodes", "1") == str(nodes)

    batch = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", found["launch/slurm.sbatch"], re.MULTILINE))
    assert (batch["nodes"], batch["gpus-per-node"], batch["ntasks-per-node"]) == (str(nodes), str(each), "1")
    assert (f"--nnodes {nodes} " in found["launch/slurm.sbatch"]) == (nodes > 1)
    assert f"--nproc-per-node {each} " in found["launch/slurm.sbatch"]

    job = yaml.safe_load(found["launch/kubernetes.yaml"])
    pods = job["spec"]["replicatedJobs"][0]["template"]["spec"]
    container = pods["template"]["spec"]["containers"][0]
    assert (pods["completions"], pods["parallelism"]) == (nodes, nodes)
    assert container["resources"]["limits"] == {"nvidia.com/gpu": each}
    given = options(container["args"])
    assert (given.get("--nnodes", "1"), given["--nproc-per-node"]) == (str(nodes), str(each))
    head, _, domain = given["--rdzv-endpoint"].partition(".")
    assert head == f"{job['metadata']['name']}-{job['spec']['replicatedJobs'][0]['name']}-0-0"
    assert domain.startswith(f"{job['metadata']['name']}:")


def test_volumes_are_mounted_where_the_run_writes() -> None:
    pod: dict[str, Any] = yaml.safe_load(files("two_nodes")["launch/kubernetes.yaml"])
    inner = pod["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in inner["containers"][0]["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in inner["volumes"]}
    assert options(inner["containers"][0]["args"])["--run"] == mounts["run"]


@pytest.mark.parametrize(("flag", "resource"), [("cluster.device=cpu", None), ('cluster.gpu="MI300X"', "amd.com/gpu")])
def test_accelerators(flag: str, resource: str | None) -> None:
    text = files("one_node", "gpt", flag)["launch/kubernetes.yaml"]
    pods = yaml.safe_load(text)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    limits = pods["containers"][0].get("resources", {}).get("limits")
    assert limits == ({resource: 4} if resource else None)


def test_torchrun_script_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "torchrun.sh"
    path.write_text(files("two_nodes")["launch/torchrun.sh"], "utf-8")
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "one of the 2 machines" in done.stderr


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flags_of_the_program_reach_it(layout: str) -> None:
    # torchrun takes `--run` for an abbreviation of its own `--run-path` unless `--` comes before the program
    from torch.distributed.run import get_args_parser

    found = files(layout)
    commands = [
        re.search(r"^(?:exec|srun[^\n]*) torchrun ((?:[^\n\\]|\\\n)*)", found[file], re.MULTILINE)
        for file in FILES
        if not file.endswith(".yaml")
    ]
    pods = yaml.safe_load(found["launch/kubernetes.yaml"])["spec"]["replicatedJobs"][0]["template"]["spec"]
    words = [shlex.split(command[1].replace("\\\n", " ")) for command in commands if command is not None]
    words = [[*command[:-1], "--run", "second"] for command in words]
    for command in [*words, pods["template"]["spec"]["containers"][0]["args"]]:
        parsed = get_args_parser().parse_args(command)
        assert parsed.training_script == "train.py"
        assert parsed.training_script_args[0].startswith("--run")
        assert parsed.max_restarts == RESTARTS
        assert parsed.monitor_interval == 1
        assert parsed.shutdown_timeout == LADDER.preemption == 55
        if layout != "one_node":
            known = {"join_timeout": "600", "last_call_timeout": "20", "keep_alive_interval": "3"}
            assert dict(pair.split("=") for pair in parsed.rdzv_conf.split(",")) == known


def test_clusters_leave_time_to_save() -> None:
    found = files("two_nodes")
    pods = yaml.safe_load(found["launch/kubernetes.yaml"])["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert pods["template"]["spec"]["terminationGracePeriodSeconds"] == LADDER.preemption + 10
    assert f"#SBATCH --signal=TERM@{LADDER.preemption + 10}\n" in found["launch/slurm.sbatch"]
    head = found["launch/slurm.sbatch"].split("set -euo")[0]
    assert all(line.startswith("#") for line in head.strip().splitlines())  # Slurm reads no further than a command
