"""The families of generated kernels: who finds groups of each in a body. The emitter has one writer for each."""

from __future__ import annotations

from collections.abc import Callable

from ..plan import Plan
from . import rows
from .group import Group

Find = Callable[[Plan, str, frozenset[str]], list[Group]]
"""(plan, body, nodes that other groups have) -> groups with the bytes that they save."""

FAMILIES: tuple[tuple[str, Find], ...] = (("rows", rows.groups),)
"""In order: a node belongs to the first family that takes it."""


def groups_of(plan: Plan, body: str) -> list[Group]:
    """All groups of a body, in the order of their last nodes."""
    order = {node.name: index for index, node in enumerate(plan.nodes(body))}
    found: list[Group] = []
    for _, find in FAMILIES:
        found += find(plan, body, frozenset(name for group in found for name in group.nodes))
    return sorted(found, key=lambda group: order[group.last])
