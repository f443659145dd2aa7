"""Modules whose parameters, or whose batch, are split over the ranks of an axis."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from .. import collectives
from ..mesh import Axis
from .losses import own_rows


class RowLinear(nn.Linear):
    """A linear layer whose products are to be summed over the ranks of `axes`; the bias is in that sum once."""

    def __init__(self, inputs: int, outputs: int, *axes: Axis) -> None:
        super().__init__(inputs, outputs)
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        """A partial result; the gradient of the bias is whole on every rank."""
        bias = self.bias
        for axis in self.axes:
            bias = collectives.share(bias, axis)  # type: ignore[assignment]
        return F.linear(x, self.weight, bias)


class SplitEmbedding(nn.Embedding):
    """This rank's block of `rows` vectors; tokens of other blocks give zeros, so that the ranks' sum is complete."""

    def __init__(self, rows: int, width: int, axis: Axis) -> None:
        super().__init__(rows, width)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """A partial result [..., width]."""
        own = own_rows(x, self.num_embeddings, self.axis)
        return super().forward(own.clamp(min=0)) * (own >= 0).unsqueeze(-1)


class SplitBatchNorm(_BatchNorm):
    """Batch normalisation of [B, C, ...] with the statistics of the batches of all ranks, which are of equal size."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, axis: Axis, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps, momentum)
        self.axis, self.share = axis, momentum

    def _check_input_dim(self, input: Tensor) -> None:
        """Every shape is right: the compiler has checked it."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised by the statistics of the batch in training, by the running ones otherwise."""
        if not self.training:
            return super().forward(x)
        result, mean, variance = _Normalized.apply(x, self.weight, self.bias, self.eps, self.axis)  # type: ignore[no-untyped-call]
        if not self.momentum:  # backward runs it again, see `recompute`: forward has counted it
            return result  # type: ignore[no-any-return]
        count = x.numel() // x.shape[1] * self.axis.size
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean += self.share * (mean - self.running_mean)
            self.running_var += self.share * (variance * (count / (count - 1)) - self.running_var)
        return result  # type: ignore[no-any-return]


class _Normalized(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, and both statistics, over the batches of all ranks."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, axis: Axis
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        own = torch.stack(torch.var_mean(wide, _others(x), correction=0))
        variances, means = collectives.all_gather(own.unsqueeze(0), axis, 0).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.axis = axis
        ctx.mark_non_differentiable(mean, variance)
        result = (wide - _row(mean, x)) * _row(scale * weight, x) + _row(bias, x)
        return result.to(x.dtype), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        wide = gradient.to(mean.dtype)
        normal = (x.to(mean.dtype) - _row(mean, x)) * _row(scale, x)
        own = torch.stack((wide.sum(_others(x)), (wide * normal).sum(_others(x))))
        count = x.numel() // x.shape[1] * ctx.axis.size
        first, second = collectives.all_reduce(own, ctx.axis) / count
        result = (wide - _row(first, x) - normal * _row(second, x)) * _row(scale * weight, x)
        return result.to(x.dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None, None


def _others(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def _row(values: Tensor, x: Tensor) -> Tensor:
    """Values per channel, to be combined with x."""
    return values.view(1, -1, *(1,) * (x.ndim - 2))
