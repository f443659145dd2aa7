"""Experts on the ranks of the expert axis, with tokens that go to them and back, against the layers of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dskc.runtime import checkpoint, initialize, layers, optimizer
from dskc.runtime.checkpoint import Checkpoints, Position
from dskc.runtime.layout import Layout
from dskc.runtime.mesh import Axis, Mesh
from dskc.runtime.replicated import Replicated

from . import ranks
from .test_checkpoints import state_of

EXPERTS, TOP, WIDTH, TOKENS = 8, 2, 6, 12
SIZES = [(2, 2), (4, 2), (4, 4)]
INITIAL = {"normal(0.5)": ("*",)}


class Experts(nn.Module):
    """Two products per expert, of which each token uses `TOP`."""

    def __init__(self, axis: Axis | None = None) -> None:
        super().__init__()
        self.axis = axis
        held = EXPERTS if axis is None else EXPERTS // axis.size
        self.into = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = layers.ExpertLinear(held, WIDTH, 5)
        self.down = layers.ExpertLinear(held, 5, WIDTH)

    def forward(self, x: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        x = self.into(x)
        if self.axis is None:
            rows, sizes, choices = layers.dispatch(x, chosen, EXPERTS)
            return layers.combine(self.down(F.silu(self.up(rows, sizes)), sizes), choices, weights)
        rows, sizes, order = layers.split_dispatch(x, chosen, EXPERTS, self.axis)
        return layers.split_combine(self.down(F.silu(self.up(rows, sizes)), sizes), order, weights, self.axis)


def chosen_by(case: str) -> Tensor:
    """Experts of each token: by chance, all the same, or none that the last rank of the axis has."""
    random = torch.rand(TOKENS, EXPERTS, generator=torch.Generator().manual_seed(1))
    match case:
        case "one":
            return torch.zeros(TOKENS, TOP, dtype=torch.int64)
        case "few":
            return random[:, : EXPERTS // 4].topk(TOP, -1).indices
    return random.topk(TOP, -1).indices


def computed(case: str, layout: Layout) -> dict[str, Tensor]:
    """The result for this rank's tokens, and all gradients of a sum over it; the norm of those of the model."""
    mesh, split = layout.mesh, layout.mesh.axis("expert")
    data = mesh.axis("data")
    model = Experts(split if mesh.world > 1 else None)
    initialize.initialize(model, INITIAL, 3, layout)
    given = torch.Generator().manual_seed(2)
    x, weights = torch.randn(TOKENS, WIDTH, generator=given), torch.rand(TOKENS, TOP, generator=given)
    factor = torch.randn(TOKENS, WIDTH, generator=given)
    x, weights, chosen, factor = (t.chunk(data.size)[data.index] for t in (x, weights, chosen_by(case), factor))
    x, weights = x.detach().requires_grad_(), weights.detach().requires_grad_()
    gradients = Replicated(model, layout)
    for _ in range(2):  # the second time gradients are sent while others are still computed
        model.zero_grad()
        gradients.micro_batch(last=True)
        y = model(x, weights, chosen)
        inputs = torch.autograd.grad((y * factor).sum(), (x, weights), retain_graph=True)
        (y * factor).sum().backward(inputs=list(model.parameters()))
        gradients.finish()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    norm = optimizer.clip_norm(model, 1.0, layout)
    return {"y": y.detach(), "x": inputs[0], "weights": inputs[1], "norm": norm, **found}


def on_ranks(case: str, data: int, expert: int) -> dict[str, Any]:
    mesh = Mesh(data=data, expert=expert)
    mesh.start(torch.device("cpu"))
    try:
        found = computed(case, Layout(mesh, experts=("up.weight", "down.weight")))
        return {**found, "index": mesh.axis("expert").index}
    finally:
        mesh.stop()


@pytest.mark.parametrize(("data", "expert"), SIZES)
@pytest.mark.parametrize("case", ["random", "one", "few"])
def test_results_and_gradients_are_those_of_one_process(case: str, data: int, expert: int) -> None:
    found = ranks.run(on_ranks, data, case, data, expert)
    wanted = computed(case, Layout())

    for name in ("y", "x", "weights"):
        torch.testing.assert_close(torch.cat([each[name] for each in found]), wanted[name], rtol=1e-5, atol=1e-6)
    for each in found:
        for name in ("up.weight", "down.weight"):
            own = wanted[name].chunk(expert)[each["index"]]
            torch.testing.assert_close(each[name], own, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(each["into.weight"], wanted["into.weight"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(each["norm"], wanted["norm"], rtol=1e-5, atol=1e-5)


def stepped(data: int, expert: int, folder: str, start: bool) -> None:
    """One step of AdamW and a checkpoint of it; or that checkpoint, read and written as the next."""
    mesh = Mesh(data=data, expert=expert)
    mesh.start(torch.device("cpu"))
    layout = Layout(mesh, experts=("up.weight", "down.weight") if expert > 1 else ())
    model = Experts(mesh.axis("expert") if expert > 1 else None)
    initialize.initialize(model, INITIAL, 3, layout)
    updates = optimizer.adamw(model, lr=0.1)
    checkpoints = Checkpoints(Path(folder), "p", keep=5, layout=layout)
    if start:
        x = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(2))
        chosen = chosen_by("random")
        index, size = mesh.axis("data").index, mesh.axis("data").size
        gradients = Replicated(model, layout)
        gradients.micro_batch(last=True)
        model(*(t.chunk(size)[index] for t in (x, torch.ones(TOKENS, TOP), chosen))).square().sum().backward()
        gradients.finish()
        updates.step()
    else:
        assert checkpoints.restore(model, updates) == Position(1, 8)
    checkpoints.save(model, updates, Position(1 if start else 2, 8))
    mesh.stop()


@pytest.mark.parametrize(("before", "after"), [((4, 2), (2, 2)), ((2, 2), (1, 1)), ((2, 1), (4, 4))])
def test_checkpoints_hold_all_experts(before: tuple[int, int], after: tuple[int, int], tmp_path: Path) -> None:
    ranks.run(stepped, before[0], *before, str(tmp_path), True)
    ranks.run(stepped, after[0], *after, str(tmp_path), False)

    for name in (checkpoint.MODEL, checkpoint.TRAINING):
        first, second = (state_of(tmp_path / step, name) for step in ("step-00000001", "step-00000002"))
        assert all(torch.equal(first[key], second[key]) for key in first)
        kept = list(first)
    assert state_of(tmp_path / "step-00000001", checkpoint.MODEL)["up.weight"].shape == (EXPERTS, 5, WIDTH)
    assert len(kept) == 9


def places() -> tuple[int, int, int, int, list[int], list[int]]:
    mesh = Mesh(data=4, tensor=2, expert=2)
    mesh.start(torch.device("cpu"))
    try:
        replica, expert = mesh.axis("replica"), mesh.axis("expert")
        members = [torch.distributed.get_process_group_ranks(axis.group) for axis in (replica, expert)]
        return mesh.rank, mesh.axis("data").index, replica.index, expert.index, *members
    finally:
        mesh.stop()


def test_the_expert_axis_is_the_inner_part_of_the_data_axis() -> None:
    for rank, data, replica, expert, holders, sharers in ranks.run(places, 8):
        assert (data, replica, expert) == (rank // 2, rank // 4, rank // 2 % 2)
        assert holders == [rank % 4, rank % 4 + 4]
        assert sharers == [rank - 2 * expert, rank - 2 * expert + 2]


def test_an_expert_axis_divides_the_data_axis() -> None:
    with pytest.raises(ValueError, match="4 does not divide by 3"):
        Mesh(data=4, expert=3)
