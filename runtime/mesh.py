"""The mesh of a run: its ranks, laid out along the axes pipeline, data and tensor.

    MESH = mesh.Mesh(pipeline=2, data=2, tensor=2)
    TENSOR = MESH.axis("tensor")        # can be used before the processes know each other
    place = MESH.start(device.choose())  # from here on `TENSOR.group` and `TENSOR.index` are known
    ...
    MESH.stop()

rank = (pipeline_index * data + data_index) * tensor + tensor_index: neighbours on the tensor axis are on one machine.

`Mesh(data=8, expert=4)` has the axes replica and expert as parts of the data axis: data_index = replica_index * expert
+ expert_index. Ranks of the expert axis share the experts between them, those of the replica axis hold the same ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout

from . import console
from .errors import RunError
from .recovery import Times

AXES = ("pipeline", "data", "tensor")
PARTS = ("replica", "expert")  # what the data axis is made of
TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Axis:
    """One axis of a mesh. `key`, the name of the ranks' group, and `index` are there after `Mesh.start`."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.key = ""
        self._group: dist.ProcessGroup | None = None
        self._index = 0 if size == 1 else -1

    def __repr__(self) -> str:
        return f"Axis({self.name!r}, {self.size})"

    @property
    def index(self) -> int:
        """This rank's place on the axis."""
        if self._index < 0:
            raise RunError(f"the {self.name} axis has no ranks before the mesh is started: call Mesh.start first")
        return self._index

    @property
    def group(self) -> dist.ProcessGroup:
        """The ranks that differ from this one on this axis only; an axis of one rank has no group."""
        if self._group is None:
            raise RunError(
                f"the {self.name} axis of {self.size} has no group"
                + ("" if self.size == 1 else " before the mesh is started: call Mesh.start first")
            )
        return self._group

    def _join(self, group: dist.ProcessGroup | None, index: int) -> None:
        self._group, self._index = group, index
        self.key = "" if group is None else group.group_name

    def _leave(self) -> None:
        self._join(None, 0 if self.size == 1 else -1)


