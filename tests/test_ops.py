"""The op table against torch: shapes, kinds, parameters, FLOPs, tensors kept for backward, emitted text."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from functools import reduce
from itertools import chain, product

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dskc.compiler.dims import substitute
from dskc.compiler.ops import OPS
from dskc.compiler.ops.base import kept
from dskc.compiler.ops.rearrange import Side, axis_sizes, parse
from dskc.runtime.layers.rope import _tables

from .op_samples import SAMPLES, SIZES, Sample, Trial, actual, as_tuple

KINDS = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}
CPU_KEEPS: dict[str, Callable[[Trial], int]] = {
    # Without a fused kernel: the normalised x as well.
    "rms_norm": lambda trial: 2 * 6 * 16 * 4,
    # The mask is float instead of bool.
    "dropout": lambda trial: 2 * 6 * 8 * 3 if trial.attrs["rate"] else 0,
    # A bool mask becomes a float one; heads of two sizes run unfused: scores instead of result and log-sum.
    "scaled_dot_product_attention": lambda trial: (
        6 * 6 * 3 if "mask" in trial.names else 2 * 4 * 6 * (6 - 1 - 4) * 4 if trial.types[2].shape[3] == 4 else 0
    ),
}
"""Bytes that torch keeps on CPUs beyond what its fused kernels, which the records describe, keep."""
each = pytest.mark.parametrize("sample", SAMPLES, ids=str)


def test_every_op_has_a_sample() -> None:
    assert {sample.op for sample in SAMPLES} == set(OPS)


@each
def test_shapes_and_kinds_are_those_of_torch(sample: Sample) -> None:
    trial = Trial(sample)
    results = trial.run()
    assert [tuple(r.shape) for r in results] == [actual(t.shape) for t in trial.inferred.outputs]
    assert [r.dtype for r in results] == [KINDS[t.kind] for t in trial.inferred.outputs]


@each
def test_parameters_are_those_of_the_module(sample: Sample) -> None:
    trial = Trial(sample)
    inferred = {p.name: (p.trained, tuple(p.shape), KINDS[p.kind]) for p in trial.inferred.parameters}
    owned = {}
    if trial.module is not None:
        trained = dict(trial.module.named_parameters())
        for name, value in trial.module.state_dict().items():
            owned[name] = (name in trained, tuple(value.shape), value.dtype)
    assert inferred == owned


@each
def test_flops_are_those_torch_counts(sample: Sample) -> None:
    trial = Trial(sample)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        trial.run()
    expected = counter.get_total_flops()
    if trial.attrs.get("causal"):
        expected = expected * (SIZES["S"] + 1) // (2 * SIZES["S"])
    assert substitute(trial.op.flops(trial.node, trial.types), SIZES) == expected


@each
def test_tensors_kept_for_backward(sample: Sample) -> None:
    trial = Trial(sample)
    if trial.op.category == "metric":
        return
    held: dict[int, int] = {}
    trial.run()  # fills the tables of rope, which are shared by all calls
    owned = list(trial.module.state_dict().values()) if trial.module else []
    known = {t.untyped_storage().data_ptr() for t in (*owned, *chain.from_iterable(_tables.values()))}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        results = trial.run()
    entries = kept(trial.op, trial.node, trial.types)
    unique = {value: tensor for value, tensor in entries if value is not None}
    tensors = [*unique.values(), *(tensor for value, tensor in entries if value is None)]
    size = {"float": 4, "int": 8, "bool": 1}
    predicted = sum(math.prod(actual(t.shape)) * size[t.kind] for t in tensors)
    extra = CPU_KEEPS.get(sample.op, lambda trial: 0)(trial)
    assert predicted + extra == sum(held.values()), (entries, results)


@each
def test_emitted_text(sample: Sample) -> None:
    trial = Trial(sample)
    text = trial.expression()
    assert ast.unparse(ast.parse(text, mode="eval")).replace("'", '"') == text
    if sample.expression is not None:
        assert text == sample.expression


@pytest.mark.parametrize("sample", [sample for sample in SAMPLES if sample.op == "rearrange"], ids=str)
def test_rearrange_moves_each_element_where_the_pattern_says(sample: Sample) -> None:
    trial = Trial(sample)
    (result,) = trial.run()
    left, right = parse(trial.attrs["pattern"])
    sizes = axis_sizes(trial.types[0], left, trial.attrs)
    axes = {axis: int(substitute(size, SIZES)) for axis, size in sizes.items()}  # type: ignore[arg-type]

    def place(side: Side, where: dict[str, int]) -> tuple[int, ...]:
        """Index of an element: within ( ) the last axis moves fastest."""
        return tuple(reduce(lambda total, axis: total * axes[axis] + where[axis], group, 0) for group in side)

    for indices in product(*(range(size) for size in axes.values())):
        where = dict(zip(axes, indices, strict=True))
        assert trial.values[0][place(left, where)] == result[place(right, where)]


OURS = [sample for sample in SAMPLES if "layers" in OPS[sample.op].imports and sample.op != "expert_linear"]


@pytest.mark.parametrize("sample", OURS, ids=str)
def test_layers_compile_without_a_graph_break(sample: Sample) -> None:
    """`expert_linear` is left out: off GPUs it splits by counts that only the run knows."""
    forward, arguments = Trial(sample).function()
    compiled = torch.compile(forward, backend="eager", fullgraph=True)
    for a, b in zip(as_tuple(forward(*arguments)), as_tuple(compiled(*arguments)), strict=True):
        torch.testing.assert_close(a, b)
