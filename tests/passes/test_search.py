"""The search: elimination against trying everything, trees of conversions, and the layouts that experts use."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from dskc.compiler.build import check, make_plan
from dskc.compiler.passes.shard import shard
from dskc.compiler.plan import Plan
from dskc.compiler.serialize import plan_data
from dskc.compiler.sharding.convert import Conversions
from dskc.compiler.sharding.eliminate import Table, minimise
from dskc.compiler.sharding.prices import Rates, rates_of
from dskc.compiler.sharding.search import Search
from dskc.compiler.verify import verify
from dskc.dsl.source import Source

from ..emission.compiled import example
from .examples import EXAMPLES, SEQUENCE, TENSOR, placed, placed_in, plan_of

MODEL = """dsk 1
import std.transformer
model m {
  forward(tokens: int[B, S], targets: int[B, S]) {
    x = embedding(tokens, size: 256, dim: 64)
    BODY
    logits = linear(x, out: 256) as head
    loss cross_entropy(logits, targets)
  }
}
data { source: text("{stdlib}/**/*.py"), tokenizer: bytes, sequence: 64 }
training { steps: 10 }
"""


def model(body: str, blocks: str = "") -> Source:
    return Source("m.dsk", MODEL.replace("BODY", body).replace("model m", f"{blocks}\nmodel m"))


@pytest.mark.parametrize("seed", range(20))
def test_elimination_finds_what_trying_everything_finds(seed: int) -> None:
    dice = random.Random(seed)
    names = "abcdef"
    values = {name: range(dice.randint(1, 3)) for name in names}
    tables = []
    for _ in range(7):
        chosen = tuple(dice.sample(names, dice.randint(1, 3)))
        keys = list(itertools.product(*(values[name] for name in chosen)))
        kept = [key for key in keys if dice.random() < 0.9] or keys[:1]
        tables.append(Table(chosen, {key: dice.random() for key in kept}))
    used = [name for name in names if any(name in table.names for table in tables)]
    keep = used[:2]

    found = minimise(tables, keep)

    best: dict[tuple[int, ...], float] = {}
    for assigned in itertools.product(*(values[name] for name in used)):
        one = dict(zip(used, assigned, strict=True))
        cost = total(tables, one)
        key = tuple(one[name] for name in keep)
        if cost is not None and cost < best.get(key, float("inf")):
            best[key] = cost
    assert set(found.costs) == set(best)
    for key, cost in found.costs.items():
        assert cost == pytest.approx(best[key])
        chosen_values = {str(name): value for name, value in found.decide(key).items()}
        assert total(tables, chosen_values) == pytest.approx(cost)


def total(tables: Sequence[Table], values: dict[str, int]) -> float | None:
    costs = [table.costs.get(tuple(values[str(name)] for name in table.names)) for table in tables]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def test_a_type_is_made_once_for_all_users_and_from_the_cheapest_one() -> None:
    prices = {("P", "I"): 2.0, ("P", "S1"): 1.0, ("S1", "I"): 1.0, ("S1", "R"): 2.0, ("I", "R"): 0.5}
    tree = Conversions(("P", "I", "R", "S1"), lambda a, b: prices.get((a, b))).tree

    assert tree("P", ("I",)) == (2.0, (("P", "I"),))
    assert tree("P", ("S1", "I")) == (2.0, (("P", "S1"), ("S1", "I")))
    assert tree("P", ("R",)) == (2.5, (("P", "I"), ("I", "R")))
    assert tree("R", ("I",)) is None
    assert tree("I", ("I",)) == (0.0, ())


def kinds(plan: Plan, body: str) -> list[str]:
    nodes = plan.nodes(body)
    return [f"{n.attrs['source']} -> {n.attrs['target']}" for n in nodes if n.op == "collective"]


def weights(plan: Plan, body: str) -> dict[str, str]:
    return {n.name: str(n.parameters[0].placement["tensor"]) for n in plan.nodes(body) if n.op == "linear"}


def test_it_finds_tensor_parallelism_of_megatron() -> None:
    """Shoeybi et al. 2019: columns, then rows; one pair of f and g in each half of a layer."""
    plan = placed_in("stdlib_gpt", "tensor")

    assert weights(plan, "self_attention") == {"query": "S(0)", "key": "S(0)", "value": "S(0)", "output": "S(1)"}
    assert weights(plan, "swiglu") == {"gate": "S(0)", "up": "S(0)", "down": "S(1)"}
    for body in ("self_attention", "swiglu"):
        assert kinds(plan, body) == ["I -> R", "P -> I"]
    assert kinds(plan, "layer") == []


def test_it_finds_sequence_parallelism() -> None:
    """Korthikanti et al. 2022: all-gather before each half of a layer, reduce-scatter after it, norms on parts."""
    plan = placed_in("stdlib_gpt", "sequence")

    for body in ("self_attention", "swiglu"):
        assert kinds(plan, body) == ["S(1) -> R", "P -> S(1)"]
    assert {str(n.placements[0]["tensor"]) for n in plan.nodes("layer")} == {"S(1)"}
    assert {sync.node for sync in plan.syncs} == {"attention_norm", "feed_forward_norm", "rms_norm"}


def test_a_large_model_is_laid_out_like_a_small_one() -> None:
    plan = placed("dense_100b")

    assert kinds(plan, "self_attention") == ["S(1) -> R", "P -> S(1)"]
    assert kinds(plan, "swiglu") == ["S(1) -> R", "P -> S(1)"]
    assert {sync.kind for sync in plan.syncs if sync.axis == "data"} == {"shard"}


def test_one_rank_leaves_the_plan_as_it_is() -> None:
    assert plan_data(placed("stdlib_gpt", last="precision")) == plan_data(placed("stdlib_gpt"))


RATES = Rates(1e15, 3e12, {"tensor": 400e9, "data": 50e9, "expert": 50e9})


def test_prices_are_those_of_the_cluster() -> None:
    def rates(*flags: str) -> Rates:
        found = check(example("stdlib_gpt"), None, flags).spec
        assert found is not None
        return rates_of(found)

    assert rates() == rates('cluster.gpu="H100"')
    other = rates('cluster.gpu="A100-80GB"', "cluster.network=link(bandwidth: 10 GB/s)", "parallel.world_size=16")
    assert other == Rates(312e12, 2039e9, {"tensor": 300e9, "data": 10e9, "expert": 10e9})
    wide = rates('cluster.gpu="A100-80GB"', "parallel.world_size=16", "parallel.tensor_model_parallel=16")
    assert wide.links["tensor"] == wide.links["data"] == 25e9


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_solved_exactly(name: str) -> None:
    plan = placed(name, last="precision")
    for axis in ("tensor", "data"):
        search = Search(plan, axis, 2, True, 2, RATES)
        search.problem("forward")

        assert set(search.levels.values()) == {0}


def test_a_thousand_layers_are_one_body() -> None:
    layer = "x = decoder_layer(x, heads: 4)"
    few, many = (plan_of(model(f"repeat {n} as layers {{ {layer} }}"), *TENSOR) for n in (2, 1_000))

    assert list(few.graphs) == list(many.graphs)
    assert [len(few.nodes(b)) for b in few.graphs] == [len(many.nodes(b)) for b in many.graphs]


def test_a_block_that_is_called_with_several_types_becomes_several() -> None:
    plan = plan_of(model("x = mlp(x) as first\nx = mlp(softmax(x)) as second"), *SEQUENCE)

    assert {node.body for node in plan.nodes("forward") if node.op == "call"} <= {"mlp", "mlp_2"}
    assert len({node.label for node in plan.nodes("forward") if node.op == "call"}) == 2


WIDE = """block wide(a: [B, S, D], b: [B, S, D], c: [B, S, D], d: [B, S, D], e: [B, S, D]) -> ([B, S, D], [B, S, D], [B, S, D]) {
  p = linear(a, out: D) as p
  q = linear(b + e, out: D) as q
  return (p + c, q * d, p + q)
}
"""  # noqa: E501 (a signature is one line)
SKIPS = "\n".join(f"x{i + 1} = mlp({' + '.join(f'x{j}' for j in range(i + 1))}) as m{i}" for i in range(8))


@pytest.mark.parametrize(
    "source",
    [
        model("(x, b, c) = wide(x, gelu(x), x, x, x)\nrepeat 3 as r { (x, b, c) = wide(x, b, c, x, b) }", WIDE),
        model(f"x0 = x\n{SKIPS}\nx = x8"),
    ],
    ids=["many inputs", "every layer reads all before it"],
)
def test_bodies_that_hang_together_are_solved_soon_and_still_split_every_matrix(source: Source) -> None:
    checked = check(source, None, TENSOR)
    assert checked.spec is not None
    assert checked.lowered is not None
    plan = verify(shard(make_plan(checked.spec, checked.lowered, "precision"), checked.spec))

    for body in plan.graphs:
        assert all(place.startswith("S") for place in weights(plan, body).values())
