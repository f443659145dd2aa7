"""Checkpoints on the nodes: a node is lost with all it had, files are damaged, a disk is full. A folder is a node."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest import mock

import pytest

from dskc.runtime import console, peer, tensorfile
from dskc.runtime.checkpoint import Checkpoints, Position
from dskc.runtime.near import Near, Tier

from ..runtime.test_checkpoint import build, run
from . import ranks
from .test_checkpoints import Run, Sizes, full

ALL: Sizes = (2, 2, "parameters")
State = dict[str, list[float]]


class Placed(Run):
    """A run whose first two ranks are on one node, the others on a second; each node has a folder of its own."""

    def __init__(self, sizes: Sizes, folder: str, peers: bool = True) -> None:
        super().__init__(sizes, folder)
        world = self.mesh.world
        own = Path(folder) / f"node-{self.mesh.rank * 2 // world}"
        self.tier = Tier(own, peers)
        own.mkdir(exist_ok=True)
        self.checkpoints = Checkpoints(
            Path(folder) / "shared", "p", keep=5, layout=self.layout, background=True, near=[self.tier]
        )

    def state(self) -> State:
        return {
            name: p.detach().to_local().flatten().tolist() if hasattr(p, "to_local") else p.flatten().tolist()
            for name, p in self.model.named_parameters()
        }


def saves(folder: str, peers: bool, copies: bool) -> State:
    """Trains three steps, saves after the second and the third; the first only gets to the folder of all."""
    run = Placed(ALL, folder, peers)
    run.train(range(2))
    run.checkpoints.save(run.model, run.updates, Position(2, 16))
    assert run.checkpoints.finish()
    if not copies:
        run.checkpoints._copying = None
    run.train(range(2, 3))
    run.checkpoints.save(run.model, run.updates, Position(3, 24))
    assert run.checkpoints.finish() if copies else run.checkpoints._landed()
    run.mesh.stop()
    return run.state()


def restores(sizes: Sizes, folder: str) -> tuple[int, State, list[float]]:
    run = Placed(sizes, folder)
    position = run.restore()
    state = run.state()
    losses = run.train(range(3, 5))
    run.mesh.stop()
    return position.step, state, losses


def told(folder: str) -> tuple[int, list[str]]:
    """What is said while a state is restored."""
    run, said = Placed(ALL, folder), list[str]()
    with mock.patch.object(console.LINE, "note", said.append):
        step = run.restore().step
    run.mesh.stop()
    return step, said


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("dskc-*/step-*/*"))


@pytest.mark.parametrize("lost", [None, 0, 1])
def test_one_lost_node_needs_no_storage(lost: int | None, tmp_path: Path) -> None:
    """The newest state comes back though it never was where all ranks see it."""
    expected = ranks.run(saves, 4, str(tmp_path), True, False)
    assert [path.name for path in (tmp_path / "shared").glob("step-*")] == ["step-00000002"]
    for node in (0, 1):
        assert len(files(tmp_path / f"node-{node}")) == 12  # three files of each rank, in both places
    if lost is not None:
        shutil.rmtree(tmp_path / f"node-{lost}")

    found = ranks.run(restores, 4, ALL, str(tmp_path))

    assert [step for step, _, _ in found] == [3] * 4
    assert [state for _, state, _ in found] == expected


def test_other_layouts_go_on_from_what_the_nodes_have(tmp_path: Path) -> None:
    ranks.run(saves, 4, str(tmp_path), True, False)
    shutil.rmtree(tmp_path / "node-0")
    shutil.copytree(tmp_path, tmp_path.with_name("again"))

    same = ranks.run(restores, 4, ALL, str(tmp_path))
    other = ranks.run(restores, 2, (2, 1, "none"), str(tmp_path.with_name("again")))

    assert [step for step, _, _ in other] == [3] * 2
    assert other[0][2] == pytest.approx(same[0][2], rel=1e-5)


def test_without_copies_a_lost_node_takes_the_state_with_it(tmp_path: Path) -> None:
    ranks.run(saves, 4, str(tmp_path), False, False)
    again = shutil.copytree(tmp_path, tmp_path.with_name("all"))
    shutil.rmtree(tmp_path / "node-1")

    assert [step for step, _, _ in ranks.run(restores, 4, ALL, str(tmp_path))] == [2] * 4
    assert [step for step, _, _ in ranks.run(restores, 4, ALL, str(again))] == [3] * 4


def damaged(folder: Path, name: str) -> None:
    (path,) = folder.glob(f"dskc-*/step-00000003/{name}")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_a_damaged_part_comes_from_its_copy(tmp_path: Path) -> None:
    expected = ranks.run(saves, 4, str(tmp_path), True, False)
    damaged(tmp_path / "node-0", "model-00001.safetensors")
    damaged(tmp_path / "node-1", "training-00002.safetensors")
    assert [state for _, state, _ in ranks.run(restores, 4, ALL, str(tmp_path))] == expected

    damaged(tmp_path / "node-0", "model-00001.safetensors")
    damaged(tmp_path / "node-1", "model-00001.safetensors")
    for step, said in ranks.run(told, 4, str(tmp_path)):
        assert step == 2
        assert any("is damaged (parts of ranks 1) and is passed over" in line for line in said)


def test_what_all_ranks_see_is_copied_from_the_nodes(tmp_path: Path) -> None:
    expected = ranks.run(saves, 4, str(tmp_path), True, True)
    for node in (0, 1):
        shutil.rmtree(tmp_path / f"node-{node}")

    assert [(step, state) for step, state, _ in ranks.run(restores, 4, ALL, str(tmp_path))] == [
        (3, state) for state in expected
    ]


def a_node_is_full(folder: str) -> tuple[list[bool], list[str]]:
    run, said = Placed(ALL, folder), list[str]()
    run.train(range(1))
    original = tensorfile.write_all

    def refuses(handle: int, data: memoryview) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        full(handle, data) if "node-1" in path else original(handle, data)

    with mock.patch.object(tensorfile, "write_all", refuses), mock.patch.object(console.LINE, "note", said.append):
        done = [run.checkpoints.save(run.model, run.updates, Position(1, 8)), run.checkpoints.finish()]
    done.append(run.checkpoints.save(run.model, run.updates, Position(2, 16)) and run.checkpoints.finish())
    run.checkpoints.save(run.model, run.updates, Position(3, 24), final=True)
    run.mesh.stop()
    return done, said


def test_a_full_node_leaves_the_folder_of_all(tmp_path: Path) -> None:
    for done, said in ranks.run(a_node_is_full, 4, str(tmp_path), timeout=60):
        assert done == [True, True, True]
        assert any("step 1 is not kept in" in line and "No space left" in line for line in said)
    assert {path.name for path in (tmp_path / "shared").glob("step-*")} == {f"step-0000000{n}" for n in (1, 2, 3)}
    assert list(tmp_path.glob("node-*/dskc-*")) == []  # the last state is where all ranks see it


def test_a_run_that_starts_anew_takes_nothing_of_the_one_before(tmp_path: Path) -> None:
    ranks.run(saves, 4, str(tmp_path), True, False)
    shutil.rmtree(tmp_path / "shared")

    assert [step for step, _, _ in ranks.run(restores, 4, ALL, str(tmp_path))] == [0] * 4
    assert files(tmp_path / "node-0") == []


def test_each_rank_has_its_copy_on_the_next_node() -> None:
    nodes = peer.Nodes.of(["a", "a", "b", "c", "c"], 2)
    assert nodes.members == ((0, 1), (2,), (3, 4))
    assert [nodes.buddy(rank) for rank in range(5)] == [2, 2, 3, 0, 1]
    assert nodes.kept() == [0, 1]
    assert nodes.first
    assert peer.Nodes.of(["a", "a"], 0).buddy(0) is None


def test_one_process_goes_on_from_its_own_disk(tmp_path: Path) -> None:
    model, adamw = build()
    (tmp_path / "disk").mkdir()
    tier = Tier(tmp_path / "disk")
    checkpoints = Checkpoints(tmp_path / "shared", "p", near=[tier])
    run(model, adamw, range(2))
    assert checkpoints.save(model, adamw, Position(2, 32))
    assert checkpoints.finish()
    shutil.rmtree(tmp_path / "shared" / "step-00000002")

    found, adamw = build()
    assert Checkpoints(tmp_path / "shared", "p", near=[tier]).restore(found, adamw).step == 2
    assert all((a == b).all() for a, b in zip(found.state_dict().values(), model.state_dict().values(), strict=True))
    assert [near.name for near in (tmp_path / "disk").iterdir()] == [
        Near(tier, near_name(tmp_path), checkpoints.mesh).folder.name
    ]


def near_name(folder: Path) -> str:
    return (folder / "shared" / "run.id").read_text("utf-8").strip()
