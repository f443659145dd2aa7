"""The pass: which stage gets what, and what it refuses."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from dskc.compiler.emit.tree import owned
from dskc.compiler.lower.parameters import total
from dskc.compiler.passes.cost import model_cost
from dskc.compiler.pipeline.edges import edges
from dskc.compiler.pipeline.timeline import stage_times
from dskc.compiler.plan import Plan

from .specs import EXAMPLES, SETTINGS, SKIPS, cut, plan_of

DEEP = """dsk 1
model deep {
  block layer(x: [B, S, 32]) { return x + mlp(rms_norm(x), hidden: 64) }
  forward(tokens: int[B, S], targets: int[B, S]) {
    x = embedding(tokens, size: data.vocab, dim: 32)
    repeat %d as layers { x = layer(x) }
    loss cross_entropy(linear(x, out: data.vocab), targets)
  }
}
""" + SETTINGS  # fmt: skip


def iterations(plan: Plan, label: str) -> list[int]:
    return [
        i
        for s in plan.stages
        for name, first, count in s.iterations
        if name == label
        for i in range(first, first + count)
    ]


def test_without_a_pipeline_the_plan_stays_as_it_is() -> None:
    plan, _, _ = plan_of(SKIPS)
    assert plan is not None

    assert plan.stages == ()
    assert plan.roots == ("forward",)


@pytest.mark.parametrize("depth", [8, 80, 1000])
def test_a_repeat_is_split_by_its_count(depth: int) -> None:
    plan = cut(DEEP % depth, 4)

    assert iterations(plan, "layers") == list(range(depth))
    assert len({stage.body for stage in plan.stages}) <= 4
    assert all(len(plan.nodes(stage.body)) < 10 for stage in plan.stages)


def test_equal_stages_share_a_body() -> None:
    plan = cut(DEEP % 1000, 8)

    assert len({stage.body for stage in plan.stages[1:-1]}) <= 2
    assert len({stage.iterations for stage in plan.stages}) == 8


@pytest.mark.parametrize("stages", [2, 3, 4, 5])
def test_what_is_sent_is_what_the_next_stage_receives(stages: int) -> None:
    plan = cut(SKIPS, stages)

    for (before, after), crossing in zip(pairwise(plan.stages), edges(plan), strict=True):
        inputs = [n for n in plan.nodes(after.body) if n.op == "input"][: len(after.receives)]
        assert before.sends == after.receives
        assert [n.outputs[0] for n in inputs] == [plan.tensor(before.body, v) for v in plan.results[before.body]]
        assert len(crossing) == len(after.receives)
        assert any(each.gradient for each in crossing)


@pytest.mark.parametrize("stages", [2, 4])
@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.dsk")))
def test_every_parameter_is_on_a_stage_and_work_is_even(name: str, stages: int) -> None:
    layout = [
        f"parallel.{k}={v}"
        for k, v in {
            "world_size": stages, "pipeline_depth": stages, "gpu_per_node": stages, "sequence_parallel": "false",
            "tensor_model_parallel": 1, "shard": "none", "schedule": "one_f_one_b",
        }.items()
    ]  # fmt: skip
    plan, _, sink = plan_of(
        (EXAMPLES / f"{name}.dsk").read_text(), *layout, "training.gradient_accumulation=8", "memory.checkpointing=off"
    )
    assert plan is not None, list(sink)
    bodies = plan.bodies
    whole = {p.path for p in owned(bodies, (bodies["forward"],))}
    held = [p.path for s in plan.stages for p in owned(bodies, (bodies[s.body],))]
    counts = [model_cost_of(plan, stage.body) for stage in plan.stages]
    copies = sum(number(plan, path) for path, n in copied(plan).items() for _ in range(n - 1))

    assert set(held) == whole
    assert sum(counts) - copies == model_cost(plan).parameters == total(bodies, plan.sizes)
    times = [time.forward for time in stage_times(plan)]
    assert sum(times) == pytest.approx(sum(whole_work(plan)))


def model_cost_of(plan: Plan, body: str) -> int:
    return sum(node.cost.parameters for node in plan.nodes(body) if node.cost)


def copied(plan: Plan) -> dict[str, int]:
    """Parameters with the number of stages that hold them."""
    labels = {(s.body, n.name): n.label for s in plan.stages for n in plan.nodes(s.body)}
    return {f"{labels[s.body, s.node]}.{s.parameter}": len(s.stages) for s in plan.syncs if s.axis == "pipeline"}


def number(plan: Plan, path: str) -> int:
    bodies = plan.bodies
    found = next(p for p in owned(bodies, (bodies["forward"],)) if p.path == path)
    count = int(found.parameter.trained)
    for size in found.parameter.shape:
        count *= int(size)  # type: ignore[arg-type]
    return count


def whole_work(plan: Plan) -> list[float]:
    from .specs import number as value

    return [value(plan, node.cost.flops) for node in plan.nodes("forward") if node.cost]


def test_stages_that_use_one_parameter_are_kept_in_step() -> None:
    plan = cut(SKIPS, 4)
    synced = {(s.body, s.node, s.parameter): s.stages for s in plan.syncs if s.axis == "pipeline"}
    labels = {(body, n.name): n.label for body in plan.roots for n in plan.nodes(body)}
    holders = {labels[body, node] for body, node, _ in synced}

    assert holders == {"embedding"}
    assert set(synced.values()) == {(0, 3)}
    assert all(s.kind == "all_reduce" for s in plan.syncs if s.axis == "pipeline")


def test_too_few_cuts() -> None:
    plan, _, sink = plan_of(DEEP % 2, *(f"parallel.{name}=8" for name in ("world_size", "pipeline_depth")))
    (found,) = sink

    assert plan is None
    assert found.code == "E0405"
    assert found.message == "the pipeline has 8 stages, but the model can be cut into 5 parts at most"
    assert found.help == "set `pipeline_depth` to 5, or repeat more layers"


def test_two_chunks_need_twice_the_parts() -> None:
    asked = ("parallel.world_size=4", "parallel.pipeline_depth=4", "parallel.schedule=interleaved(2)")
    _, _, sink = plan_of(DEEP % 2, *asked)
    (found,) = sink

    assert (
        found.message == "the pipeline has 4 ranks x 2 chunks = 8 stages, but the model can be cut into 5 parts at most"
    )
    assert found.help == "set `pipeline_depth` to 2, or repeat more layers"


@pytest.mark.parametrize(("chunks", "change"), [(9, "interleaved(2)"), (3, "one_f_one_b")])
def test_chunks_that_no_pipeline_has_room_for(chunks: int, change: str) -> None:
    depth = 2 if chunks == 9 else 5
    asked = [f"parallel.{name}={depth}" for name in ("world_size", "pipeline_depth")]
    asked += [f"parallel.schedule=interleaved({chunks})", "training.gradient_accumulation=20"]
    _, _, sink = plan_of(DEEP % 2, *asked)
    (found,) = (each for each in sink if each.code == "E0405")

    assert found.help == f"set `schedule` to `{change}`, or repeat more layers"


BARE = (
    """dsk 1
