"""Bandwidth of saving and loading a state, beside PyTorch:  python benchmarks/checkpoint.py [--gib 10] [--ranks 1 2]

The state is that of AdamW: parameters and two moments, fp32. All contestants write the same tensors to the same disk,
one after the other, and force them to it (`fsync`) before the clock stops; with several ranks each holds its share, as
FSDP2 cuts it. Ours hashes all of it as well, on both ways. Before a load the files are dropped from the page cache,
parameters exist and moments do not, as in a process that has just started. What comes back is compared.

Then the stall of a save in the background, as a share of the training between two saves at the planned interval.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

sys.path.insert(0, str(Path(__file__).parent))
from dskc.runtime import optimizer, pace, ranks
from dskc.runtime.checkpoint import Checkpoints, Position
from dskc.runtime.layout import Layout, local
from dskc.runtime.mesh import Mesh

WIDTH = 4096  # a matrix of 64 MiB
MTBF = 6 * 3600.0
KINDS = ("exp_avg", "exp_avg_sq")
LIMIT = 1800.0


class State:
    """A model of square matrices and its optimizer on one rank of several."""

    def __init__(self, gib: float, filled: bool) -> None:
        self.mesh = Mesh(data=dist.get_world_size())
        self.mesh.start(torch.device("cpu"))
        self.layout = Layout(self.mesh)
        count = max(1, round(gib * 2**30 / 3 / WIDTH**2 / 4))
        self.model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(count)))
        if self.mesh.world > 1:
            fully_shard(self.model, mesh=self.mesh.data_mesh)
        self.updates = optimizer.adamw(self.model, lr=0.1)
        self.bytes = 3 * count * WIDTH**2 * 4
        if filled:
            self._fill()

    @torch.no_grad()
    def _fill(self) -> None:
        generator = torch.Generator().manual_seed(self.mesh.rank)
        self.make()
        for tensor in self.tensors().values():
            if tensor.ndim:
                local(tensor).uniform_(generator=generator)

    def make(self) -> None:
        """Moments without contents."""
        for parameter in self.model.parameters():
            moments = {kind: torch.empty_like(parameter, requires_grad=False) for kind in KINDS}
            self.updates.state[parameter] = {"step": torch.tensor(1.0), **moments}

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            found[name] = parameter.detach()
            found |= {f"{name}/{kind}": value for kind, value in self.updates.state[parameter].items()}
        return found

    def seen(self) -> list[float]:
        """What tells this rank's tensors from others."""
        return [local(tensor).double().flatten()[::65537].sum().item() for _, tensor in sorted(self.tensors().items())]


def ours_save(state: State, folder: Path) -> None:
    """dskc."""
    Checkpoints(folder, "p", layout=state.layout).save(state.model, state.updates, Position(1), final=True)


def ours_load(state: State, folder: Path) -> None:
    """dskc."""
    assert Checkpoints(folder, "p", layout=state.layout).restore(state.model, state.updates).step == 1


def dcp_save(state: State, folder: Path) -> None:
    """torch.distributed.checkpoint: its writer calls fsync for each file."""
    dcp.save(
        state.tensors(), storage_writer=dcp.FileSystemWriter(folder, sync_files=True), no_dist=state.mesh.world == 1
    )


def dcp_load(state: State, folder: Path) -> None:
    """torch.distributed.checkpoint loads into tensors that are there."""
    state.make()
    dcp.load(state.tensors(), storage_reader=dcp.FileSystemReader(folder), no_dist=state.mesh.world == 1)


def torch_save(state: State, folder: Path) -> None:
    """torch.save, of each rank its part."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{state.mesh.rank}.pt").open("wb") as file:
        torch.save({name: local(tensor) for name, tensor in state.tensors().items()}, file)
        file.flush()
        os.fsync(file.fileno())


@torch.no_grad()
def torch_load(state: State, folder: Path) -> None:
    """torch.load with a map of the file, which is faster than without."""
    found = torch.load(folder / f"{state.mesh.rank}.pt", mmap=True, weights_only=True)
    state.make()
    for name, tensor in state.tensors().items():
        local(tensor).copy_(found[name])


Way = Callable[[State, Path], None]
CONTESTANTS: dict[str, tuple[Way, Way]] = {
    "dskc": (ours_save, ours_load),
    "torch.distributed.checkpoint": (dcp_save, dcp_load),
    "torch.save, torch.load": (torch_save, torch_load),
}


def saved(folder: str, gib: float, order: list[str]) -> tuple[int, dict[str, float], list[float]]:
    """Bytes of the state, and seconds of each contestant, on one rank."""
    state = State(gib, filled=True)
    took = {name: _timed(CONTESTANTS[name][0], state, Path(folder) / name) for name in order}
    seen = state.seen()
    state.mesh.stop()
    return state.bytes, took, seen


def loaded(folder: str, gib: float, order: list[str]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Seconds of each contestant, and what came back."""
    state = State(gib, filled=False)
    took, seen = {}, {}
    for name in order:
        state.updates.state.clear()
        with torch.no_grad():
            for parameter in state.model.parameters():
                local(parameter).zero_()
        forget(Path(folder) / name)
        took[name] = _timed(CONTESTANTS[name][1], state, Path(folder) / name)
        seen[name] = state.seen()
    state.mesh.stop()
    return took, seen


