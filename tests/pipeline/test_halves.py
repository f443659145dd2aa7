"""Backward in two halves, of inputs and of parameters, gives what it gives in one piece."""

from __future__ import annotations

import pytest
import torch
from torch.distributed.pipelining._backward import stage_backward_input

from dskc.compiler.lower.inputs import classes
from dskc.compiler.pipeline.edges import edges
from dskc.runtime.initialize import initialize
from dskc.runtime.pipeline import _joined, _weights

from .specs import SKIPS, cut, modules, of_stages, plan_of


@pytest.mark.parametrize("stages", [2, 3, 5])
def test_gradients_of_each_stage(stages: int) -> None:
    """Parameters that are used in every iteration, by two calls, or by a tower that meets the inputs at its end."""
    plan, (_, spec, _) = cut(SKIPS, stages), plan_of(SKIPS)
    table = modules(plan).INITIAL
    made = torch.Generator().manual_seed(1)
    crossing = edges(plan)
    for number, (stage, module) in enumerate(zip(plan.stages, of_stages(plan), strict=True)):
        initialize([module], table, 3)
        sent = [torch.randn(e.shape, generator=made) for e in (crossing[number - 1] if number else ())]
        received = [value.requires_grad_() for value in sent]
        nodes = {n.name: n.outputs[0] for n in plan.nodes("forward") if n.op == "input"}
        fields = {n: torch.randint(classes(spec, nodes[n]), (2, 8), generator=made) for n in stage.inputs}
        result = module(*received, **fields)
        values = (result["loss"],) if isinstance(result, dict) else result if isinstance(result, tuple) else (result,)
        values = tuple(value for value in values if value.requires_grad)
        gradients = [torch.randn(value.shape, generator=made) for value in values]
        parameters = dict(module.named_parameters())
        whole = torch.autograd.grad(
            values, [*received, *parameters.values()], gradients, retain_graph=True, allow_unused=True
        )
        if number == 0:
            continue  # the first stage has no inputs to split off
        joined = _joined(values, received)
        inputs, groups = stage_backward_input(list(joined), gradients, received, iter(parameters.values()))
        _weights(groups)

        for mine, want in zip(inputs, whole, strict=False):
            torch.testing.assert_close(mine, want, rtol=1e-5, atol=1e-6)
        for (name, parameter), want in zip(parameters.items(), whole[len(received) :], strict=True):
            torch.testing.assert_close(parameter.grad, want, rtol=1e-5, atol=1e-6, msg=name)
