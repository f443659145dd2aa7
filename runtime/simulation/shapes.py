"""Shapes of results that were seen before: most of a simulation repeats the same operations on the same shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, in_kernel_invocation_manager

_aten = torch.ops.aten
# Operations whose result is one new tensor, of a shape that follows from the shapes of the operands.
PURE = frozenset(
    {
        _aten.add.Scalar, _aten.add.Tensor, _aten.addcmul.default, _aten._to_copy.default, _aten.bmm.default,
        _aten.cat.default, _aten.clone.default, _aten.div.Scalar, _aten.div.Tensor, _aten.exp.default,
        _aten.gelu.default, _aten.gelu_backward.default, _aten.mean.dim, _aten.mm.default, _aten.mul.Scalar,
        _aten.mul.Tensor, _aten.neg.default, _aten.pow.Tensor_Scalar, _aten.relu.default, _aten.rsqrt.default,
        _aten.sigmoid.default, _aten.silu.default, _aten.silu_backward.default, _aten.sub.Tensor,
        _aten.sum.dim_IntList,
    }
)  # fmt: skip

# Operations that look at the first operand in another way.
VIEWS = frozenset(
    {
        _aten.detach.default, _aten.expand.default, _aten.slice.Tensor, _aten.split.Tensor, _aten.t.default,
        _aten.transpose.int, _aten.unsqueeze.default, _aten._unsafe_view.default, _aten.view.default,
    }
)  # fmt: skip


def view(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of one of `VIEWS`, without asking the fake mode."""
    source: FakeTensor = args[0]
    with in_kernel_invocation_manager(source.fake_mode):
        found = func(*args, **kwargs)
    if isinstance(found, list | tuple):
        return type(found)(FakeTensor(source.fake_mode, each, source.fake_device) for each in found)
    return FakeTensor(source.fake_mode, found, source.fake_device)


class Shapes:
    """Results by operation and operands; `of` gives None for what it has not seen, or cannot know."""

    def __init__(self) -> None:
        self._seen: dict[Any, tuple[Any, Any, Any, Any]] = {}

    def key(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the shape of the result follows from; None where that is more than shapes."""
        if func not in PURE:
            return None
        parts = [_part(arg) for arg in args]
        if kwargs:
            parts += [(name, _part(value)) for name, value in kwargs.items()]
        return None if None in parts else (func, *parts)

    def of(self, key: Any, args: tuple[Any, ...]) -> FakeTensor | None:
        """A new result of a known shape, as fake as the operands."""
        found = self._seen.get(key)
        if found is None:
            return None
        shape, stride, dtype, device = found
        mode = _first(args).fake_mode
        with in_kernel_invocation_manager(mode):
            empty = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
        return FakeTensor(mode, empty, device)

    def learn(self, key: Any, result: Any) -> None:
        """Remembers what an operation gave."""
        if type(result) is FakeTensor:
            self._seen[key] = (tuple(result.shape), result.stride(), result.dtype, result.fake_device)


def _part(value: Any) -> Any:
    if type(value) is FakeTensor:
        return value.shape, value.stride(), value.dtype
    if isinstance(value, torch.Tensor):
        return None  # its values may matter
    if isinstance(value, list | tuple):
        parts = tuple(_part(each) for each in value)
        return None if None in parts else parts
    return (type(value), value)


def _first(args: Any) -> FakeTensor:
    """The first tensor among the operands."""
    return next(_first(each) if isinstance(each, list | tuple) else each for each in args if not _plain(each))


def _plain(value: Any) -> bool:
    return not isinstance(value, FakeTensor | list | tuple)
