"""`launch/`: how the ranks of this run are started, by torchrun, by Slurm and on Kubernetes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ...dsl.spec import Spec
from ..layout import Layout
from ..plan import Plan
from ..recovery.budget import POLL
from ..recovery.ladder import Ladder, last_call
from .render import render
from .text import comment

FILES: Final = ("launch/torchrun.sh", "launch/slurm.sbatch", "launch/kubernetes.yaml")
PORT: Final = 29_400  # where the launchers of the machines find each other
LONGEST: Final = 40
"""Characters of a job's name: Kubernetes makes host names of at most 63 of it."""


RESTARTS: Final = 1000
"""Of the ranks, by torchrun, in the life of one launcher; the program itself ends a run that gets nowhere."""


@dataclass(frozen=True)
class LaunchView:
    """What the launch files say; `resource` is Kubernetes' name of the accelerator, None on CPUs.

    `options` are torchrun's, by name, beside those that say where machines meet; `grace` are the seconds between the
    signal to end and the end by force; an `elastic` run goes on with fewer machines.
    """

    title: str
    name: str
    spec_file: str
    where: str
    nodes: int
    per_node: int
    port: int
    resource: str | None
    options: tuple[tuple[str, str], ...]
    grace: int
    elastic: bool

    @property
    def program(self) -> str:
        """What each rank runs."""
        return "elastic.py" if self.elastic else "train.py"


def launch_files(spec: Spec, plan: Plan, ladder: Ladder, spec_file: str, least: int | None = None) -> dict[str, str]:
    """The files by their path; none where there is one rank. `least` are the ranks that an elastic run goes on with."""
    if plan.layout.world == 1:
        return {}
    view = launch_view(spec, plan.layout, ladder, plan.name, spec_file, least)
    return {name: render(name, view) for name in FILES}


def launch_view(
    spec: Spec, layout: Layout, ladder: Ladder, name: str, spec_file: str, least: int | None = None
) -> LaunchView:
    """The numbers of this run."""
    per_node = min(layout.gpu_per_node, layout.world)
    nodes = layout.world // per_node
    resource = _resource(spec)
    one, several = ("process", "processes") if spec.cluster.device == "cpu" else ("GPU", "GPUs")
    part = f"{per_node} {several if per_node > 1 else one}"
    where = f"{nodes} machines with {part} each" if nodes > 1 else f"one machine with {part}"
    return LaunchView(
        comment(name), job_name(name), spec_file, where, nodes, per_node, PORT, resource,
        options(nodes, per_node, ladder, least), ladder.preemption, least is not None,
    )  # fmt: skip


def options(nodes: int, per_node: int, ladder: Ladder, least: int | None = None) -> tuple[tuple[str, str], ...]:
    """What torchrun is told on each machine: how many ranks, how long it waits, how it ends and starts them."""
    fewest = f"{least // per_node}:" if least is not None else ""
    several = (("nnodes", f"{fewest}{nodes}"),) if nodes > 1 else ()
    return (
        *several,
        ("nproc-per-node", str(per_node)),
        *((("rdzv-conf", rendezvous(ladder)),) if nodes > 1 else ()),
        ("max-restarts", str(RESTARTS)),
        ("monitor-interval", str(POLL)),
        ("shutdown-timeout", str(ladder.preemption)),
    )


def rendezvous(ladder: Ladder) -> str:
    """`--rdzv-conf` of the c10d backend, in seconds."""
    known = {
        "join_timeout": ladder.rendezvous, "last_call_timeout": last_call(ladder.heartbeat),
        "keep_alive_interval": ladder.keep_alive,
    }  # fmt: skip
    return ",".join(f"{name}={seconds}" for name, seconds in known.items())


def job_name(name: str) -> str:
    """A name that Slurm and Kubernetes take: small letters, digits and hyphens, a letter first."""
    text = re.sub("[^a-z0-9]+", "-", name.lower())[:LONGEST].strip("-")
    return text if text[:1].isalpha() else f"run-{text}".strip("-")


def _resource(spec: Spec) -> str | None:
    if spec.cluster.device == "cpu":
        return None
    amd = spec.cluster.device == "rocm" or (spec.cluster.gpu or "").startswith("MI")
    return "amd.com/gpu" if amd else "nvidia.com/gpu"
