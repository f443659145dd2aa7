"""`parallel.py`: the mesh of this run, what each rank holds of the parameters, and how gradients are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from ...dsl.spec import Spec
from ..layout import Layout
from ..node import Sync, is_split
from ..plan import Plan
from ..recovery import Recovery
from .layout import bracketed, commented
from .model import bodies_of
from .pipeline import pipeline_tables, tied_ranks, uses_torch
from .text import comment, place, quoted
from .times import times
from .tree import Owned, owned, units
from .views import Function, ParallelView

SETTINGS: Final = {
    "pipeline": "parallel.pipeline_depth", "data": "parallel.data_parallel", "tensor": "parallel.tensor_model_parallel",
    "expert": "parallel.expert_parallel",
}  # fmt: skip
SUMMED: Final = "# Whole parameters that see a part of the values on each rank: their gradients are added up."
EXPERTS: Final = "# Parameters of experts: each rank of the expert axis has its own, a block of dimension 0."
HOW: Final = {
    "none": "Every rank holds all parameters; gradients are added up over the data axis once a step.",
    "optimizer": "ZeRO-1: optimizer state is cut up over the data axis, parameters gathered once a step.",
    "gradients": "ZeRO-2: optimizer state and gradients are cut up over the data axis.",
    "parameters": "ZeRO-3: parameters are cut up over the data axis, and gathered where they are used.",
}


def parallel_view(spec: Spec, plan: Plan, recovery: Recovery, spec_file: str, runtime: str) -> ParallelView:
    """Everything `parallel.py` says."""
    layout = plan.layout
    bodies = bodies_of(plan)
    tensors = list(owned(bodies, (bodies["forward"],)))
    parameters = [each for each in tensors if each.parameter.trained]
    split = _split(tensors)
    summed = _summed(parameters, plan.syncs)
    experts = {each.path for each in parameters if is_split(each.parameter)}
    shape = " x ".join(f"{axis} {size}" for axis, size in axes(layout))
    shape += f", experts on {layout.expert} of data" if layout.expert > 1 else ""
    arguments = ["MESH", *(["split=SPLIT"] if split else []), *(["summed=SUMMED"] if summed else [])]
    arguments += ["tied=TIED"] if tied_ranks(plan) else []
    arguments += ["experts=EXPERTS"] if experts else []
    compute = "torch.bfloat16" if spec.precision.compute == "bf16" and layout.shard != "none" else None
    modules = ["layout", "mesh", "recovery", "replicated" if layout.shard == "none" else "sharded"]
    modules += ["pipeline"] if plan.stages else []
    staged = pipeline_tables(spec, plan)
    return ParallelView(
        title=f"Layout of `{comment(plan.name)}`: {shape}.\n\nWritten by dskc from {spec_file}; yours to edit.",
        doc=tuple(_doc(layout)),
        imports=_imports(runtime, sorted(modules), compute is not None or uses_torch(plan), bool(plan.stages)),
        mesh=tuple(_mesh(spec, layout)),
        tables=tuple(
            t
            for t in (
                times(spec, recovery),
                _split_table(split, tensors),
                _names_table("SUMMED", SUMMED, summed, parameters),
                _names_table("EXPERTS", EXPERTS, experts, parameters),
                *staged,
            )
            if t
        ),
        layout=(f"LAYOUT = layout.Layout({', '.join(arguments)})",),
        functions=(_wrap(spec, layout, compute, units(bodies)),),
    )


def axes(layout: Layout) -> list[tuple[str, int]]:
    """The axes of more than one rank, outermost first."""
    return [(name, size) for name in ("pipeline", "data", "tensor") if (size := getattr(layout, name)) > 1]


def _doc(layout: Layout) -> list[str]:
    lines = []
    if layout.data > 1:
        held = "Ranks of the data axis take their share of every batch"
        whole = "all parameters" + (" but the experts of others" if layout.expert > 1 else "")
        lines.append(held + (f"; each holds {whole}." if layout.shard == "none" else "."))
    if layout.expert > 1:
        same = "" if layout.replicas == 1 else f", the same on {layout.replicas} ranks"
        lines.append(f"Each {layout.expert} neighbours on it share the experts{same}: tokens go there and back.")
    if layout.tensor > 1:
        lines.append("Ranks of the tensor axis share each layer: model.py has the sizes of one rank.")
    if layout.pipeline > 1:
        lines.append("Ranks of the pipeline run one part of the model after the other.")
    return lines


def _imports(runtime: str, modules: Sequence[str], torch: bool, staged: bool) -> tuple[tuple[str, ...], ...]:
    first = (("from collections.abc import Sequence",),) if staged else ()
    third = ["import torch"] if torch else []
    ours = f"from {runtime} import {', '.join(modules)}"
    if "." in runtime:
        return *first, (*third, ours, "from torch import nn")
    return *first, (*third, "from torch import nn"), (ours,)


def _mesh(spec: Spec, layout: Layout) -> list[str]:
    found = [*axes(layout), *([("expert", layout.expert)] if layout.expert > 1 else [])]
    made = bracketed("MESH = mesh.Mesh(", [f"{name}={size}" for name, size in found], ")")
    lines = commented(made, place(spec.span("parallel.world_size")), 0)
    for name in (name for name, _ in found if name != "pipeline"):
        lines += commented([f'{name.upper()} = MESH.axis("{name}")'], place(spec.span(SETTINGS[name])), 0)
    return lines


def _split(parameters: Sequence[Owned]) -> dict[str, int]:
    """Parameters and buffers that the tensor axis splits, by path, and the dimension."""
    found = {}
    for each in parameters:
        lies = each.parameter.placement.get("tensor")
        if lies is not None and lies.dim is not None:
            found[each.path] = lies.dim
    return found


def _summed(parameters: Sequence[Owned], syncs: Sequence[Sync]) -> set[str]:
    """Whole parameters whose gradients are sums over the tensor axis."""
    owners = {(s.body, s.node, s.parameter) for s in syncs if (s.axis, s.kind) == ("tensor", "all_reduce")}
    return {each.path for each in parameters if (*each.owner, each.parameter.name) in owners}


def _split_table(split: dict[str, int], parameters: Sequence[Owned]) -> list[str]:
    if not split:
        return []
    rows = [(name, dim) for path, dim in split.items() for name in _patterns(path, parameters, split.get)]
    note = "# Parameters that the tensor axis splits, and the dimension that is cut."
    return [note, "SPLIT = {", *(f"    {quoted(name)}: {dim}," for name, dim in rows), "}"]


def _names_table(name: str, note: str, chosen: set[str], parameters: Sequence[Owned]) -> list[str]:
    if not chosen:
        return []
    paths = [each.path for each in parameters if each.path in chosen]
    rows = [name for path in paths for name in _patterns(path, parameters, lambda other: other in chosen)]
    return [note, f"{name} = (", *(f"    {quoted(row)}," for row in rows), ")"]


def _patterns(path: str, parameters: Sequence[Owned], same: Callable[[str], object]) -> list[str]:
    """The path with its `*`; all of its names where that would also match a parameter that lies otherwise."""
    mine = next(each for each in parameters if each.path == path)
    caught = [each for each in parameters if fnmatchcase(each.example, path)]
    return [path] if all(same(each.path) == same(path) for each in caught) else mine.names()


def _wrap(spec: Spec, layout: Layout, compute: str | None, units: Sequence[str]) -> Function:
    """How the model is wrapped on the data axis."""
    units = units if layout.shard != "none" else ()
    note = place(spec.span("parallel.shard"))
    if layout.shard == "none":
        kind, arguments = "replicated.Replicated", ["model", "LAYOUT"]
    else:
        kind, arguments = "sharded.Sharded", ["model", "LAYOUT", quoted(layout.shard)]
        arguments += [f"units=model.{units[0]}" if len(units) == 1 else "units=units"] if units else []
        arguments += [f"compute={compute}"] if compute else []
    if layout.pipeline > 1:
        return _wrap_stages(layout, kind, arguments, note, units)
    header = f"def wrap(model: nn.Module) -> {kind}:"
    lines = bracketed("units = [", [f"*model.{unit}" for unit in units], "]", 4) if len(units) > 1 else []
    lines += commented(bracketed(f"return {kind}(", arguments, ")", 4), note, 4)
    return Function((header,), HOW[layout.shard], tuple(lines))


def _wrap_stages(layout: Layout, kind: str, arguments: list[str], note: str, units: Sequence[str]) -> Function:
    """How this rank's stages are wrapped; what ZeRO gathers at a time are their layers."""
    arguments = ["units=units" if each.startswith("units=") else each for each in ["stages", *arguments[1:]]]
    found = ["stages", *map(quoted, units)]
    lines = bracketed("units = pipeline.iterations(", found, ")", 4) if "units=units" in arguments else []
    lines += commented(bracketed(f"return {kind}(", arguments, ")", 4), note, 4)
    return Function((f"def wrap(stages: Sequence[nn.Module]) -> {kind}:",), HOW[layout.shard], tuple(lines))