model bare {
  forward(tokens: int[B, S], targets: int[B, S]) {
    x = gelu(linear(embedding(tokens, size: data.vocab, dim: 16), out: 32) as up)
    loss cross_entropy(linear(x, out: data.vocab) as down, targets)
  }
}
"""
    + SETTINGS
)


def test_each_rank_has_something_to_train() -> None:
    plan, _, sink = plan_of(BARE, "parallel.world_size=4", "parallel.pipeline_depth=4")
    (found,) = (each for each in sink if each.code == "E0405")

    assert plan is None
    assert found.message == "rank 2 of the pipeline has no parameters to train"
    assert found.help == "set `pipeline_depth` to 3, or repeat more layers"
    assert plan_of(BARE, "parallel.world_size=3", "parallel.pipeline_depth=3")[0] is not None


@pytest.mark.parametrize("data", [1, 2])
def test_blocks_that_another_stage_owns_lie_on_the_other_axes_too(data: int) -> None:
    sizes = {"world_size": 8 * data, "pipeline_depth": 4, "tensor_model_parallel": 2, "data_parallel": data}
    plan, _, sink = plan_of(SKIPS, *(f"parallel.{name}={size}" for name, size in sizes.items()))

    assert plan is not None, list(sink)
    assert any(node.op == "hold" and node.body is not None for stage in plan.stages for node in plan.nodes(stage.body))


def test_interleaved_and_v_placement() -> None:
    loop = cut(DEEP % 8, 2, "parallel.schedule=interleaved(2)")
    v = cut(DEEP % 8, 2, "parallel.schedule=zero_bubble(chunks: 2)")

    assert [stage.rank for stage in loop.stages] == [0, 1, 0, 1]
    assert [stage.rank for stage in v.stages] == [0, 1, 1, 0]


def test_a_plan_with_stages_can_be_written() -> None:
    from dskc.compiler.serialize import plan_data

    assert json.dumps(plan_data(cut(SKIPS, 3)))


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        ("E0404", ("training.gradient_accumulation=3",)),
        ("E0404", ("training.gradient_accumulation=9", "parallel.schedule=zero_bubble()")),
        ("E0407", ("parallel.data_parallel=2", "parallel.shard=parameters", "parallel.schedule=zero_bubble()")),
        ("E0701", ("training.execution=compiled",)),
    ],
)
def test_refused(code: str, flags: tuple[str, ...]) -> None:
    asked = {"parallel.world_size": "8" if "parallel.data_parallel=2" in flags else "4", "parallel.pipeline_depth": "4"}
    text = SKIPS.replace("gradient_accumulation: 24", "seed: 1") if any("accum" in flag for flag in flags) else SKIPS
    plan, _, sink = plan_of(text, *(f"{k}={v}" for k, v in asked.items()), *flags)

    assert plan is None
    assert code in {found.code for found in sink}
