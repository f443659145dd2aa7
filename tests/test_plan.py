"""The plan: sizes of known models, verification that catches broken plans, formats and costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dskc.compiler.build import check, make_plan
from dskc.compiler.dims import substitute
from dskc.compiler.lower.parameters import owned, total
from dskc.compiler.memory import KINDS, memory_of
from dskc.compiler.node import Node
from dskc.compiler.passes import PASSES
from dskc.compiler.passes.cost import model_cost
from dskc.compiler.plan import Plan
from dskc.compiler.report import rows
from dskc.compiler.serialize import plan_data
from dskc.compiler.verify import PlanError, verify
from dskc.dsl.source import Source
from dskc.dsl.spec import Spec

EXAMPLES = Path(__file__).parents[1] / "examples"
ALL = sorted(path.stem for path in EXAMPLES.glob("*.dsk"))


def plan_of(name: str, *overrides: str) -> tuple[Plan, Spec]:
    path = EXAMPLES / f"{name}.dsk"
    checked = check(Source(path.name, path.read_text()), None, overrides)
    assert checked.spec is not None, list(checked.sink)
    assert checked.lowered is not None, list(checked.sink)
    return make_plan(checked.spec, checked.lowered), checked.spec


# From the published models: torchvision's resnet50, openai/clip-vit-base-patch32, and bert-base-uncased's masked
# language model (109,514,298) without its two token-type vectors (2 x 768).
@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet50", 25_557_032), ("clip", 151_277_313), ("bert", 109_514_298 - 2 * 768)]
)
def test_published_models_have_their_number_of_parameters(name: str, parameters: int) -> None:
    plan, _ = plan_of(name)

    assert model_cost(plan).parameters == parameters


@pytest.mark.parametrize("name", ALL)
def test_parameters_by_path_and_by_component_agree(name: str) -> None:
    plan, _ = plan_of(name)
    paths = [each.path for each in owned(plan.bodies)]

    assert len(paths) == len(set(paths))
    assert model_cost(plan).parameters == total(plan.bodies, plan.sizes)
    assert model_cost(plan).parameters == sum(row.parameters for row in rows(plan) if row.depth == 0)


@pytest.mark.parametrize("name", ALL)
def test_every_example_passes_verification_after_each_pass(name: str) -> None:
    path = EXAMPLES / f"{name}.dsk"
    checked = check(Source(path.name, path.read_text()))
    assert checked.spec is not None
    assert checked.lowered is not None

    for last in ("lower", *(apply.__name__ for apply in PASSES)):
        plan = make_plan(checked.spec, checked.lowered, last)
        assert json.loads(json.dumps(plan_data(plan))) == plan_data(plan)


def broken(change: str) -> Plan:
    plan, _ = plan_of("stdlib_gpt")

    def rewrite(body: str, node: Node) -> Node:
        if body != "forward":
            return node
        if change == "unknown op" and node.op == "rms_norm":
            return replace(node, op="no_such_op")
        if change == "missing body" and node.op == "repeat":
            return replace(node, body="nowhere")
        if change == "other shape" and node.op == "repeat":
            return replace(node, outputs=(replace(node.outputs[0], shape=(1, 2, 3)),))
        if change == "other input" and node.op == "rms_norm":
            return replace(node, inputs=(("tokens", 0),))
        if change == "no repetition" and node.op == "repeat":
            return replace(node, count=0)
        if change == "doubled label" and node.op == "linear":
            return replace(node, label="embedding")
        return node

    return plan.rewrite(rewrite)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("unknown op", "unknown op `no_such_op`"),
        ("missing body", "its body `nowhere` does not exist"),
        ("other shape", "has outputs"),
        ("other input", "are not its inputs"),
        ("no repetition", "runs 0 times"),
        ("doubled label", "label `embedding` names 2 calls"),
    ],
)
def test_verification_names_what_is_broken(change: str, message: str) -> None:
    with pytest.raises(PlanError, match="after a test") as caught:
        verify(broken(change), after="a test")

    assert message in str(caught.value)


def test_a_plan_in_a_circle_is_refused() -> None:
    plan, _ = plan_of("stdlib_gpt")
    circular = plan.rewrite(lambda body, node: replace(node, body="layer") if node.body == "swiglu" else node)

    with pytest.raises(PlanError, match="circle"):
        verify(circular)


def test_autocast_formats() -> None:
    plan, _ = plan_of("stdlib_gpt")
    formats = {node.name: node.dtypes for body in plan.graphs for node in plan.nodes(body)}

    assert formats["tokens"] == ("int64",)
    assert formats["query"] == ("bf16",)
    assert formats["attention_norm"] == ("fp32",)
    assert formats["h"] == ("fp32",)
    assert formats["logits"] == ("bf16",)


def test_full_precision_has_no_low_format() -> None:
    plan, _ = plan_of("stdlib_gpt", "precision.compute=fp32")

    assert {d for body in plan.graphs for node in plan.nodes(body) for d in node.dtypes} == {"fp32", "int64"}


def test_a_repeat_costs_its_body_times_its_count() -> None:
    shallow, _ = plan_of("stdlib_gpt", "model.depth=1")
    deep, _ = plan_of("stdlib_gpt", "model.depth=1000")
    per_layer = 6 * 256 + 4_426_752 - 6 * 256  # of six layers

    difference = model_cost(deep).parameters - model_cost(shallow).parameters

    assert difference == 999 * per_layer // 6
    assert len(plan_data(deep)["bodies"]) == len(plan_data(shallow)["bodies"])


def test_flops_of_a_language_model_are_two_for_each_weight_and_token_and_attention() -> None:
    plan, _ = plan_of("stdlib_gpt")
    tokens, matrices = 8 * 256, 5_475_584 - 524_288 - 13 * 256
    pairs = 256 * 257 // 2  # a causal mask leaves each token its past and itself
    attention = 6 * 2 * (2 * 8 * 8 * pairs * 32)  # layers x two products, heads of 32

    assert substitute(model_cost(plan).flops, plan.sizes) == 2 * matrices * tokens + attention


def test_memory_counts_each_kind_once() -> None:
    plan, spec = plan_of("stdlib_gpt")
    (used,) = memory_of(plan, spec)

    assert used.parameters == used.gradients == 4 * 5_475_584
    assert used.optimizer == 2 * used.parameters
    assert used.peak == sum(getattr(used, kind) for kind in KINDS)
