"""Start values of blocks: those that one process has, whatever the layout, and without the whole parameter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dskc.runtime import philox
from dskc.runtime.errors import RunError
from dskc.runtime.initialize import initialize, materialize, on_meta
from dskc.runtime.layout import Layout, block_of
from dskc.runtime.mesh import Mesh
from dskc.runtime.sharded import Sharded

from . import ranks
from .models import CPU, INITIAL, SPLIT, Net


def test_a_stream_can_be_entered_anywhere() -> None:
    whole = {draw: draw(3, 300_001) for draw in (philox.normal, philox.uniform)}
    for first, count in ((0, 7), (1, 3), (2, 0), (3, 1), (5, 1_000), (262_143, 5), (262_144, 37_857), (100_001, 9)):
        for draw, stream in whole.items():
            assert torch.equal(draw(3, count, first=first), stream[first : first + count])


def blocks(data: int, tensor: int) -> dict[str, tuple[Tensor, tuple[int, ...], tuple[int, ...]]]:
    mesh = Mesh(data=data, tensor=tensor)
    mesh.start(CPU)
    layout = Layout(mesh, SPLIT)
    with on_meta():
        model = Net(mesh.axis("tensor"))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert not model.seen.is_meta
    if data > 1:
        Sharded(model, layout, "parameters", units=model.layers)
    materialize(model, CPU)
    initialize(model, INITIAL, 3, layout)
    assert model.linear.weight is model.embedding.weight
    assert all(isinstance(parameter, DTensor) == (data > 1 and parameter.ndim > 0) for parameter in model.parameters())
    found = {}
    for name, parameter in model.named_parameters():
        block = block_of(name, parameter, layout)
        found[name] = (block.local, block.whole, block.start)
    mesh.stop()
    return found


@pytest.mark.parametrize(("data", "tensor"), [(1, 2), (2, 1), (4, 1), (1, 4), (2, 2), (3, 1)])
def test_blocks_are_those_of_one_process(data: int, tensor: int) -> None:
    model = Net()
    model.initialize(3)
    found = ranks.run(blocks, data * tensor, data, tensor)

    for name, whole in model.named_parameters():
        parts = torch.zeros_like(whole)
        seen = torch.zeros_like(whole)
        for rank in found:
            local, shape, start = rank[name]
            assert shape == tuple(whole.shape)
            place = tuple(slice(first, first + size) for first, size in zip(start, local.shape, strict=True))
            parts[place] = local
            seen[place] += 1
        assert torch.equal(parts, whole), name  # to the bit
        split = name == "embedding.weight" or name.endswith(("up.weight", "down.weight"))
        copies = 1 if split else tensor
        assert (seen == (copies if data > 1 and whole.ndim else copies * data)).all(), name


def test_only_the_rows_of_a_block_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh(tensor=4)
    mesh.axis("tensor")._join(None, 2)
    drawn = []
    normal = philox.normal
    monkeypatch.setattr(philox, "normal", lambda *args: drawn.append(args[1]) or normal(*args))
    monkeypatch.setattr("dskc.runtime.initialize.ELEMENTS", 100)
    part, whole = nn.Linear(30, 20, bias=False), nn.Linear(30, 80, bias=False)

    initialize(part, {"normal(1)": ("weight",)}, 1, Layout(mesh, {"weight": 0}))
    assert sum(drawn) == part.weight.numel()
    assert max(drawn) <= 100
    initialize(whole, {"normal(1)": ("weight",)}, 1)
    assert torch.equal(part.weight, whole.weight[40:60])


def test_a_stage_may_lack_what_the_table_names() -> None:
    whole = Net()
    whole.initialize(3)
    head = nn.Linear(8, 10)
    copy = nn.Module()
    copy.weight = head.weight
    stage = nn.ModuleDict({"embedding": copy, "linear": head})

    initialize([stage], INITIAL, 3)
    assert torch.equal(head.weight, whole.embedding.weight)
    assert torch.equal(head.bias, whole.linear.bias)
    with pytest.raises(RunError, match="no parameter is called"):
        initialize(stage, INITIAL, 3)
    with pytest.raises(RunError, match=r"no start value for linear\.weight"):
        initialize([nn.ModuleDict({"linear": head})], INITIAL, 3)


def test_one_copy_of_a_tied_parameter_counts() -> None:
    firsts = []
    for index in range(3):
        mesh = Mesh(pipeline=3)
        mesh.axis("pipeline")._join(None, index)
        layout = Layout(mesh, tied={"embedding.weight": (1, 2)})
        firsts.append((layout.is_first_copy("embedding.weight"), layout.is_first_copy("linear.bias")))

    assert firsts == [(False, True), (True, True), (False, True)]


def test_a_dimension_that_is_not_there() -> None:
    with pytest.raises(RunError, match=r"weight \[2, 3\] has no dimension 2 to be split on"):
        initialize(nn.Linear(3, 2, bias=False), {"ones": ("weight",)}, 1, Layout(Mesh(tensor=2), {"weight": 2}))
