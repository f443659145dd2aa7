"""Start values of parameters: each from the seed and its own name, so no layout, device or order changes them.

A table maps a start value to the names that take it; `*` in a name stands for any text:

    INITIAL = {"normal(0.02)": ("embedding.weight", "layers.*.query.weight"), "ones": ("norm.weight",)}
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from . import philox
from .errors import RunError

Rule = Callable[[Tensor, int, float], Tensor]


def _normal(like: Tensor, key: int, std: float) -> Tensor:
    return philox.normal(key, like.numel(), like.device) * std


def _uniform(like: Tensor, key: int, bound: float) -> Tensor:
    return (philox.uniform(key, like.numel(), like.device) * 2.0 - 1.0) * bound


def _kaiming(like: Tensor, key: int, gain: float) -> Tensor:
    """Normal with the standard deviation sqrt(gain / fan_in) (He et al., 2015); `gain` is 2 for ReLU."""
    if like.ndim < 2:
        raise RunError(f"kaiming needs a weight of at least two dimensions, not {list(like.shape)}")
    return _normal(like, key, math.sqrt(gain / like[0].numel()))


def _constant(like: Tensor, key: int, value: float) -> Tensor:  # noqa: ARG001 (a rule takes a key)
    return torch.full((like.numel(),), value, device=like.device)


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


def _assign(names: Sequence[str], table: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The start value of each parameter; every parameter has exactly one, every pattern matches something."""
    chosen: dict[str, str] = {}
    for value, patterns in table.items():
        for pattern in patterns:
            matched = [name for name in names if fnmatchcase(name, pattern)]
            if not matched:
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
def initialize(model: nn.Module, table: Mapping[str, Sequence[str]], seed: int) -> None:
    """Sets every parameter of `model`; a shared parameter goes by the first of its names."""
    parameters = dict(model.named_parameters())
    for name, value in _assign(list(parameters), table).items():
        rule, number = _rule(value)
        parameter = parameters[name]
        parameter.copy_(rule(parameter, philox.derive(seed, "initialize", name), number).view_as(parameter))
