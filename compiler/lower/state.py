"""What the whole lowering shares: the program, the findings, and the bodies made so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...dsl import ast
from ...dsl.ast import Call, Expr
from ...dsl.spec import Definition, Spec
from ..node import Body, Objective, Tensor, Value
from .matching import Given
from .report import Reporter
from .scope import Scope
from .signatures import Bound
from .values import Meaning

DEEPEST = 100
"""How many blocks may be inside each other."""


@dataclass(frozen=True)
class Instance:
    """A block made concrete for some arguments; without a body it is wrong, which was reported."""

    body: Body | None
    results: tuple[Tensor, ...] = ()
    owns: bool = False


@dataclass(frozen=True)
class Stated:
    """A loss or metric as written, with the arguments of its call, so that it can be applied to an exit."""

    name: str
    statement: ast.Objective
    given: tuple[Given, ...]
    value: Value


@dataclass
class State:
    """Everything that outlives one body.

    `instances` maps (block, types, values) to what came of it, so that equal calls share one body; `active` are the
    blocks being lowered, outermost first; `scalars` are the numbers by name that each body was made with,
    `kinds` the kinds of objectives that `forward` states.
    """

    spec: Spec
    report: Reporter
    lower_block: Callable[[State, Definition, Bound, Call], Instance]
    evaluate: Callable[[State, Scope, Expr], Meaning]
    bodies: dict[str, Body] = field(default_factory=dict)
    instances: dict[Any, Instance] = field(default_factory=dict)
    active: list[Definition] = field(default_factory=list)
    objectives: list[Objective] = field(default_factory=list)
    stated: list[Stated] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    scalars: dict[str, tuple[tuple[str, Any], ...]] = field(default_factory=dict)
    body_names: dict[str, int] = field(default_factory=dict)

    def body_name(self, wanted: str) -> str:
        """A name for a body that no other has; "forward" is the model's alone."""
        number = self.body_names.get(wanted, 0) + 1
        self.body_names[wanted] = number
        if number == 1 and wanted != "forward" and wanted not in self.bodies:
            return wanted
        name = f"{wanted}_{max(number, 2)}"
        return name if name not in self.bodies else self.body_name(wanted)
