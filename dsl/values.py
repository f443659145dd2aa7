"""Values that settings hold, and the units they are written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Quantity:
    """A number of a dimension (`steps`, `seconds`, `bytes`, `share` ...), in the dimension's own unit."""

    value: int | float
    dimension: str

    def __str__(self) -> str:
        return f"{self.value * 100:g}%" if self.dimension == "share" else f"{self.value} {self.dimension}"


@dataclass(frozen=True)
class Symbol:
    """A bare name that stands for itself: an op or a block given as a value."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Variant:
    """`kind(a, name: b)` in a place that no schema types: an attribute of an op, a constant of the model."""

    kind: str
    positional: tuple[object, ...]
    named: tuple[tuple[str, object], ...]


class Auto:
    """The type of `AUTO`: the compiler chooses."""

    def __repr__(self) -> str:
        return "auto"


AUTO: Final = Auto()

_BINARY = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50}
_DECIMAL = {"k": 1_000, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_PREFIXES = {**_BINARY, **_DECIMAL}
_COUNTS = ("steps", "epochs", "tokens", "samples")

# unit as written -> (dimension, factor to the dimension's own unit)
UNITS: Final[dict[str, tuple[str, int | float]]] = {
    "%": ("share", 0.01),
    **{name: (name, 1) for name in _COUNTS},
    **{name.removesuffix("s"): (name, 1) for name in _COUNTS},
    "us": ("seconds", 1e-6),
    "ms": ("seconds", 1e-3),
    "s": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3_600),
    "d": ("seconds", 86_400),
    **{f"{prefix}B": ("bytes", factor) for prefix, factor in _PREFIXES.items()},
    **{f"{prefix}B/s": ("bytes/s", factor) for prefix, factor in _PREFIXES.items()},
    **{f"{prefix}bit/s": ("bytes/s", factor / 8) for prefix, factor in {"": 1, **_DECIMAL}.items()},
    **{f"{prefix}FLOPS": ("flops", factor) for prefix, factor in _DECIMAL.items()},
}

# dimension -> (what a person calls it, an example as it is written)
DIMENSIONS: Final[dict[str, tuple[str, str]]] = {
    "share": ("a share", "5%"),
    "steps": ("steps", "100 steps"),
    "epochs": ("epochs", "2 epochs"),
    "tokens": ("tokens", "1_000 tokens"),
    "samples": ("samples", "500 samples"),
    "seconds": ("a time", "5 min"),
    "bytes": ("a size in memory", "72 GiB"),
    "bytes/s": ("a bandwidth", "450 GB/s"),
    "flops": ("a rate of computation", "989 TFLOPS"),
}


def quantity(value: int | float, unit: str) -> Quantity:
    """A written number and unit in the dimension's own unit; KeyError for a unit that does not exist."""
    dimension, factor = UNITS[unit]
    if unit == "%":  # 0.3 * 0.01 is not 0.003; a division by 100 rounds once
        return Quantity(value / 100, dimension)
    scaled = value * factor
    return Quantity(int(scaled) if isinstance(scaled, float) and scaled.is_integer() else scaled, dimension)
