"""The whole program: names and contents of its files, before anything is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from ...dsl.diagnostics import Sink
from ...dsl.read import content
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..elastic import Sibling
from ..memory import memory_of
from ..plan import Plan
from ..recovery import Recovery, recovery_of
from ..recovery.show import recovery_data
from ..report import summary
from ..serialize import plain, plan_data
from ..version import VERSION
from . import huggingface
from .elastic import elastic_view
from .externs import ExternFile, extern_files, fault
from .huggingface import Checkpoint
from .kernels import Kernels, kernel_file, kernels
from .launch import launch_files
from .model import bodies_of, model_view
from .parallel import parallel_view
from .render import render
from .stages import stages_view
from .standalone import PACKAGE, runtime_files
from .text import file_name
from .train import HOME, train_view, writes
from .views import ModelView

PROGRAM: Final = ("model.py", "kernels.py", "train.py", "parallel.py", "elastic.py")


def program(
    spec: Spec, plan: Plan, sink: Sink, standalone: bool = False, smaller: Sequence[Sibling] = ()
) -> dict[str, str] | None:
    """Files of the program by their path in its folder; None after errors. `smaller` are its layouts on fewer ranks."""
    bodies = bodies_of(plan)
    externs = extern_files(bodies.values())
    copies = _copies(externs, sink)
    interchange = huggingface.checkpoint(spec, sink)
    if spec.observe.sample is not None and spec.origins["observe.sample"].how != "derived":
        _check_sample(spec, plan, sink)
    if sink.failed:
        return None
    runtime = PACKAGE if standalone else "dskc.runtime"
    recovery = recovery_of(plan, spec)
    slowest = recovery_of(smaller[-1].plan, smaller[-1].spec) if smaller else recovery
    described = plan_json(spec, plan, recovery)
    digest = hashlib.sha256(described.encode()).hexdigest()
    name = file_name(spec.source.name)
    about = _About(externs, name, digest, runtime, interchange)
    files = {
        **_layout(spec, plan, recovery, about),
        "plan.json": described,
        **launch_files(spec, plan, slowest.ladder, name, min((each.world for each in smaller), default=None)),
        **copies,
    }
    for each in smaller:
        files |= _sibling(each, about)
    if smaller:
        files["elastic.py"] = render("program/elastic.py", elastic_view(spec, plan, smaller, name, runtime))
    own = "".join(text for path, text in files.items() if PurePath(path).name in PROGRAM)
    return files | runtime_files(own) if standalone else files


@dataclass(frozen=True)
class _About:
    """What all layouts of a run share; `digest` is of the plan of the whole run."""

    externs: Sequence[ExternFile]
    name: str
    digest: str
    runtime: str
    interchange: Checkpoint | None


def _layout(spec: Spec, plan: Plan, recovery: Recovery, about: _About, home: str = HOME) -> dict[str, str]:
    """The modules of one layout; `home` is the folder of the run's program."""
    name, runtime = about.name, about.runtime
    generated = kernels(spec, plan)
    model = render("program/model.py", _model(plan, name, runtime, about.externs, generated))
    train = train_view(spec, plan, recovery, name, about.digest, runtime, about.interchange, home)
    return {
        "model.py": model,
        **kernel_file(generated, model, plan.name, name, runtime),
        "train.py": render("program/train.py", train),
        **_parallel(spec, plan, recovery, name, runtime),
    }


def _sibling(each: Sibling, about: _About) -> dict[str, str]:
    """The same run on fewer ranks: its checkpoints are those of the whole run, and so is the plan that they name."""
    recovery = recovery_of(each.plan, each.spec)
    files = _layout(each.spec, each.plan, recovery, about, f"{HOME}.parent")
    files["plan.json"] = plan_json(each.spec, each.plan, recovery)
    return {f"{each.folder}/{path}": text for path, text in files.items()}


def _parallel(spec: Spec, plan: Plan, recovery: Recovery, name: str, runtime: str) -> dict[str, str]:
    if plan.layout.world == 1:
        return {}
    return {"parallel.py": render("program/parallel.py", parallel_view(spec, plan, recovery, name, runtime))}


def _model(plan: Plan, name: str, runtime: str, externs: Sequence[ExternFile], generated: Kernels) -> ModelView:
    view = stages_view if plan.stages else model_view
    return view(plan, name, runtime, externs, generated)


def _check_sample(spec: Spec, plan: Plan, sink: Sink) -> None:
    """A sample that was asked for needs a model that can write one."""
    if not writes(plan, bodies_of(plan)["forward"]):
        message = "`observe.sample` has no effect: the model does not predict the next token from tokens alone"
        sink.error("E0307", message, spec.span("observe.sample") or Span(spec.source, 0, 0), "remove it")


def plan_json(spec: Spec, plan: Plan, recovery: Recovery) -> str:
    """Canonical JSON of what was compiled, of the plan and of what is predicted of it: no paths, no times."""
    cost = summary(plan)
    predicted: dict[str, Any] = {
        "parameters": cost.parameters,
        "flops_forward": plain(cost.flops),
        "memory": [asdict(rank) for rank in memory_of(plan, spec)],
        "recovery": recovery_data(recovery),
    }
    described = {
        "dskc": VERSION,
        "name": plan.name,
        "plan": plan_data(plan),
        "predicted": predicted,
        "spec": spec.canonical(),
    }
    return json.dumps(described, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _copies(externs: Sequence[ExternFile], sink: Sink) -> dict[str, str]:
    """The user's own modules, to lie beside the program."""
    found = {}
    for each in externs:
        reason = fault(each, externs)
        path = Path(each.span.source.name).parent / each.path
        try:
            text = content(path).decode("utf-8") if reason is None else ""
        except (OSError, ValueError) as error:
            reason = f"it cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        if reason is not None:
            help = "paths are relative to the file that holds the call; name the file as a Python module"
            sink.error("E0535", f'"{each.path}" cannot be used: {reason}', each.span, help)
        else:
            found[f"{each.module}.py"] = text
    return found
