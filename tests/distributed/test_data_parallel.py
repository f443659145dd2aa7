"""Training on a data and a tensor axis, whole or sharded, equals training in one process."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dskc.runtime import initialize, optimizer, totals
from dskc.runtime.layout import Layout, block_of
from dskc.runtime.mesh import Mesh
from dskc.runtime.replicated import Replicated
from dskc.runtime.sharded import Sharded

from . import ranks
from .models import CPU, INITIAL, SPLIT, SUMMED, Net, batch, counts

STEPS, PARTS, SAMPLES = 3, 2, 8  # of each step: micro-batches, and samples of one over all ranks
CLIP = 0.3


def data(step: int, part: int, rank: int, size: int) -> dict[str, Tensor]:
    """This rank's block of a micro-batch."""
    whole = batch(SAMPLES, seed=10 * step + part)
    return {name: field.chunk(size)[rank] for name, field in whole.items()}


def built(layout: Layout, shard: str) -> tuple[Net, Replicated | Sharded]:
    with initialize.on_meta():
        model = Net(layout.mesh.axis("tensor"))
    gradients: Replicated | Sharded
    if shard == "none":
        gradients = Replicated(model, layout, bucket=400)
    else:
        gradients = Sharded(model, layout, shard, units=model.layers)  # type: ignore[arg-type]
    initialize.materialize(model, CPU)
    initialize.initialize(model, INITIAL, 3, layout)
    return model, gradients


def blocks(named: Any, layout: Layout) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
    found = {}
    for name, tensor in named:
        if tensor is not None:
            block = block_of(name, tensor, layout)
            found[name] = (block.local.clone(), block.start)
    return found


def trained(data_size: int, tensor: int, shard: str, compiled: bool = False) -> dict[str, Any]:
    mesh = Mesh(data=data_size, tensor=tensor)
    mesh.start(CPU)
    layout = Layout(mesh, SPLIT, SUMMED)
    model, gradients = built(layout, shard)
    updates = optimizer.adamw(model, lr=0.05, weight_decay=0.1)
    objectives = torch.compile(model.objectives, backend="aot_eager") if compiled else model.objectives
    losses, norms, first = [], [], {}
    for step in range(STEPS):
        parts = [data(step, part, mesh.axis("data").index, data_size) for part in range(PARTS)]
        counted = totals.counted(counts, parts, layout)
        loss = torch.zeros(())
        for number, part in enumerate(parts):
            gradients.micro_batch(last=number == PARTS - 1)
            share = objectives(**part, counted=counted)["loss"] / PARTS
            share.backward()
            loss += share.detach()
        gradients.finish()
        if step == 0:
            first = blocks(((name, p.grad) for name, p in model.named_parameters()), layout)
        norms.append(optimizer.clip_norm(model, CLIP, layout).item())
        updates.step()
        updates.zero_grad()
        losses.append(totals.over_data(loss, layout).item())
    found = {
        "losses": losses,
        "norms": norms,
        "gradients": first,
        "weights": blocks(model.named_parameters(), layout),
    }
    mesh.stop()
    return found


@pytest.fixture(scope="module")
def one_process() -> dict[str, Any]:
    """The same with plain torch."""
    model = Net()
    model.initialize(3)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    updates = torch.optim.AdamW(groups, lr=0.05, weight_decay=0.1, foreach=False)
    losses, norms, first = [], [], {}
    for step in range(STEPS):
        parts = [batch(SAMPLES, seed=10 * step + part) for part in range(PARTS)]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        logits = model(joined["tokens"])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), joined["targets"].flatten())
        loss.backward()
        if step == 0:
            first = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        updates.step()
        updates.zero_grad()
        losses.append(loss.item())
    weights = {name: p.detach() for name, p in model.named_parameters()}
    return {"losses": losses, "norms": norms, "gradients": first, "weights": weights}


def compare(found: list[dict[str, Any]], want: dict[str, Any]) -> None:
    for rank in found:
        assert rank["losses"] == pytest.approx(want["losses"], rel=1e-5)
        assert rank["norms"] == pytest.approx(want["norms"], rel=1e-5)
        assert rank["norms"] == found[0]["norms"]  # to the bit: all ranks decide the same
        for kind in ("gradients", "weights"):
            assert set(rank[kind]) == set(want[kind])
            for name, (block, start) in rank[kind].items():
                place = tuple(slice(first, first + size) for first, size in zip(start, block.shape, strict=True))
                torch.testing.assert_close(block, want[kind][name][place], rtol=1e-5, atol=2e-6, msg=f"{kind}: {name}")


@pytest.mark.parametrize("shard", ["none", "optimizer", "gradients", "parameters"])
@pytest.mark.parametrize(("data_size", "tensor"), [(2, 1), (4, 1), (2, 2)])
def test_equals_one_process(data_size: int, tensor: int, shard: str, one_process: dict[str, Any]) -> None:
    compare(ranks.run(trained, data_size * tensor, data_size, tensor, shard), one_process)


def test_equals_one_process_without_a_data_axis(one_process: dict[str, Any]) -> None:
    compare(ranks.run(trained, 4, 1, 4, "none"), one_process)


@pytest.mark.parametrize("shard", ["none", "parameters"])
def test_equals_one_process_when_compiled(shard: str, one_process: dict[str, Any]) -> None:
    compare(ranks.run(trained, 4, 2, 2, shard, True), one_process)
