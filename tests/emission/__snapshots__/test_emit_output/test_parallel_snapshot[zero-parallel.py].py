"""Layout of `gpt`: data 4.

Written by dskc from stdlib_gpt.dsk; yours to edit.

Ranks of the data axis take their share of every batch.
"""

from __future__ import annotations

import torch
from dskc.runtime import layout, mesh, recovery, sharded
from torch import nn

MESH = mesh.Mesh(data=4)  # --set:1
DATA = MESH.axis("data")

# How long this run waits for what, in seconds. Each is shorter than the next: what knows most
# about a fault is the first to notice it.
TIMES = recovery.Times(
    heartbeat=300,  # a rank that has finished nothing for so long hangs, and is ended
    collective=600,  # a collective waits for the other ranks
    store=681,  # the same until the first step is done: ranks join, load, compile
    rendezvous=1311,  # machines wait for each other
    data=86_400,  # all wait for what one rank does alone
    preemption=30,  # from the signal to the end by force
)

LAYOUT = layout.Layout(MESH)


def wrap(model: nn.Module) -> sharded.Sharded:
    """ZeRO-3: parameters are cut up over the data axis, and gathered where they are used."""
    # --set:1
    return sharded.Sharded(model, LAYOUT, "parameters", units=model.layers, compute=torch.bfloat16)
