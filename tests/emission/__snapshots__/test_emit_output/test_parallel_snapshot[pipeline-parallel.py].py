"""Layout of `gpt`: pipeline 2 x data 2 x tensor 2.

Written by dskc from stdlib_gpt.dsk; yours to edit.

Ranks of the data axis take their share of every batch; each holds all parameters.
Ranks of the tensor axis share each layer: model.py has the sizes of one rank.
Ranks of the pipeline run one part of the model after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from dskc.runtime import layout, mesh, pipeline, recovery, replicated
from torch import nn

MESH = mesh.Mesh(pipeline=2, data=2, tensor=2)  # --set:1
DATA = MESH.axis("data")
TENSOR = MESH.axis("tensor")  # --set:1

# How long this run waits for what, in seconds. Each is shorter than the next: what knows most
# about a fault is the first to notice it.
TIMES = recovery.Times(
    heartbeat=300,  # a rank that has finished nothing for so long hangs, and is ended
    collective=600,  # a collective waits for the other ranks
    store=618,  # the same until the first step is done: ranks join, load, compile
    rendezvous=1248,  # machines wait for each other
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

SCHEDULE = "one_f_one_b"
OBJECTIVES = ("loss",)

# What goes from each stage to the next, in the sizes of one rank.
EDGES = ((pipeline.Edge((8, 256, 256)),),)

LAYOUT = layout.Layout(MESH, split=SPLIT)


def wrap(stages: Sequence[nn.Module]) -> replicated.Replicated:
    """Every rank holds all parameters; gradients are added up over the data axis once a step."""
    return replicated.Replicated(stages, LAYOUT)
