"""Start values of parameters: each from the seed and its own name, so no layout, device or order changes them.

A table maps a start value to the names that take it; `*` in a name stands for any text:

    INITIAL = {"normal(0.02)": ("embedding.weight", "layers.*.query.weight"), "ones": ("norm.weight",)}

A rank that holds a block of a parameter draws the values of this block only. So a model of any size is built on no
device, cut up, given memory for its blocks, and filled:

    with initialize.on_meta():
        model = Gpt()
    ... fully_shard(model) ...
    initialize.materialize(model, place)
    initialize.initialize(model, INITIAL, seed, layout)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from . import philox
from .errors import RunError
from .layout import Block, Layout, Model, block_of, named_parameters

ELEMENTS = 1 << 24  # drawn at a time: 64 MiB


@dataclass(frozen=True)
class Run:
    """Elements first..first+count-1 of a parameter of `shape`, in the order of its memory."""

    shape: tuple[int, ...]
    first: int
    count: int
    device: torch.device


class Rule(Protocol):
    """Draws values from the stream of a key; `number` is the one in the parentheses of a start value."""

    def __call__(self, run: Run, key: int, number: float) -> Tensor: ...  # noqa: D102


def _normal(run: Run, key: int, number: float) -> Tensor:
    return philox.normal(key, run.count, run.device, run.first) * number


def _uniform(run: Run, key: int, number: float) -> Tensor:
    return (philox.uniform(key, run.count, run.device, run.first) * 2.0 - 1.0) * number


def _kaiming(run: Run, key: int, number: float) -> Tensor:
    """Normal with the standard deviation sqrt(gain / fan_in) (He et al., 2015); the gain is 2 for ReLU."""
    if len(run.shape) < 2:
        raise RunError(f"kaiming needs a weight of at least two dimensions, not {list(run.shape)}")
    return _normal(run, key, math.sqrt(number / math.prod(run.shape[1:])))


def _constant(run: Run, key: int, number: float) -> Tensor:  # noqa: ARG001 (a rule takes a key)
    return torch.full((run.count,), number, device=run.device)


# What a start value is called, its rule, and its number where none is written.
RULES: dict[str, tuple[Rule, float | None]] = {
    "normal": (_normal, 0.02),
    "uniform": (_uniform, None),
    "kaiming": (_kaiming, 2.0),
    "constant": (_constant, None),
    "ones": (_constant, 1.0),
    "zeros": (_constant, 0.0),
}


def _rule(text: str) -> tuple[Rule, float]:
    """The rule and its number from `normal(0.02)`, `ones` ..."""
    found = re.fullmatch(r"(\w+)(?:\(([^()]+)\))?", text)
    if not found or found[1] not in RULES:
        raise RunError(f"unknown start value {text!r}; known are {', '.join(RULES)}")
    rule, default = RULES[found[1]]
    try:
        number = float(found[2]) if found[2] else default
    except ValueError:
        raise RunError(f"the start value {text!r} needs a number in its parentheses") from None
    if number is None:
        raise RunError(f"the start value {text!r} needs its number: {found[1]}(...)")
    return rule, number


def _assign(names: Sequence[str], table: Mapping[str, Sequence[str]], whole: bool) -> dict[str, str]:
    """The start value of each parameter; every parameter has exactly one, every pattern matches something."""
    chosen: dict[str, str] = {}
    for value, patterns in table.items():
        for pattern in patterns:
            matched = [name for name in names if fnmatchcase(name, pattern)]
            if not matched and whole:
                raise RunError(
                    f"no parameter is called {pattern!r} (start value {value}); there are {', '.join(names)}"
                )
            for name in matched:
                if chosen.setdefault(name, value) != value:
                    raise RunError(f"two start values for the parameter {name}: {chosen[name]} and {value}")
    missing = [name for name in names if name not in chosen]
    if missing:
        raise RunError(f"no start value for {', '.join(missing)}")
    return chosen


@torch.no_grad()
def initialize(model: Model, table: Mapping[str, Sequence[str]], seed: int, layout: Layout | None = None) -> None:
    """Sets every parameter of `model`; a shared parameter goes by the first of its names.

    Under a `layout` a rank gets its blocks of the values of one process: of parameters split over the tensor axis and
    of those that FSDP has sharded. A sequence of stages may lack parameters that the table names.
    """
    layout = layout or Layout()
    parameters = dict(named_parameters(model))
    chosen = _assign(list(parameters), table, isinstance(model, nn.Module))
    for name, parameter in parameters.items():
        rule, number = _rule(chosen[name])
        key = philox.derive(seed, "initialize", name)
        _fill(block_of(name, parameter, layout), partial(rule, key=key, number=number))


def _fill(block: Block, draw: Callable[[Run], Tensor]) -> None:
    """Draws the rows that a block lies in, some at a time, and keeps what is in the block."""
    row = math.prod(block.whole[1:])
    rows = max(1, ELEMENTS // max(1, row))
    if not block.whole:
        block.local.copy_(draw(Run((), 0, 1, block.local.device)).view(()))
        return
    for start in range(0, block.local.shape[0], rows):
        part = block.local[start : start + rows]
        first = (block.start[0] + start) * row
        values = draw(Run(block.whole, first, len(part) * row, part.device)).view(len(part), *block.whole[1:])
        for dim in range(1, part.ndim):
            values = values.narrow(dim, block.start[dim], part.shape[dim])
        part.copy_(values)


@contextmanager
def on_meta() -> Iterator[None]:
    """Parameters of modules made meanwhile take no memory; buffers are as ever."""

    def without_memory(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:  # noqa: ARG001
        if parameter is None or parameter.is_meta:
            return None  # as it is: a shared parameter stays shared
        return nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    hook = register_module_parameter_registration_hook(without_memory)  # type: ignore[arg-type] # may replace it
    try:
        yield
    finally:
        hook.remove()


def materialize(model: nn.Module, place: torch.device) -> None:
    """Moves a model to a device; parameters without memory get some, to be initialized."""
    swap = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # otherwise shared parameters would become two
    try:
        model._apply(  # type: ignore[no-untyped-call]
            lambda tensor: torch.empty_like(tensor, device=place) if tensor.is_meta else tensor.to(place)
        )
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swap)
