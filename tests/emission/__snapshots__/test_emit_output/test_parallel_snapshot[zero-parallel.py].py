"""Layout of `gpt`: data 4.

Written by dskc from stdlib_gpt.dsk; yours to edit.

Ranks of the data axis take their share of every batch.
"""

from __future__ import annotations

import torch
from dskc.runtime import layout, mesh, sharded
from torch import nn

MESH = mesh.Mesh(data=4)  # --set:1
DATA = MESH.axis("data")

LAYOUT = layout.Layout(MESH)


def wrap(model: nn.Module) -> sharded.Sharded:
    """ZeRO-3: parameters are cut up over the data axis, and gathered where they are used."""
    # --set:1
    return sharded.Sharded(model, LAYOUT, "parameters", units=model.layers, compute=torch.bfloat16)
