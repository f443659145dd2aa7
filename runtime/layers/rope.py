"""Rotary position embedding (Su et al., 2021), with the stretched wavelengths of longer contexts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_tables: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}


def rope(
    x: Tensor,
    theta: float,
    sequence: int = -2,
    interleaved: bool = False,
    scaling: str = "none",
    factor: float = 1.0,
    original: int = 8_192,
    low: float = 1.0,
    high: float = 4.0,
) -> Tensor:
    """Rotates pairs of the last dimension of `x` by position times frequency.

    `sequence` (negative) is the dimension that counts positions. Angles and products are fp32: rounded to bf16 the
    angle of position 1,000 would be off by radians, and sines rounded to bf16 would add an error as large as the
    rounding of `x` itself; the result has the dtype of `x`. Backward keeps nothing but the shared table.
    """
    length, size = x.shape[sequence], x.shape[-1]
    cos, sin = _table(length, size, x.device, theta, scaling, factor, original, low, high)
    for _ in range(-2 - sequence):
        cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    wide = x.to(torch.promote_types(x.dtype, cos.dtype))
    a, b = (wide[..., 0::2], wide[..., 1::2]) if interleaved else wide.chunk(2, -1)
    turned = torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin)
    return (torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)).to(x.dtype)


def _table(length: int, size: int, device: torch.device, *frequency: object) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, size / 2] in fp32: kept between calls; made once per graph when compiled."""
    if torch.compiler.is_compiling():
        cos, sin = torch.ops.dskc.rope_table(length, size, device, *frequency)
        return cos, sin
    key = (size, device, *frequency)
    table = _tables.get(key)
    if table is None or table[0].shape[0] < length:
        with torch.inference_mode(False):  # a table made while generating must serve training as well
            table = _tables[key] = _angles(length, size, device, *frequency)
    return table[0][:length], table[1][:length]


def _angles(length: int, size: int, device: torch.device, *frequency: object) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        position = torch.arange(length, dtype=torch.float32, device=device)
        angle = torch.outer(position, frequencies(size, device, *frequency))  # type: ignore[arg-type]
        return angle.cos(), angle.sin()


def _empty(length: int, size: int, device: torch.device, *_frequency: object) -> tuple[Tensor, Tensor]:
    return torch.empty(length, size // 2, device=device), torch.empty(length, size // 2, device=device)


# Opaque to the compiler, which would otherwise put the sines into each kernel that reads them, once per head.
_rope_table = torch.library.custom_op(
    "dskc::rope_table",
    _angles,
    mutates_args=(),
    schema="(SymInt length, int size, Device device, float theta, str scaling, float factor, int original, float low, "
    "float high) -> (Tensor, Tensor)",
)
_rope_table.register_fake(_empty)


def frequencies(
    size: int,
    device: torch.device | None,
    theta: float,
    scaling: str = "none",
    factor: float = 1.0,
    original: int = 8_192,
    low: float = 1.0,
    high: float = 4.0,
) -> Tensor:
    """Radians per position of each pair [size / 2].

    "linear" divides all by `factor`; "llama3" (Llama 3.1) divides those whose wavelength exceeds `original / low`,
    keeps those below `original / high`, and blends between; "yarn" (Peng et al., 2023) blends by the number of turns
    within `original` positions, from `low` (divided) to `high` (kept).
    """
    exponent = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
    base = 1.0 / theta**exponent
    if scaling == "none":
        return base
    if scaling == "linear":
        return base / factor
    if scaling == "llama3":
        keep = ((original * base / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    elif scaling == "yarn":
        first, last = (
            size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta)) for turns in (high, low)
        )
        first, last = max(math.floor(first), 0), min(math.ceil(last), size - 1)
        pair = torch.arange(size // 2, dtype=torch.float32, device=device)
        keep = 1 - ((pair - first) / max(last - first, 0.001)).clamp(0, 1)
    else:
        raise ValueError(f"unknown scaling of rope: {scaling!r}")
    return base * keep + base / factor * (1 - keep)
