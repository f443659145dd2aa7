"""Layout of `gpt`: data 4 x tensor 2.

Written by dskc from stdlib_gpt.dsk; yours to edit.

Ranks of the data axis take their share of every batch.
Ranks of the tensor axis share each layer: model.py has the sizes of one rank.
"""

from __future__ import annotations

import torch
from dskc.runtime import layout, mesh, recovery, sharded
from torch import nn

MESH = mesh.Mesh(data=4, tensor=2)  # --set:1
DATA = MESH.axis("data")
TENSOR = MESH.axis("tensor")  # --set:1

# How long this run waits for what, in seconds. Each is shorter than the next: what knows most
# about a fault is the first to notice it.
TIMES = recovery.Times(
    heartbeat=300,  # a rank that has finished nothing for so long hangs, and is ended
    collective=600,  # a collective waits for the other ranks
    store=679,  # the same until the first step is done: ranks join, load, compile
    rendezvous=1309,  # machines wait for each other
    data=86_400,  # all wait for what one rank does alone
    preemption=30,  # from the signal to the end by force
)

# Parameters that the tensor axis splits, and the dimension that is cut.
SPLIT = {
    "embedding.weight": 1,
    "layers.*.self_attention.query.weight": 0,
    "layers.*.self_attention.key.weight": 0,
    "layers.*.self_attention.value.weight": 0,
    "layers.*.self_attention.output.weight": 1,
    "layers.*.swiglu.gate.weight": 0,
    "layers.*.swiglu.up.weight": 0,
    "layers.*.swiglu.down.weight": 1,
    "linear.weight": 0,
}

# Whole parameters that see a part of the values on each rank: their gradients are added up.
SUMMED = (
    "layers.*.attention_norm.weight",
    "layers.*.feed_forward_norm.weight",
    "rms_norm.weight",
)

LAYOUT = layout.Layout(MESH, split=SPLIT, summed=SUMMED)


def wrap(model: nn.Module) -> sharded.Sharded:
    """ZeRO-1: optimizer state is cut up over the data axis, parameters gathered once a step."""
    # --set:1
    return sharded.Sharded(model, LAYOUT, "optimizer", units=model.layers, compute=torch.bfloat16)
