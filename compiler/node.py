"""What a plan is made of: one node type, tensors with symbolic sizes, parameters with their start values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..dsl.source import Span
from .dims import Dim, product
from .placement import Move, Placement

Kind = Literal["float", "int", "bool"]
Value = tuple[str, int]
"""One output of a node: its name and the index of the output."""


@dataclass(frozen=True)
class Tensor:
    """Shape and kind; the number of bytes of a float follows from the precision of the run."""

    shape: tuple[Dim, ...]
    kind: Kind = "float"

    @property
    def elements(self) -> Dim:
        """Number of elements."""
        return product(self.shape)

    def __str__(self) -> str:
        text = "[" + ", ".join(str(d) for d in self.shape) + "]"
        return text if self.kind == "float" else self.kind + text


@dataclass(frozen=True)
class Parameter:
    """A trained tensor (or a buffer, `trained=False`) that an op owns.

    `name` is the last part of its path as torch names it ("weight"); `init` is "normal(0.02)", "zeros", "ones",
    "kaiming" (fan-in, ReLU) or "constant(2.6592)". After the sharding pass `shape` is that of one rank, and
    `placement` the type that the op uses it with; see `Sync` for how it is stored.
    """

    name: str
    shape: tuple[Dim, ...]
    init: str = "zeros"
    trained: bool = True
    decays: bool = True
    kind: Kind = "float"
    placement: Placement = field(default_factory=dict)


def is_split(parameter: Parameter) -> bool:
    """Whether the ranks of the expert axis hold parts of a parameter."""
    return "expert" in parameter.placement and parameter.placement["expert"].kind == "S"


@dataclass(frozen=True)
class Cost:
    """What one forward call of a node takes: floating-point operations, bytes moved, bytes kept for backward.

    All are polynomials in the symbolic sizes; those of a call or repeat include its body, `count` times.
    """

    flops: Dim = 0
    moved: Dim = 0
    saved: Dim = 0
    parameters: int = 0


@dataclass(frozen=True)
class Recompute:
    """Iterations `start` to before `stop` of a repeat (of a call: 0 to 1), which backward computes again.

    "full" keeps the inputs of each segment of `segment` iterations; "selective" those of each iteration and the
    results of its matrix products.
    """

    kind: Literal["full", "selective"]
    start: int = 0
    stop: int = 1
    segment: int = 1


@dataclass(frozen=True)
class Node:
    """One step of a body.

    `op` is a key of `OPS`, or one of
    - "input": a tensor of the body's signature, `outputs[0]` its type;
    - "call": runs the body `body` once; owns that body's parameters under `label`;
    - "repeat": runs `body` `count` times; the first `attrs["carried"]` inputs are replaced by the body's results
      each time and are the node's outputs, the other inputs are the same each time; iteration `i` owns the body's
      parameters under `label.i`.
    - "extern": a user's own module, `attrs` has "name", "path" (a Python file), "class" and its "arguments".
    `share` is the label path, from this body, of the call whose parameters this one uses; a leading "^" is the body
    that repeats this one. Without a label the node runs that call as it is; with one it has a module of its own, and
    its parameters of equal path are those of the other.
    - "collective": turns its input from the type `attrs["source"]` on the axis `attrs["axis"]` into `attrs["target"]`
      (`Place`s; see `placement.CONVERSIONS`). The sharding pass makes these; where `dtypes` is narrower than that of
      its input, the value is cast first.
    - "hold": does not run; owns the parameters of the node `attrs["node"]`, which is on another stage of the pipeline,
      so that nodes here can share them.
    `placements` are the types of the outputs, per axis, and `moves` the collectives inside the op, by axis; both are
    filled by the sharding pass, after which shapes and sizes in `attrs` are those of one rank; `whole` has those of
    `attrs` that were others before. That pass adds "counted" (of a loss whose targets may be ignored: the number of
    its mask, see `masks`) or "masked" (the same where the batch alone does not tell how many count), and "ranks"
    (whose rows a contrastive loss gathers).
    `recompute` are the parts of a call or repeat that backward computes again, in order.
    `bound` are the names that the spec gives several outputs, `(a, b) = split(...)`.
    `args` are the names of the tensor arguments that `inputs` fill, so that optional ones can be told apart.
    `dtypes` (of the outputs: "fp32", "bf16", "int64", "bool") and `cost` are filled by the passes of those names.
    """

    name: str
    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Tensor, ...]
    span: Span
    attrs: Mapping[str, Any] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    label: str | None = None
    share: tuple[str, ...] | None = None
    body: str | None = None
    count: int = 1
    dtypes: tuple[str, ...] = ()
    cost: Cost | None = None
    bound: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    moves: tuple[tuple[str, Move], ...] = ()
    recompute: tuple[Recompute, ...] = ()
    whole: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sync:
    """What keeps the copies, or shards, of a parameter in step on one axis; `node` owns `parameter` in `body`.

    `kind` is "all_reduce" (of the gradient: stored I, used R), or "shard" (stored S(0), gathered for use, the gradient
    reduce-scattered: ZeRO). `reason` is shown to people. The axis "replica" is the part of the data axis whose ranks
    hold the same experts.

    On the axis "pipeline" a parameter that several `stages` use is held by each of them, and the gradients of all
    holders are added up ("all_reduce"); `parameter` is then its path inside `node`. It counts once, on the first of
    the stages, in norms and in checkpoints.
    """

    body: str
    node: str
    parameter: str
    axis: str
    kind: Literal["all_reduce", "shard"]
    reason: str = ""
    stages: tuple[int, ...] = ()


@dataclass(frozen=True)
class Objective:
    """A loss, metric or exit of the model: `value` is in the body "forward"."""

    kind: Literal["loss", "metric", "exit"]
    name: str
    value: Value
    weight: float
    span: Span


@dataclass(frozen=True)
class Body:
    """A block made concrete: nodes in program order, inputs first; equal calls share one body.

    `name` is unique in the plan ("forward", "layer", "self_attention", "self_attention_2" ...); `block` is the
    block's name in the spec. `legend` names sizes for readers: (("D", 256, "dim"), ...).
    """

    name: str
    block: str
    nodes: tuple[Node, ...]
    results: tuple[Value, ...]
    span: Span
    legend: tuple[tuple[str, Dim, str], ...] = ()
