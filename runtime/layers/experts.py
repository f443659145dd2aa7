"""Mixture of experts: router, grouped linear, and the way of tokens to experts and back."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import collectives
from ..mesh import Axis


class Router(nn.Module):
    """Chooses `top` of `experts` for each token, as DeepSeek-V3 does (arXiv 2412.19437, section 2.1.2).

    The buffer `bias` takes part in the choice only; weights come from the scores without it. `load` counts the
    tokens of each expert since the last `update_router_bias`, over all micro-batches; it is not saved.
    While activations are recomputed, `counts` is False and it stays as it is.
    With `groups`, only the `kept` groups with the largest sum of two best scores can be chosen from.
    """

    bias: Tensor
    load: Tensor

    def __init__(
        self,
        width: int,
        experts: int,
        top: int,
        *,
        score: Literal["sigmoid", "softmax"] = "sigmoid",
        groups: int = 1,
        kept: int = 1,
        normalize: bool = True,
        scale: float = 1.0,
        balance: float = 0.001,
    ) -> None:
        super().__init__()
        self.top, self.groups, self.kept = top, groups, kept
        self.score, self.normalize, self.scale, self.balance = score, normalize, scale, balance
        self.counts = True
        self.weight = nn.Parameter(torch.zeros(experts, width))
        self.register_buffer("bias", torch.zeros(experts))
        self.register_buffer("load", torch.zeros(experts), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [..., top] and numbers of experts int[..., top]; scores are fp32: close ones must not tie."""
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.weight.float())
        scores = logits.sigmoid() if self.score == "sigmoid" else logits.softmax(-1)
        chosen = self._choose(scores.detach() + self.bias)
        weights = scores.gather(-1, chosen)
        if self.normalize:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        if self.training and self.counts:
            self.load.index_add_(0, chosen.flatten(), torch.ones_like(chosen.flatten(), dtype=self.load.dtype))
        return (weights * self.scale).to(x.dtype), chosen

    def _choose(self, scores: Tensor) -> Tensor:
        if self.groups > 1:
            grouped = scores.view(*scores.shape[:-1], self.groups, -1)
            strength = grouped.topk(min(2, grouped.shape[-1]), -1).values.sum(-1)
            best = strength.topk(self.kept, -1).indices
            closed = torch.ones_like(strength, dtype=torch.bool).scatter(-1, best, False)
            scores = grouped.masked_fill(closed.unsqueeze(-1), float("-inf")).flatten(-2)
        return scores.topk(self.top, -1).indices


@torch.no_grad()
def update_router_bias(model: nn.Module, data: Axis | None = None) -> None:
    """Raises the bias of experts with less than the mean load and lowers that of the others; call after each step.

    This balances without an auxiliary loss (arXiv 2408.15664). Loads are summed over the ranks of `data`.
    """
    for router in model.modules():
        if not isinstance(router, Router):
            continue
        load = router.load if data is None else collectives.all_reduce(router.load, data)
        router.bias += router.balance * (load.mean() - load).sign()
        router.load.zero_()


def dispatch(x: Tensor, chosen: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Copies tokens to their experts' rows.

    `x` [..., width] and `chosen` int[..., top] give rows [tokens * top, width] sorted by expert, the number of rows
    of each expert int[experts], and the order int[tokens * top]: which choice each row is.
    """
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    sizes = torch.zeros(experts, dtype=torch.int64, device=x.device).index_add(0, flat, torch.ones_like(flat))
    return x.flatten(0, -2).index_select(0, order // chosen.shape[-1]), sizes, order


def combine(rows: Tensor, order: Tensor, weights: Tensor) -> Tensor:
    """Adds the rows of each token up, weighted: the way back of `dispatch`; `weights` is [..., top]."""
    chosen = rows.index_select(0, _inverse(order)).view(*weights.shape, -1)
    return (chosen * weights.unsqueeze(-1).to(rows.dtype)).sum(-2)


class Order(NamedTuple):
    """The way back of rows that are on the ranks of their experts.

    `choices` is the order of `dispatch`; `arrived` the place that each row had on arrival; `sent` and `received` count
    the rows from this rank to each rank and from each rank to this one.
    """

    choices: Tensor
    arrived: Tensor
    sent: list[int]
    received: list[int]


def split_dispatch(x: Tensor, chosen: Tensor, experts: int, axis: Axis) -> tuple[Tensor, Tensor, Order]:
    """`dispatch` to the ranks of the axis, each of which has as many of the `experts`, in their order.

    Rows and sizes are those of this rank's experts; rows of one expert are in the order of the ranks they come from.
    """
    rows, sizes, choices = dispatch(x, chosen, experts)
    counts, sent, received = _told(sizes, axis)
    arriving = collectives.exchange(rows, axis, sent, received)
    own = torch.arange(experts // axis.size, device=x.device).repeat(axis.size)
    arrived = own.repeat_interleave(counts.flatten(), output_size=sum(received)).argsort(stable=True)
    return arriving.index_select(0, arrived), counts.sum(0), Order(choices, arrived, sent, received)


def _told(sizes: Tensor, axis: Axis) -> tuple[Tensor, list[int], list[int]]:
    """Rows that come from each rank for each expert of this one; numbers of rows to each rank and from each."""
    own = [len(sizes) // axis.size] * axis.size
    counts = collectives.exchange(sizes, axis, own, own).view(axis.size, -1)
    sent, received = torch.stack((sizes.view(axis.size, -1).sum(1), counts.sum(1))).tolist()
    return counts, sent, received


def split_combine(rows: Tensor, order: Order, weights: Tensor, axis: Axis) -> Tensor:
    """The way back of `split_dispatch`, and `combine`."""
    returned = collectives.exchange(rows.index_select(0, _inverse(order.arrived)), axis, order.received, order.sent)
    return combine(returned, order.choices, weights)


def _inverse(order: Tensor) -> Tensor:
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))


class ExpertLinear(nn.Module):
    """One matrix per expert, on rows sorted by expert: rows [N, inputs], sizes int[experts] -> [N, outputs]."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(experts, outputs, inputs))

    def forward(self, rows: Tensor, sizes: Tensor) -> Tensor:
        """Grouped product; bf16 on a GPU runs in one kernel, other cases one product per expert."""
        if torch.is_autocast_enabled(rows.device.type):
            dtype = torch.get_autocast_dtype(rows.device.type)
        else:
            dtype = rows.dtype
        rows, weight = rows.to(dtype), self.weight.to(dtype).transpose(-2, -1)
        if rows.is_cuda and dtype == torch.bfloat16:
            return F.grouped_mm(rows, weight, offs=sizes.cumsum(0).to(torch.int32))
        parts = torch.split(rows, sizes.tolist())
        return torch.cat([part @ weight[i] for i, part in enumerate(parts)])
