"""bf16 under ZeRO: parameters are gathered in bf16, kept and reduced in fp32."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dskc.runtime import initialize, optimizer
from dskc.runtime.layout import Layout, local
from dskc.runtime.mesh import Mesh
from dskc.runtime.sharded import Sharded

from . import ranks
from .models import CPU, INITIAL, Net
from .test_data_parallel import data

PARTS = 2


def gradients_of(shard: str) -> dict[str, Any]:
    mesh = Mesh(data=2)
    mesh.start(CPU)
    layout = Layout(mesh)
    with initialize.on_meta():
        model = Net()
    sums = Sharded(model, layout, shard, units=model.layers, compute=torch.bfloat16)  # type: ignore[arg-type]
    initialize.materialize(model, CPU)
    initialize.initialize(model, INITIAL, 3, layout)
    seen: set[torch.dtype] = set()
    model.layers[0].up.register_forward_pre_hook(lambda module, _: seen.add(module.weight.dtype))
    for part in range(PARTS):
        sums.micro_batch(last=part == PARTS - 1)
        with torch.autocast("cpu", torch.bfloat16):
            share = model.objectives(**data(0, part, mesh.axis("data").index, 2), counted=torch.tensor(64.0))["loss"]
        share.backward()
    sums.finish()
    kinds = {local(tensor).dtype for p in model.parameters() for tensor in (p, p.grad) if tensor is not None}
    norm = optimizer.clip_norm(model, layout=layout).item()
    optimizer.adamw(model, lr=0.1).step()
    mesh.stop()
    return {"gathered": seen, "kept": kinds, "norm": norm}


@pytest.mark.parametrize("shard", ["optimizer", "parameters"])
def test_parameters_are_gathered_in_bf16_and_kept_in_fp32(shard: str) -> None:
    model = Net()
    model.initialize(3)
    for part in range(PARTS):
        model.objectives(**data(0, part, 0, 1), counted=torch.tensor(64.0))["loss"].backward()
    want = optimizer.clip_norm(model).item()

    for found in ranks.run(gradients_of, 2, shard):
        assert found["gathered"] == {torch.bfloat16}
        assert found["kept"] == {torch.float32}
        assert found["norm"] == pytest.approx(want, rel=2e-2)  # bf16 has 8 bits
