"""Data parallelism with parameters, gradients and optimizer state cut up over the data axis: FSDP2 (ZeRO).

    with initialize.on_meta():
        model = Gpt()
    gradients = sharded.Sharded(model, layout, "parameters", units=model.layers)
    initialize.materialize(model, place)
    model.initialize(SEED)
    for part in range(ACCUMULATION):
        gradients.micro_batch(last=part == ACCUMULATION - 1)
        ... backward ...
    gradients.finish()

Every parameter is stored cut on its first dimension; a unit is gathered as a whole, and so is what is in no unit.

    shard         gathered                                     gradients reduce-scattered
    "optimizer"   once a step, before the first forward        once a step
    "gradients"   once a step, before the first forward        in every micro-batch
    "parameters"  units for each forward and each backward     in every micro-batch

With "parameters", what is in no unit is gathered once per micro-batch, since its backward follows its forward.
What is in no unit is there from the call of the model to the end of backward, so losses may use it after that call.
Gradients are sums, not means, as in `replicated`. FSDP2 does not cut parameters without dimensions: they stay whole
on every rank, and their gradients are added up. So is it with experts, which the expert axis has cut up already. In a
pipeline the schedule has gradients reduced once a step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from .layout import Layout, Model, modules, named_parameters
from .replicated import Replicated

Shard = Literal["optimizer", "gradients", "parameters"]


class Sharded:
    """A model cut up over the data axis; `units` are the modules that are gathered one by one.

    `compute` is the dtype that parameters are gathered in, where it is not their own; gradients are reduced in fp32.
    """

    def __init__(
        self,
        model: Model,
        layout: Layout,
        shard: Shard,
        units: Iterable[nn.Module] = (),
        compute: torch.dtype | None = None,
    ) -> None:
        mesh = layout.mesh.data_mesh
        policy = MixedPrecisionPolicy(
            param_dtype=compute, reduce_dtype=None if compute is None else torch.float32, cast_forward_inputs=False
        )
        self._shard = shard
        self._roots: list[FSDPModule] = []
        kept = {p for name, p in named_parameters(model) if not p.ndim or layout.is_expert(name)}
        self._whole = Replicated(model, layout, only=kept)
        wanted = {id(unit) for unit in units}
        for root in modules(model):
            whole = kept & set(root.parameters())
            for unit in [module for module in root.modules() if id(module) in wanted and _own(module, root)]:
                again = shard == "parameters"
                fully_shard(unit, mesh=mesh, reshard_after_forward=again, mp_policy=policy, ignored_params=whole)
            fully_shard(root, mesh=mesh, reshard_after_forward=False, mp_policy=policy, ignored_params=whole)
            # `objectives` calls one of these, and is none itself: FSDP2 lets go of parameters after each call it knows.
            if hasattr(root, "outputs"):  # what training calls instead of the model, where losses need more of it
                register_fsdp_forward_method(root, "outputs")
            assert isinstance(root, FSDPModule)
            self._roots.append(root)
            for module in root.modules():
                if isinstance(module, FSDPModule):
                    module.set_gradient_divide_factor(1.0)
                    module.set_force_sum_reduction_for_comms(True)

    def micro_batch(self, last: bool) -> None:
        """Before the forward of each micro-batch."""
        for root in self._roots:
            root.set_is_last_backward(last)
            root.set_reshard_after_backward(last or self._shard == "parameters")
            root.set_requires_gradient_sync(last or self._shard != "optimizer")
        self._whole.micro_batch(last)

    def finish(self) -> None:
        """After the last backward: gradients are summed, over the tensor axis as well where due."""
        self._whole.finish()


def _own(unit: nn.Module, root: nn.Module) -> bool:
    """Whether no parameter of a unit is used elsewhere as well: FSDP2 gathers a parameter in one place."""
    inside = {id(module) for module in unit.modules()}
    elsewhere = {
        id(parameter)
        for module in root.modules()
        if id(module) not in inside
        for parameter in module.parameters(recurse=False)
    }
    return not any(id(parameter) in elsewhere for parameter in unit.parameters())
