"""Every row of every op against one process, in float64, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from dskc.compiler.dims import symbols
from dskc.compiler.ops import OPS
from dskc.compiler.placement import INVARIANT, PARTIAL, REPLICATED, Axis, Row
from dskc.compiler.rows import rows_of
from dskc.runtime import layers

from .op_samples import SAMPLES, Sample, Trial, s
from .split_ops import check_local_shapes, check_row, local_node, sizes_of


def masked(sample: Sample) -> Sample:
    """A loss as the sharding pass marks it where targets may be ignored."""
    return replace(sample, attrs={**sample.attrs, "masked": True})


HEADS = ("query: B 4 S 8", "key: B 4 S 8", "value: B 4 S 8")
FURTHER = (
    s("linear", "x: B S 16", out=8, bias=True),
    s("linear", "x: 16", out=8),
    s("conv2d", "x: B 4 8 8", out=8, kernel=3),
    s("conv2d", "x: B 8 8 8", out=16, kernel=3, groups=8),
    s("group_norm", "x: B 8 4 4", groups=4),
    s("batch_norm", "x: B 8 S"),
    s("max_pool", "x: B 4 8 8", kernel=2),
    s("global_average_pool", "x: B 4 8 8"),
    s("scaled_dot_product_attention", *HEADS, "mask: 4 S S"),
    s("scaled_dot_product_attention", *HEADS, "mask: B 1 1 S"),
    s("scaled_dot_product_attention", *HEADS, dropout=0.2),
    s("flatten", "x: B 4 S 3", start=1, end=2),
    s("rearrange", "x: B 8 4 S", pattern="b (h p) d s -> (h s) b (p d)", p=2),
    s("rearrange", "x: B S 8", pattern="b s d -> (s b) d"),
    s("expand", "x: 1 8", shape=(4, 8)),
    s("mean", "x: B S", dim=(0,)),
    s("softmax", "x: B 4 S S"),
    s("route", "x: B 8", experts=4, top=1),
    s("cross_entropy", "logits: B S 12", "targets: int B S < 12", label_smoothing=0.2, ignore=5),
    s("kl_divergence", "student: B 4 S 6", "teacher: B 4 S 6"),
    s("binary_cross_entropy", "logits: B 4", "targets: B 4"),
    s("accuracy", "logits: B S 12", "targets: int B S < 12", ignore=5),
    s("perplexity", "logits: B S 12", "targets: int B S < 12", ignore=5),
)
ALL = tuple(masked(sample) if "ignore" in sample.attrs else sample for sample in (*SAMPLES, *FURTHER))
AXES_AND_SIZES: tuple[tuple[Axis, int], ...] = (("tensor", 2), ("tensor", 4), ("data", 2))
each = pytest.mark.parametrize("sample", ALL, ids=str)


@pytest.fixture(autouse=True)
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is fp32 in a program is float64 here, so that a wrong rule is not taken for rounding."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(usual)


def text(row: Row) -> str:
    inputs, parameters, outputs = (", ".join(map(str, p)) for p in (row.inputs, row.parameters, row.outputs))
    return f"{inputs} | {parameters} -> {outputs}"


def test_every_op_has_a_rule() -> None:
    assert [name for name, op in OPS.items() if op.sharding is None] == []


@each
def test_ranks_compute_what_one_process_does(sample: Sample) -> None:
    for axis, size in AXES_AND_SIZES:
        trial = Trial(sample, sizes_of(axis, size))
        for row in rows_of(trial.node, trial.types, axis, size, sequence_parallel=True):
            if sample.op == "dispatch" and row.outputs[0].dim == 0:
                continue  # each rank sorts its own: see test_experts
            if row.outputs[0].dim == 0 and (trial.attrs.get("rate") or trial.attrs.get("dropout")):
                continue  # each rank draws its own
            try:
                check_local_shapes(trial, axis, size, row)
                check_row(sample, axis, size, row)
            except Exception as error:
                raise AssertionError(f"{axis} {size}: {text(row)}\n{error!r}") from error


def test_batch_norm_of_ranks_evaluates_as_one_process_does() -> None:
    for sample in (s("batch_norm", "x: B 6 4 4"), s("batch_norm", "x: B 6")):
        trial = Trial(sample, sizes_of("data", 2))
        (row,) = [row for row in rows_of(trial.node, trial.types, "data", 2) if row.moves]
        check_row(sample, "data", 2, row, training=False)


SENSITIVE = [
    sample
    for sample in ALL
    if sample.op
    in ("linear", "embedding", "parameter", "conv2d", "rms_norm", "group_norm", "batch_norm", "add", "multiply")
    or sample.op
    in ("rearrange", "scaled_dot_product_attention", "matmul", "concat", "mean", "sum", "combine", "expand")
    or sample.op in ("cross_entropy", "mse", "contrastive", "expert_linear", "where")
]


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("sample", SENSITIVE, ids=str)
def test_a_row_with_one_type_wrong_is_noticed(sample: Sample) -> None:
    for axis in ("data", "tensor"):
        trial = Trial(sample, sizes_of(axis, 2))
        right = rows_of(trial.node, trial.types, axis, 2, sequence_parallel=True)
        for row in right[1:]:
            for wrong in _wrong(trial, row):
                if wrong not in right and not (sample.op in ("mean", "mse", "cross_entropy") and _shares(wrong)):
                    assert not _passes(sample, axis, wrong), f"{axis}: {text(wrong)} passed"


def _passes(sample: Sample, axis: Axis, row: Row) -> bool:
    try:
        check_row(sample, axis, 2, row)
    except Exception:
        return False  # the result is wrong, or shapes do not even fit
    return True


def _shares(row: Row) -> bool:
    """Each rank's mean of the same values, divided by their number, is a share of the mean: right, but of no use."""
    return {*row.inputs} == {REPLICATED} and row.outputs == (PARTIAL,)


