"""Activation checkpointing: backward computes again what forward did not keep (Chen et al. 2016, arXiv 1604.06174)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from .layers import Router

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]

_aten = torch.ops.aten
PRODUCTS = frozenset(
    {
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
        _aten.baddbmm.default,
        _aten.convolution.default,
        _aten._grouped_mm.default,
        _aten._scaled_dot_product_flash_attention.default,
        _aten._scaled_dot_product_flash_attention_for_cpu.default,
        _aten._scaled_dot_product_efficient_attention.default,
        _aten._scaled_dot_product_cudnn_attention.default,
        _aten.topk.default,  # a tie must not be broken the other way
    }
)
"""What `selective` keeps: results that cost many operations per byte."""


def full(module: nn.Module, *values: Any) -> Any:
    """`module(*values)`, of which only the values are kept."""
    return _run(module, module, values, None)


def selective(module: nn.Module, *values: Any) -> Any:
    """`module(*values)`, of which the values and the results of matrix products are kept."""
    return _run(module, module, values, _keeps_products)


def segment(modules: nn.ModuleList, *values: Any) -> Any:
    """Modules one after the other, of which only the first values are kept.

    Each gives the first values of the next; the values beyond its results are the same for all.
    """

    def run(*values: Any) -> Any:
        for module in modules:
            results = module(*values)
            given = results if isinstance(results, tuple) else (results,)
            values = (*given, *values[len(given) :])
        return results

    return _run(modules, run, values, None)


def _run(owner: nn.Module, function: Callable[..., Any], values: Sequence[Any], policy: Any) -> Any:
    if not torch.is_grad_enabled():
        return function(*values)
    if not torch.compiler.is_compiling():
        return checkpoint(function, *values, use_reentrant=False, context_fn=partial(_contexts, owner, policy))
    if policy is None:  # a compiled graph writes its buffers once, at its end
        return checkpoint(function, *values, use_reentrant=False)
    contexts = partial(create_selective_checkpoint_contexts, policy)
    return checkpoint(function, *values, use_reentrant=False, context_fn=contexts)


def _keeps_products(_context: Any, op: Any, *_args: Any, **_options: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if op in PRODUCTS else CheckpointPolicy.PREFER_RECOMPUTE


def _contexts(owner: nn.Module, policy: Any) -> Contexts:
    if policy is None:
        return nullcontext(), _frozen(owner, nullcontext())
    first, again = create_selective_checkpoint_contexts(policy)  # type: ignore[no-untyped-call]
    return first, _frozen(owner, again)


@contextmanager
def _frozen(owner: nn.Module, inside: AbstractContextManager[Any]) -> Iterator[None]:
    """Running statistics and loads of experts, which forward has counted, stay as they are."""
    norms = [m for m in owner.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    routers = [m for m in owner.modules() if isinstance(m, Router) and m.counts]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:  # the statistics are still passed, since forward saved them
            norm.momentum, norm.num_batches_tracked = 0.0, None
        for router in routers:
            router.counts = False
        with inside:
            yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted
        for router in routers:
            router.counts = True