def _timed(way: Way, state: State, folder: Path) -> float:
    dist.barrier()
    begun = time.perf_counter()
    way(state, folder)
    dist.barrier()
    return time.perf_counter() - begun


def forget(folder: Path) -> None:
    """Drops files from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def stalled(folder: str, gib: float) -> list[float]:
    """Bytes, then the stall of some saves in the background; the first makes the host memory and does not count."""
    state = State(gib, filled=True)
    found = [float(state.bytes)]
    with Checkpoints(Path(folder), "p", keep=1, layout=state.layout, background=True) as checkpoints:
        for step in range(1, 5):
            checkpoints.save(state.model, state.updates, Position(step))
            found.append(checkpoints.cost.stall)
            checkpoints.finish()
    state.mesh.stop()
    return found


def compare(size: int, flags: argparse.Namespace) -> list[dict[str, Any]]:
    """One table: medians over the rounds, in which the contestants change places."""
    names, times, count = list(CONTESTANTS), dict[tuple[str, str], list[float]](), 0
    for turn in range(flags.rounds):
        order = names[turn % 3 :] + names[: turn % 3]
        with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
            wrote = ranks.run(saved, size, folder, flags.gib, order, timeout=LIMIT)
            read = ranks.run(loaded, size, folder, flags.gib, order, timeout=LIMIT)
        count = wrote[0][0]
        for name in names:
            times.setdefault((name, "save"), []).append(max(each[1][name] for each in wrote))
            times.setdefault((name, "load"), []).append(max(each[0][name] for each in read))
            assert all(back[1][name] == was[2] for was, back in zip(wrote, read, strict=True)), name
    rows = []
    for name in names:
        save, load = (statistics.median(times[name, way]) for way in ("save", "load"))
        rows.append({"ranks": size, "contestant": name, "gib": count / 2**30, "save_s": save, "load_s": load,
                     "save_gb_s": count / 1e9 / save, "load_gb_s": count / 1e9 / load,
                     "saves_s": times[name, "save"], "loads_s": times[name, "load"]})  # fmt: skip
    return rows


def main() -> int:
    """Prints the tables; 1 where the best of the others is faster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=10.0, help="size of the state (10)")
    parser.add_argument("--ranks", type=int, nargs="*", default=[1, 2], help="numbers of ranks (1 2)")
    parser.add_argument("--rounds", type=int, default=3, help="median of so many (3)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to be measured")
    parser.add_argument("--stall", type=float, default=2.0, help="GiB of the state saved in the background (2)")
    parser.add_argument("--keep", action="store_true", help="write the result to results/")
    flags = parser.parse_args()
    import machine

    about, rows, slower = machine.describe(), [], []
    for size in flags.ranks:
        found = compare(size, flags)
        rows += found
        for way in ("save", "load"):
            best = max(row[f"{way}_gb_s"] for row in found[1:])
            ratio = found[0][f"{way}_gb_s"] / best
            slower += [ratio < 1]
            print(f"{size} rank{'s' * (size > 1)}, {way}: {ratio:.2f} of the best")
            for row in found:
                print(f"    {row['contestant']:30} {row[f'{way}_gb_s']:6.2f} GB/s  {row[f'{way}_s']:7.1f} s")
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        (first,) = ranks.run(stalled, 1, folder, flags.stall, timeout=LIMIT)
    stall = statistics.median(first[2:])
    every = pace.interval(stall, MTBF)
    print(f"stall of a save in the background: {stall:.3f} s for {first[0] / 2**30:.1f} GiB; every {every:.0f} s at a "
          f"failure in 6 h: {stall / every:.2%} of the training")  # fmt: skip
    stalls = {"bytes": first[0], "stalls_s": first[1:], "interval_s": every, "share": stall / every}
    if flags.keep:
        print(machine.write("checkpoint", about, {"rows": rows, "stall": stalls}))
    return int(any(slower) or stall / every >= 0.01)


if __name__ == "__main__":
    sys.exit(main())