def _wrong(trial: Trial, row: Row) -> Iterator[Row]:
    """The row with another type in one place that carries gradients."""
    places = [*row.inputs, *row.parameters, *row.outputs]
    inputs, parameters = len(row.inputs), len(row.parameters)
    learns = [x.kind == "float" for x in trial.types], [p.trained for p in trial.node.parameters]
    differs = [*learns[0], *learns[1], *(x.kind == "float" for x in trial.node.outputs)]
    for i, kind in product(range(len(places)), (INVARIANT, REPLICATED, PARTIAL)):
        if differs[i] and places[i] != kind:
            changed = (*places[:i], kind, *places[i + 1 :])
            yield Row(
                changed[:inputs], changed[inputs : inputs + parameters], changed[inputs + parameters :], row.moves
            )


def splits(
    op: str, *inputs: str, axis: Axis = "tensor", size: int = 2, sequence: bool = False, **attrs: Any
) -> set[str]:
    """The rows of a call other than all I and all R, as text."""
    trial = Trial(s(op, *inputs, **attrs), sizes_of(axis, size))
    return {text(row) for row in rows_of(trial.node, trial.types, axis, size, sequence)[2:]}


def test_rows_of_a_linear_layer_are_those_of_megatron() -> None:
    column, row, partial = "R | S(0), S(0) -> S(2)", "S(2) | S(1), P -> P", "P | R, P -> P"
    assert splits("linear", "x: B S 16", out=8, bias=True) == {column, row, partial}
    assert splits("linear", "x: B S 15", out=8, bias=True) == {column, partial}
    assert splits("linear", "x: B S 16", out=8, bias=True, size=16) == {row, partial}


def test_the_sequence_is_split_with_sequence_parallelism_only() -> None:
    for sample in ALL:
        trial = Trial(sample, sizes_of("tensor", 2))
        for row in rows_of(trial.node, trial.types, "tensor", 2, sequence_parallel=False):
            tensors = (*trial.types, *trial.node.outputs)
            for tensor, place in zip(tensors, (*row.inputs, *row.outputs), strict=True):
                assert place.dim is None or not symbols(tensor.shape[place.dim]), text(row)
    assert splits("rms_norm", "x: B S 16") == set()
    assert splits("rms_norm", "x: B S 16", sequence=True) == {"S(1) | R -> S(1)"}


