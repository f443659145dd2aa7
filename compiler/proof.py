"""Which kinds of layout are proven: those with a parity test that passed. The gate refuses all others.

`python -m dskc.compiler.proof` makes `proven.json` and `docs/parity.md` from `benchmarks/results/parity-*.json`, which
`benchmarks/parity.py` writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from .layout import Layout

ROOT: Final = Path(__file__).parents[1]
TABLE: Final = Path(__file__).with_name("proven.json")
DOCUMENT: Final = ROOT / "docs" / "parity.md"
RESULTS: Final = ROOT / "benchmarks" / "results"

PIPELINES: Final = ("one", "one_f_one_b", "gpipe", "interleaved", "zero_bubble", "zero_bubble_v")
DATA: Final = ("one", "replicated", "optimizer", "gradients", "parameters")
TENSOR: Final = ("one", "split", "sequence")
EXPERTS: Final = "_experts"
"""What the kind of a data axis ends in where its ranks share the experts."""
INTRODUCTION: Final = """\
# Layouts that are proven

What follows is made from test results by `make generate`; do not edit it. A layout that is not in the table is refused
with E0701.

For every cell the small form of an example (same structure, small sizes) was compiled twice: in the layout and for one
process. Both programs were run as they are, the first on up to 8 processes with gloo on a CPU. Compared were the
gradients of one step for every parameter (norm of the difference relative to the norm) and the losses of ten steps.
The bound is 1e-5 in fp32; models whose gradients are further off in fp32 by rounding alone are compared in fp64
(bound 1e-9). `dskc verify` does the same for a spec of yours. Zero bubble with ZeRO-3 is not tried: it takes
gradients of parameters that ZeRO-3 has let go of (E0407).
"""


def combination(layout: Layout) -> str:
    """The kind of a layout, whatever its sizes: pipeline, data and tensor axis, as `interleaved/optimizer/sequence`."""
    pipeline = data = tensor = "one"
    if layout.pipeline > 1:
        v = layout.schedule == "zero_bubble" and layout.chunks == 2
        pipeline = "zero_bubble_v" if v else layout.schedule
    if layout.data > 1:
        data = "replicated" if layout.shard == "none" else layout.shard
        data += EXPERTS if layout.expert > 1 else ""
    if layout.tensor > 1:
        tensor = "sequence" if layout.sequence_parallel else "split"
    return f"{pipeline}/{data}/{tensor}"


@cache
def proven() -> Mapping[str, int]:
    """By combination the number of examples that passed."""
    found: dict[str, int] = json.loads(TABLE.read_text("utf-8"))
    return found


def cells(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The results of the last run for each example and layout."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(folder.glob("parity-*.json")):
        for cell in json.loads(path.read_text("utf-8"))["figures"]:
            found[cell["example"], cell["layout"]] = cell
    return list(found.values())


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """`proven.json`: combinations that passed with every example that was tried."""
    passed: dict[str, set[str]] = {}
    failed: set[str] = set()
    for cell in results:
        passed.setdefault(cell["combination"], set()).add(cell["example"])
        if not cell["passed"]:
            failed.add(cell["combination"])
    counts = {name: len(examples) for name, examples in sorted(passed.items()) if name not in failed}
    return json.dumps(counts, indent=1) + "\n"


def document(results: Iterable[Mapping[str, Any]]) -> str:
    """`docs/parity.md`."""
    rows = list(results)
    counts: dict[str, int] = json.loads(table(rows))
    lines = [INTRODUCTION]
    titles = ("Tensor axis of one rank", "Tensor axis", "Sequence parallel")
    for axis, ending in ((DATA, ""), (DATA[1:], ", experts on several ranks")):
        kinds = [each + (EXPERTS if ending else "") for each in axis]
        for tensor, title in zip(TENSOR, titles, strict=True):
            lines += [f"## {title}{ending}", "", "| pipeline | " + " | ".join(f"data: {each}" for each in axis) + " |"]
            lines.append("|---" * (len(axis) + 1) + "|")
            for pipeline in PIPELINES:
                marks = [_mark(counts, f"{pipeline}/{data}/{tensor}") for data in kinds]
                lines.append(f"| {pipeline} | {' | '.join(marks)} |")
            lines.append("")
    lines += ["Numbers are examples that passed; - is refused.", "", "## All results", ""]
    lines += ["| example | layout | kind | compared in | gradients | losses |", "|---|---|---|---|---|---|"]
    lines += sorted(_row(cell) for cell in rows)
    return "\n".join(lines) + "\n"


def _mark(counts: Mapping[str, int], name: str) -> str:
    return "one process" if name == "one/one/one" else str(counts.get(name, "-"))


def _row(cell: Mapping[str, Any]) -> str:
    errors = f"{cell['gradient_error']:.1e} | {cell['loss_error']:.1e}" if cell["passed"] else "failed | failed"
    return f"| {cell['example']} | {cell['layout']} | {cell['combination']} | {cell['precision']} | {errors} |"


def nearest(name: str) -> Iterator[str]:
    """Proven combinations that differ in one part."""
    parts = name.split("/")
    for other in proven():
        if sum(a != b for a, b in zip(parts, other.split("/"), strict=True)) == 1:
            yield other


def main() -> None:
    """Writes both files."""
    results = cells()
    TABLE.write_text(table(results), "utf-8")
    DOCUMENT.write_text(document(results), "utf-8")


if __name__ == "__main__":
    main()