class Mesh:
    """Sizes of the axes; the ranks of the run after `start`."""

    def __init__(self, pipeline: int = 1, data: int = 1, tensor: int = 1, expert: int = 1) -> None:
        sizes = dict(zip(AXES, (pipeline, data, tensor), strict=True))
        for name, size in {**sizes, "expert": expert}.items():
            if size < 1:
                raise ValueError(f"the {name} axis cannot have {size} ranks")
        if data % expert:
            raise ValueError(f"the expert axis is a part of the data axis, but {data} does not divide by {expert}")
        self.world = pipeline * data * tensor
        self._axes = {name: Axis(name, size) for name, size in sizes.items()}
        self._parts = {name: Axis(name, size) for name, size in zip(PARTS, (data // expert, expert), strict=True)}
        self._device_mesh: DeviceMesh | None = None
        self._control: dist.ProcessGroup | None = None
        self._owns = False  # whether this object made the process group
        self._times = Times()

    def __repr__(self) -> str:
        axes = [*self._axes.values(), *([self._parts["expert"]] if self._parts["expert"].size > 1 else [])]
        return f"Mesh({', '.join(f'{axis.name}={axis.size}' for axis in axes)})"

    def axis(self, name: str) -> Axis:
        """The axis "pipeline", "data" or "tensor"; or "replica" or "expert", which the data axis is made of."""
        return self._parts[name] if name in PARTS else self._axes[name]

    @property
    def rank(self) -> int:
        """This process among all."""
        pipeline, data, tensor = self._axes.values()
        return (pipeline.index * data.size + data.index) * tensor.size + tensor.index

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    @property
    def data_mesh(self) -> DeviceMesh:
        """The data axis for FSDP2."""
        if self._device_mesh is None:
            raise RunError(f"{self} has no device mesh before it is started: call Mesh.start first")
        return self._device_mesh["data"]

    @property
    def control(self) -> dist.ProcessGroup:
        """All ranks, for what they tell each other on the CPU; all of them have to ask for it at the same time."""
        if self._device_mesh is None:
            raise RunError(f"{self} has no groups before it is started: call Mesh.start first")
        if self._control is None:
            self._control = self.another_control()
        return self._control

    def another_control(self) -> dist.ProcessGroup:
        """The like of `control` for a thread beside the training: two that speak at a time need a group each."""
        alone = dist.get_backend() == "fake"  # a rank that is simulated without the others
        patience = timedelta(seconds=self._times.data)
        group = dist.group.WORLD if alone else dist.new_group(backend="gloo", timeout=patience)
        assert group is not None
        return group

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """Of the ranks of each machine the first is in the block alone, then the others: they find what it prepared."""
        if self.world == 1:
            yield
            return
        group = self.control
        first = int(os.environ.get("LOCAL_RANK", self.rank)) == 0
        if not first:
            dist.barrier(group)
        yield
        if first:
            dist.barrier(group)

    def start(self, place: torch.device, times: Times | None = None) -> torch.device:
        """Joins the other ranks, with NCCL on GPUs and gloo on CPUs; the device of this rank.

        Ranks wait `times.store` for each other until `settle`. A process group that exists already is used as it is.
        `RunError` where the number of processes is not that of the mesh. From here on only the first rank's progress
        is shown.
        """
        self._times = times or Times()
        sys.audit("dskc.joining")
        if not dist.is_initialized():
            if self.world == 1 and os.environ.get("WORLD_SIZE", "1") == "1":
                return place
            place = self._join(place)
        elif dist.get_world_size() != self.world:
            raise RunError(self._wrong(dist.get_world_size()))
        elif place.type == "cuda":
            place = torch.device("cuda", torch.cuda.current_device())
        sizes = tuple(axis.size for axis in self._axes.values())
        self._device_mesh = init_device_mesh(place.type, sizes, mesh_dim_names=AXES)
        for axis, index in zip(self._axes.values(), self._device_mesh.get_coordinate() or (), strict=True):
            axis._join(self._device_mesh.get_group(axis.name) if axis.size > 1 else None, index)
        self._join_parts()
        self._wait(self._times.store)
        console.LINE.silent = not self.first
        sys.audit("dskc.joined")
        return place

    def _join(self, place: torch.device) -> torch.device:
        missing = [name for name in TORCHRUN if name not in os.environ]
        if missing:
            raise RunError(f"{', '.join(missing)} not set: {self._needs()}")
        if int(os.environ["WORLD_SIZE"]) != self.world:
            raise RunError(self._wrong(int(os.environ["WORLD_SIZE"])))
        if place.type == "cuda":
            place = self._own_gpu()
            torch.cuda.set_device(place)
        # NCCL makes its communicators at once when it knows the device, rather than in the first step.
        known = place if place.type == "cuda" else None
        backend = "nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=self._times.store), device_id=known)
        self._owns = True
        return place

    def settle(self) -> None:
        """After the first step: collectives wait `collective` rather than `store` seconds for the other ranks."""
        if self._device_mesh is not None:
            self._wait(self._times.collective)

    def _wait(self, seconds: float) -> None:
        """How long collectives of the axes wait; `init_device_mesh` takes no time-out for the groups that it makes."""
        if dist.get_backend() == "fake":
            return
        groups = {axis.key: axis._group for axis in (*self._axes.values(), *self._parts.values())}
        groups[""] = dist.group.WORLD if self._owns else None
        for group in groups.values():
            if group is not None:
                _set_pg_timeout(timedelta(seconds=seconds), group)

    def _join_parts(self) -> None:
        """Groups of the replica and the expert axis; one that is all of the data axis shares its group."""
        pipeline, data, tensor = self._axes.values()
        sizes = [pipeline.size, *(axis.size for axis in self._parts.values()), tensor.size]
        ranks = torch.arange(self.world).view(sizes)
        for dim, axis in enumerate(self._parts.values(), 1):
            if axis.size in (1, data.size):
                axis._join(*((None, 0) if axis.size == 1 else (data.group, data.index)))
                continue
            for members in ranks.movedim(dim, -1).reshape(-1, axis.size).tolist():
                group = dist.new_group(members)  # by all ranks, members or not
                if self.rank in members:
                    axis._join(group, members.index(self.rank))

    def _own_gpu(self) -> torch.device:
        local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= found:
            raise RunError(
                f"process {local} of this machine has no GPU of its own: {found} were found; "
                f"start at most {found} with --nproc-per-node, or use --device cpu"
            )
        return torch.device("cuda", local)

    def _wrong(self, count: int) -> str:
        return f"{count} process{'es were' if count != 1 else ' was'} started, but {self._needs()}"

    def _needs(self) -> str:
        shape = " x ".join(f"{axis.name} {axis.size}" for axis in self._axes.values())
        program = os.path.basename(sys.argv[0]) or "train.py"
        return (
            f"this program is for {self.world} processes ({shape}). Start it with\n"
            f"    torchrun --nproc-per-node {self.world} {program}\n"
            "or, on N machines, with --nnodes N and that number divided by N"
        )

    def stop(self) -> None:
        """Leaves the other ranks; the axes can be started again."""
        if self._owns:
            dist.destroy_process_group()
        self._owns, self._device_mesh, self._control = False, None, None
        console.LINE.silent = False
        for axis in (*self._axes.values(), *self._parts.values()):
            axis._leave()