def test_the_data_axis_splits_the_batch_only() -> None:
    for sample in ALL:
        trial = Trial(sample, sizes_of("data", 3))
        for row in rows_of(trial.node, trial.types, "data", 3, sequence_parallel=True):
            tensors = (*trial.types, *trial.node.outputs)
            for tensor, place in zip(tensors, (*row.inputs, *row.outputs), strict=True):
                assert place.dim is None or "B" in symbols(tensor.shape[place.dim]), text(row)
            assert all(place.dim is None for place in row.parameters), text(row)


def test_heads_are_split_where_queries_and_keys_divide() -> None:
    query, few = "query: B 8 S 4", ("key: B 2 S 4", "value: B 2 S 4")
    assert splits("scaled_dot_product_attention", query, *few) == {"S(1), S(1), S(1) |  -> S(1)"}
    assert splits("scaled_dot_product_attention", query, *few, size=4) == set()


def test_random_numbers_are_those_of_one_process_on_the_tensor_axis() -> None:
    heads = ("query: B 8 S 4", "key: B 8 S 4", "value: B 8 S 4")
    assert splits("dropout", "x: B S 8", rate=0.5, sequence=True) == set()
    assert splits("dropout", "x: B S 8", rate=0.5, axis="data") == {"S(0) |  -> S(0)"}
    assert splits("scaled_dot_product_attention", *heads, dropout=0.1) == set()


def test_a_composite_dimension_splits_by_its_outer_factor() -> None:
    assert splits("rearrange", "x: B 6 4", pattern="b (h d) e -> b (h e) d", h=3) == {"P |  -> P"}
    assert "S(1) |  -> S(1)" in splits("rearrange", "x: B 6 4", pattern="b (h d) e -> b (h e) d", h=2)
    assert splits("group_norm", "x: B 6 4 4", groups=3) == set()
    assert splits("group_norm", "x: B 8 4 4", groups=4) == {"S(1) | S(0), S(0) -> S(1)"}


def test_experts_of_each_rank_for_its_own_samples() -> None:
    """Rows of `dispatch` are sorted on each rank, so that they are compared at the end of the way of the tokens."""
    own = {
        "route": splits("route", "x: B S 8", experts=4, top=2, axis="data"),
        "dispatch": splits("dispatch", "x: B S 8", "chosen: int B S 2 < 4", experts=4, axis="data"),
        "expert_linear": splits("expert_linear", "rows: B 8", "sizes: sizes 4", out=6, axis="data"),
        "combine": splits("combine", "rows: B 8", "order: order B", "weights: B 1", axis="data"),
    }
    assert "S(0) | R, R -> S(0), S(0)" in own["route"]
    assert "S(0), S(0) |  -> S(0), P, S(0)" in own["dispatch"]
    assert "S(0), P | R -> S(0)" in own["expert_linear"]
    assert "S(0), S(0), S(0) |  -> S(0)" in own["combine"]

    torch.manual_seed(0)
    router, up = layers.Router(8, 4, 2), layers.ExpertLinear(4, 8, 6)
    torch.nn.init.normal_(router.weight)
    torch.nn.init.normal_(up.weight)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weights, chosen = router(x)
        rows, sizes, order = layers.dispatch(x, chosen, 4)
        result = layers.combine(up(rows, sizes), order, weights)
        load = router.load.clone()
        router.load.zero_()
        return result, sizes, load

    x, gradient = torch.randn(6, 5, 8), torch.randn(6, 5, 6)
    parts = [run(part) for part in x.chunk(3)]
    for whole, found in zip(run(x)[1:], ([part[i] for part in parts] for i in (1, 2)), strict=True):
        torch.testing.assert_close(sum(found), whole)
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), run(x)[0])
    trained = (router.weight, up.weight)
    grads = [torch.autograd.grad(y, trained, g) for (y, *_), g in zip(parts, gradient.chunk(3), strict=True)]
    for i, whole in enumerate(torch.autograd.grad(run(x)[0], trained, gradient)):
        torch.testing.assert_close(sum(grad[i] for grad in grads), whole)


