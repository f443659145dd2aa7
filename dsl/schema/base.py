"""How the schema is written: records of settings, each with its type, default, bounds and one line of documentation."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar, dataclass_transform

from ..values import Auto, Quantity

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """What a setting admits beyond its type, and what is said of it."""

    doc: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    compiled: bool | tuple[str, ...] = True
    required: bool = False


@dataclass(frozen=True)
class In:
    """Marks a number as a quantity of one of these dimensions."""

    dimensions: tuple[str, ...]


class Record:
    """Frozen settings; construction and comparison are written once here, since generating them costs start-up time."""

    kind: ClassVar[str] = ""
    compiled: ClassVar[bool] = True

    def __init__(self, *args: Any, **named: Any) -> None:
        own = fields(self)  # type: ignore[arg-type]
        given = {f.name: value for f, value in zip(own, args, strict=False)} | named
        if len(args) > len(own) or given.keys() - {f.name for f in own}:
            raise TypeError(f"{type(self).__name__} takes {[f.name for f in own]}")
        for f in own:
            value = given.get(f.name, f.default)
            if f.metadata["rule"].required and f.name not in given:
                raise TypeError(f"{type(self).__name__} needs {f.name}")
            object.__setattr__(self, f.name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} is read-only")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def setting(
    doc: str,
    *,
    default: Any,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    compiled: bool | tuple[str, ...] = True,
) -> Any:
    """A setting; `compiled`: whether this version has a back end for it, or the choices and kinds that have one."""
    rule = Rule(doc, least, most, above, below, compiled)
    return field(default=default, metadata={"rule": rule})


def needed(
    doc: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    compiled: bool | tuple[str, ...] = True,
) -> Any:
    """A setting without which its section or variant makes no sense."""
    return field(metadata={"rule": Rule(doc, least, most, above, below, compiled, required=True)})


@dataclass_transform(frozen_default=True, field_specifiers=(setting, needed, field))
def record(cls: type[T]) -> type[T]:
    """A frozen dataclass of settings."""
    return dataclass(init=False, repr=False, eq=False, match_args=False)(cls)


def written_name(name: str) -> str:
    """The name in a spec of a field: `from_` is written `from`."""
    return name.removesuffix("_")


# A setting of one dimension holds the plain number in the dimension's unit; one of several holds a Quantity.
Share = Annotated[float, In(("share",))]
Steps = Annotated[int, In(("steps",))]
Epochs = Annotated[int, In(("epochs",))]
Tokens = Annotated[int, In(("tokens",))]
Samples = Annotated[int, In(("samples",))]
Seconds = Annotated[float, In(("seconds",))]
Bytes = Annotated[int, In(("bytes",))]
Bandwidth = Annotated[float, In(("bytes/s",))]
Flops = Annotated[float, In(("flops",))]
Duration = Annotated[Quantity, In(("share", "steps"))]
Interval = Annotated[Quantity, In(("steps", "epochs", "tokens", "samples"))]
IntervalOrTime = Annotated[Quantity, In(("steps", "epochs", "tokens", "samples", "seconds"))]

__all__ = [
    "Auto", "Bandwidth", "Bytes", "Duration", "Epochs", "Flops", "In", "Interval", "IntervalOrTime", "Quantity",
    "Record", "Rule", "Samples", "Seconds", "Share", "Steps", "Tokens", "needed", "record", "setting", "written_name",
]  # fmt: skip
