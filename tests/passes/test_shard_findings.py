"""What the sharding pass says of a spec: sizes that do not divide are named, with sizes that do."""

from __future__ import annotations

import pytest

from dskc.compiler.build import check, planned
from dskc.dsl.diagnostics import Diagnostic
from dskc.dsl.source import Source

from .examples import plan_of, source_of


def findings(name: str, *overrides: str) -> list[Diagnostic]:
    checked = check(source_of(name), None, overrides)
    assert checked.lowered is not None, [d.message for d in checked.sink]
    planned(checked, "shard")
    return list(checked.sink)


@pytest.mark.parametrize(
    ("name", "ranks", "size", "help"),
    [
        ("deepseek_small", 4, 6, "set `tensor_model_parallel` to 2, or the size to 4 or 8"),  # heads
        ("stdlib_gpt", 8, 4, "set `tensor_model_parallel` to 4, or the size to 8"),  # heads of keys and values
        ("digits", 3, 32, "set `tensor_model_parallel` to 1, or the size to 30 or 33"),  # channels
    ],
)
def test_a_size_that_does_not_divide(name: str, ranks: int, size: int, help: str) -> None:
    found = findings(name, f"parallel.world_size={ranks}", f"parallel.tensor_model_parallel={ranks}")

    assert [d.code for d in found] == ["E0411"]
    assert found[0].message.startswith(f"{size} does not divide by `tensor_model_parallel` {ranks}: ")
    assert found[0].help == help


def test_classes_that_do_not_divide_are_summed_over_their_inputs() -> None:
    assert findings("vit_digits", "parallel.world_size=4", "parallel.tensor_model_parallel=4") == []


def test_a_sequence_that_does_not_divide() -> None:
    layout = ("parallel.world_size=2", "parallel.tensor_model_parallel=2", "parallel.sequence_parallel=true")
    (found,) = findings("stdlib_gpt", "data.sequence=255", *layout)

    assert found.code == "E0411"
    assert "the sequence of 255 does not divide by `tensor_model_parallel` 2" in found.message
    assert found.help is not None
    assert "256" in found.help


def test_sequence_parallelism_without_a_sequence_is_told() -> None:
    layout = ("parallel.world_size=2", "parallel.tensor_model_parallel=2", "parallel.sequence_parallel=true")
    (found,) = findings("digits", *layout)

    assert (found.code, found.severity) == ("W0915", "warning")
    assert "0 have a sequence `S`" in found.message


@pytest.mark.parametrize(
    ("ranks", "help"),
    [
        (3, "set `expert_parallel` to 1, or `experts` to 15 or 18"),
        (6, "set `expert_parallel` to 2, or `experts` to 12 or 18"),
        (32, "set `expert_parallel` to 16, or `experts` to 32"),
    ],
)
def test_experts_that_do_not_divide(ranks: int, help: str) -> None:
    flags = ("training.micro_batch_size=1", f"parallel.world_size={ranks}", f"parallel.expert_parallel={ranks}")
    (found,) = findings("deepseek_small", *flags)

    assert found.code == "E0411"
    assert found.message == f"16 experts do not divide by `expert_parallel` {ranks}"
    assert found.help == help
    assert "16 experts" in found.labels[0].message


def test_a_model_without_experts() -> None:
    (found,) = findings("stdlib_gpt", "parallel.world_size=2", "parallel.expert_parallel=2")

    assert found.code == "E0412"
    assert "has no experts" in found.message


WHOLE = """\
dsk 1
model m {
  forward(x: [B, 16], y: int[B]) {
    (weights, chosen) = route(x, experts: 4, top: 2) as router
    (rows, sizes, order) = dispatch(x, chosen, experts: 4)
    h = expert_linear(rows, sizes, out: 16) as up
    z = combine(CHANGED, order, weights)
    loss cross_entropy(linear(z, out: 10), y)
  }
}
data { source: random() }
training { steps: 1 }
parallel { world_size: 2, expert_parallel: 2 }
"""


@pytest.mark.parametrize("changed", ["h", "silu(h) * h + 1", "rms_norm(h) as norm", "softmax(h, dim: 1)"])
def test_rows_go_through_ops_that_take_each_by_itself(changed: str) -> None:
    plan = plan_of(Source("m.dsk", WHOLE.replace("CHANGED", changed)))
    (combined,) = [node for node in plan.nodes("forward") if node.op == "combine"]
    assert [axis for axis, _ in combined.moves] == ["expert"]


@pytest.mark.parametrize(
    "changed",
    [
        "h - mean(h, dim: 0, keep: true)",  # over all rows
        "softmax(h, dim: 0)",
        "batch_norm(h) as norm",
        "h * expand(reshape_like, shape: (B * 2, 16))",  # samples beside rows
    ],
)
def test_ops_over_rows_leave_experts_whole_which_is_refused(changed: str) -> None:
    text = WHOLE.replace("CHANGED", changed).replace("reshape_like", "slice(h, dim: 0, stop: 1)")
    checked = check(Source("m.dsk", text), None, ())
    assert checked.lowered is not None, [d.message for d in checked.sink]
    planned(checked, "shard")
    (found,) = checked.sink
    assert found.code == "E0412"
    assert found.message == "`h` cannot be split over the 2 ranks of the expert axis"