WRITTEN: list[tuple[Sample, str, Axis, str, str | None]] = [
    (s("linear", "x: B S 16", out=8, bias=True), "S(2) | S(1), P -> P", "tensor", "self.label(x)",
     "layers.RowLinear(8, 8, TENSOR)"),
    (s("linear", "x: B S 16", out=8, bias=True), "R | S(0), S(0) -> S(2)", "tensor", "self.label(x)",
     "nn.Linear(16, 4)"),
    (s("embedding", "x: int B S < 10", size=10, dim=16), "R | S(0) -> P", "tensor", "self.label(x)",
     "layers.SplitEmbedding(5, 16, TENSOR)"),
    (s("conv2d", "x: B 8 8 8", out=16, kernel=3, groups=8), "S(1) | S(0) -> S(1)", "tensor", "self.label(x)",
     "nn.Conv2d(4, 8, 3, groups=4, bias=False)"),
    (s("batch_norm", "x: B 6"), "S(0) | R, R, R, R, R -> S(0)", "data", "self.label(x)",
     "layers.SplitBatchNorm(6, DATA, eps=1e-05, momentum=0.1)"),
    (s("rearrange", "x: B S 16", pattern="b s (h d) -> b h s d", h=4), "S(2) |  -> S(1)", "tensor",
     "x.unflatten(-1, (2, 4)).transpose(1, 2)", None),
    (s("mean", "x: B 4", dim=(0,)), "S(0) |  -> P", "data", "x.mean(0) / DATA.size", None),
    (s("mse", "prediction: B 4", "target: B 4"), "S(0), S(0) |  -> P", "data",
     "F.mse_loss(prediction.float(), target.float()) / DATA.size", None),
    (s("contrastive", "a: B 8", "b: B 8", "scale:"), "S(0), S(0), R |  -> P", "data",
     "layers.split_contrastive(a, b, scale, DATA)", None),
    (s("cross_entropy", "logits: B S 10", "targets: int B S < 10"), "S(0), S(0) |  -> P", "data",
     "layers.cross_entropy(logits, targets, total=targets.numel() * DATA.size)", None),
    (s("cross_entropy", "logits: B 10", "targets: int B < 10", ignore=3, masked=True), "S(0), S(0) |  -> P", "data",
     "layers.cross_entropy(logits, targets, ignore=3, total=layers.counted(targets, DATA, ignore=3))", None),
    (s("cross_entropy", "logits: B S 10", "targets: int B S < 10"), "S(2), R |  -> I", "tensor",
     "layers.split_cross_entropy(logits, targets, TENSOR)", None),
    (s("perplexity", "logits: B 10", "targets: int B < 10", ignore=0), "S(0), S(0) |  -> I", "data",
     "layers.perplexity(logits, targets, DATA, ignore=0)", None),
]  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: f"{case[0]} {case[1]}")
def test_text_and_memory_of_split_ops(case: tuple[Sample, str, Axis, str, str | None]) -> None:
    sample, wanted, axis, expression, module = case
    trial = Trial(sample, sizes_of(axis, 2))
    rows = rows_of(trial.node, trial.types, axis, 2)
    (row,) = [row for row in rows if text(row) == wanted]
    node, types = local_node(trial, axis, 2, row)
    args = {name: name for name in trial.names}
    assert trial.op.emit(node, types, args, "self.label") == expression
    assert (trial.op.module(node) if trial.op.module else None) == module
    for rank in check_row(sample, axis, 2, row):
        assert rank.predicted() == sum(rank.kept.values())
