"""`elastic.py`: the program of each number of ranks that a run may go on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...dsl.spec import Spec
from ..elastic import Sibling
from ..plan import Plan
from .layout import commented
from .parallel import axes
from .text import comment, literal, place, quoted


@dataclass(frozen=True)
class ElasticView:
    """What `elastic.py` says."""

    title: str
    doc: tuple[str, ...]
    imports: str
    programs: tuple[str, ...]


def elastic_view(spec: Spec, plan: Plan, smaller: Sequence[Sibling], spec_file: str, runtime: str) -> ElasticView:
    """The table of programs, the largest first."""
    rows = [f'    {literal(plan.layout.world)}: HERE / "train.py",  # {_shape(spec, plan)}']
    for each in smaller:
        path = f"{quoted(each.folder)} / {quoted('train.py')}"
        rows.append(f"    {literal(each.world)}: HERE / {path},  # {_shape(each.spec, each.plan)}")
    return ElasticView(
        title=f"Starts `{comment(plan.name)}` on as many ranks as there are.",
        doc=(
            f"Written by dskc from {spec_file}; yours to edit.",
            "",
            "All programs take the same steps on the same batches, and go on from the checkpoints of the others.",
            "",
            "How to run it:",
            "    launch/torchrun.sh",
        ),
        imports=f"from {runtime} import elastic, errors",
        programs=(*commented(["PROGRAMS = {"], place(spec.span("parallel.elastic")), 0), *rows, "}"),
    )


def _shape(spec: Spec, plan: Plan) -> str:
    """ "pipeline 8 x data 6 x tensor 4, 16 micro-batches of 8"."""
    shape = " x ".join(f"{axis} {size}" for axis, size in axes(plan.layout)) or "one process"
    training = spec.training
    return f"{shape}, {training.gradient_accumulation} micro-batches of {training.micro_batch_size}"
