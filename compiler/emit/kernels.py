"""`kernels.py`: the generated kernels of a program, one for each computation, and the names that the model calls."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...dsl.spec import Spec
from ..cluster import PRESETS, Machine, machine_of
from ..fusion.group import Group
from ..plan import Plan
from . import row_family
from .render import render
from .text import comment


@dataclass(frozen=True)
class Context:
    """What the families are given beside the group: `machine` is where times are predicted for."""

    plan: Plan
    machine: Machine


@dataclass(frozen=True)
class Family:
    """How a family is written.

    `key` is equal for groups that compute the same in the same formats; `base` is a name for them, `finer` a longer one
    for a second kernel of that base; `text` the lines of the file that make it, given its name.
    """

    key: Callable[[Context, Group], str]
    base: Callable[[Context, Group], str]
    finer: Callable[[Context, Group], str]
    text: Callable[[Context, Group, str], str]


WRITERS: Mapping[str, Family] = {
    "rows": Family(row_family.key, row_family.base, row_family.finer, row_family.text),
}


@dataclass(frozen=True)
class KernelsView:
    """`kernels.py`."""

    title: str
    digest: str
    imports: tuple[tuple[str, ...], ...]
    kernels: tuple[str, ...]


@dataclass(frozen=True)
class Kernels:
    """The generated groups by body; `calls` names the function of each by body and last node; `texts` has them."""

    groups: Mapping[str, tuple[Group, ...]]
    calls: Mapping[tuple[str, str], str]
    texts: Mapping[str, str]


def kernels(spec: Spec, plan: Plan) -> Kernels:
    """The kernels of a plan, equal ones once."""
    machine = machine_of(spec) if spec.cluster.gpu is not None else PRESETS["H100"]
    context = Context(plan, machine)
    groups: dict[str, tuple[Group, ...]] = {}
    calls: dict[tuple[str, str], str] = {}
    made: dict[str, str] = {}
    texts: dict[str, str] = {}
    for group in (each for each in plan.groups if each.generated):
        family = WRITERS[group.family]
        key = family.key(context, group)
        if key not in made:
            name = made[key] = _free(family, context, group, set(made.values()))
            texts[name] = family.text(context, group, name)
        calls[group.body, group.last] = made[key]
        groups[group.body] = (*groups.get(group.body, ()), group)
    return Kernels(groups, calls, texts)


def kernel_file(made: Kernels, model: str, name: str, spec_file: str, runtime: str) -> dict[str, str]:
    """`kernels.py` with what the text of `model.py` calls; nothing where it calls none."""
    used = set(re.findall(r"\bkernels\.(\w+)\(", model))
    texts = tuple(text for call, text in made.texts.items() if call in used)
    if not texts:
        return {}
    title = f"Kernels of model `{comment(name)}`. Written by dskc from {spec_file}; yours to edit."
    digest = hashlib.sha256("".join((runtime, *texts)).encode()).hexdigest()[:12]
    imports = ("from typing import Any",), *_imports(runtime)
    return {"kernels.py": render("kernels/module.py", KernelsView(title, digest, imports, texts))}


def _free(family: Family, context: Context, group: Group, taken: set[str]) -> str:
    base = family.base(context, group)
    if base not in taken:
        return base
    finer, number = family.finer(context, group), 1
    name = finer
    while name in taken:
        number += 1
        name = f"{finer}_{number}"
    return name


def _imports(runtime: str) -> tuple[tuple[str, ...], ...]:
    ours = (f"from {runtime} import tiles", f"from {runtime}.tiles import tl, triton")
    if "." in runtime:  # an installed package sorts with the other libraries
        return (("import torch", *ours, "from torch import Tensor"),)
    return ("import torch", "from torch import Tensor"), ours
