"""The family `rows`: element-wise chains with at most one reduction over a row, and what their kernels move."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..formats import LOW, WIDTH
from ..node import Node, Value
from ..plan import Plan
from .bytes import formats_of, one_by_one, together
from .find import regions_of
from .group import Group
from .program import GRADIENT, Program, Stored, program_of


def groups(plan: Plan, body: str, taken: frozenset[str]) -> list[Group]:
    """The groups of this family in a body."""
    nodes = {node.name: node for node in plan.nodes(body)}
    found = []
    for group in regions_of(plan, body, taken):
        group = replace(group, narrow=dict(_narrow(plan, group)))
        program = program_of(group, nodes)
        written = stored(program, formats_of(plan, group))
        if not written:
            continue  # gradients pass as they come: nothing is left to do backward
        alone, fused = one_by_one(plan, group), together(plan, group, program, written)
        found.append(replace(group, forward=(alone[0], fused[0]), backward=(alone[1], fused[1])))
    return found


def stored(program: Program, formats: dict[str, tuple[str, str]]) -> tuple[Stored, ...]:
    """Gradients that backward writes: equal ones once, and none that is that of an output as it comes."""
    seen: set[tuple[object, tuple[str, str]]] = set()
    result = []
    for each in program.gradients:
        key = (each.value, formats[each.name.removeprefix(GRADIENT)])
        if each.kind == "vector" or (key not in seen and not passes(program, each)):
            result.append(each)
        seen.add(key)
    return tuple(result)


def passes(program: Program, each: Stored) -> bool:
    """Whether the gradient of an input is that of an output, as it comes."""
    return each.kind != "vector" and each.value.op == "input" and each.value.name in program.incoming


def _narrow(plan: Plan, group: Group) -> Iterable[tuple[Value, str]]:
    """Outputs in fp32 that autocast rounds for each product that reads them: the kernel can do it once."""
    for value in group.outputs:
        node: Node = plan.graphs[group.body].nodes[value[0]]["node"]
        if node.dtypes[0] == "fp32" and node.outputs[0].shape == group.frame.shape:
            formats = set(_readers(plan, group.body, value))
            if len(formats) == 1 and WIDTH[min(formats)] < WIDTH["fp32"]:
                yield value, min(formats)


def _readers(plan: Plan, body: str, value: Value) -> Iterable[str]:
    """Formats that those who read a value turn it into; fp32 where one reads it as it is."""
    ends = [*plan.results[body], *(each.value for each in plan.objectives if body == "forward")]
    if value in ends:
        yield "fp32"
    for node in plan.nodes(body):
        for index, given in enumerate(node.inputs):
            if given != value:
                continue
            if node.op == "call" and node.body is not None:
                inputs = [each for each in plan.nodes(node.body) if each.op == "input"]
                yield from _readers(plan, node.body, (inputs[index].name, 0))
            else:
                yield node.dtypes[0] if node.op in LOW else "fp32"
