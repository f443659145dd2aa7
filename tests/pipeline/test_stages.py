"""Stages one after the other compute what the whole model computes, under the same names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dskc.compiler.build import check, make_plan
from dskc.compiler.dims import substitute
from dskc.compiler.lower.inputs import classes
from dskc.compiler.pipeline.edges import edges
from dskc.compiler.plan import Plan
from dskc.compiler.shrink import Small, merged, one_process, shrink
from dskc.dsl.source import Source
from dskc.dsl.spec import Spec
from dskc.runtime.initialize import initialize

from .specs import EXAMPLES, SKIPS, cut, modules, of_stages, plan_of

NAMES = ("stdlib_gpt", "bert", "clip", "deepseek_small", "vit_digits", "digits", "resnet50")
DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.int64: "int64", torch.bool: "bool"}


def inputs(plan: Plan, spec: Spec) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(1)
    found = {}
    for node in plan.nodes("forward"):
        if node.op == "input":
            shape = tuple(substitute(dim, plan.sizes) for dim in node.outputs[0].shape)
            if node.outputs[0].kind == "int":
                found[node.name] = torch.randint(classes(spec, node.outputs[0]), shape, generator=made)  # type: ignore[arg-type]
            else:
                found[node.name] = torch.randn(shape, generator=made)  # type: ignore[arg-type]
    return found


def run(plan: Plan, stages: list[nn.Module], fields: dict[str, Tensor]) -> dict[str, Tensor]:
    """The objectives; what crosses is what the plan says."""
    values: tuple[Tensor, ...] = ()
    for stage, module, crossing in zip(plan.stages, stages, (*edges(plan), None), strict=True):
        result = module(*values, **{name: fields[name] for name in stage.inputs})
        if crossing is None:
            return result  # type: ignore[no-any-return]
        values = result if isinstance(result, tuple) else (result,)
        for value, edge in zip(values, crossing, strict=True):
            assert (tuple(value.shape), DTYPES[value.dtype]) == (edge.shape, edge.dtype), edge
            assert edge.gradient or not value.requires_grad, edge
    raise AssertionError


def gradients(models: list[nn.Module]) -> dict[str, Tensor]:
    """Those of the same name are added up, as the pipeline does."""
    found: dict[str, Tensor] = {}
    for model in models:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[name] = found[name] + parameter.grad if name in found else parameter.grad
    return found


def compare(whole_plan: Plan, plan: Plan, spec: Spec) -> None:
    whole_module = modules(whole_plan)
    whole = next(v for v in vars(whole_module).values() if isinstance(v, type) and hasattr(v, "objectives"))()
    initialize([whole], whole_module.INITIAL, 3)
    parts = of_stages(plan)
    for part in parts:
        initialize([part], whole_module.INITIAL, 3)
    fields = inputs(plan, spec)
    torch.manual_seed(5)
    want: dict[str, Any] = whole.objectives(**fields)
    want["loss"].backward()
    torch.manual_seed(5)
    got = run(plan, parts, fields)
    got["loss"].backward()

    assert {name for part in parts for name, _ in part.named_parameters()} == dict(whole.named_parameters()).keys()
    assert list(got) == list(want)
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-6)
    mine, theirs = gradients(parts), gradients([whole])
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str, stages: int) -> None:
    path = EXAMPLES / f"{name}.dsk"
    asked = (f"parallel.world_size={stages}", f"parallel.pipeline_depth={stages}", "training.gradient_accumulation=8")
    small = shrink(Source(path.name, path.read_text()), None, asked)
    assert isinstance(small, Small)
    checked = check(small.source, small.profile, small.settings)
    assert checked.spec is not None
    assert checked.lowered is not None
    plan = make_plan(checked.spec, checked.lowered)

    compare(make_plan(one_process(checked.spec), checked.lowered), plan, checked.spec)


@pytest.mark.parametrize("stages", [2, 3, 4, 5, 6, 8, 12])
def test_skips_early_losses_late_towers_and_sharing(stages: int) -> None:
    whole, spec, _ = plan_of(SKIPS)
    assert whole is not None

    compare(whole, cut(SKIPS, stages), spec)


@pytest.mark.parametrize("name", NAMES)
def test_formats_under_autocast(name: str) -> None:
    path = EXAMPLES / f"{name}.dsk"
    asked = ("parallel.world_size=4", "parallel.pipeline_depth=4", "training.gradient_accumulation=8")
    small = shrink(Source(path.name, path.read_text()), None, asked)
    assert isinstance(small, Small)
    checked = check(small.source, small.profile, merged(small.settings, ("precision.compute=bf16",)))
    assert checked.spec is not None
    assert checked.lowered is not None
    plan = make_plan(checked.spec, checked.lowered)

    with torch.autocast("cpu", torch.bfloat16):
        run(plan, of_stages(plan), inputs(plan, checked.spec))
