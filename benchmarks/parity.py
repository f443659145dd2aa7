"""Every example in every kind of layout that fits 8 processes, compared with one process.

    python benchmarks/parity.py                     # all of it
    python benchmarks/parity.py stdlib_gpt bert     # some examples

Results go to `results/parity-<date>.json`; `make generate` makes the table of supported layouts of them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dskc.compiler.build import check
from dskc.compiler.layout import layout_of
from dskc.compiler.pair import Pair, pair
from dskc.compiler.proof import cells, combination
from dskc.dsl.source import Source
from dskc.runtime import parity
from dskc.runtime.ranks import RankError

sys.path.insert(0, str(Path(__file__).parent))
import machine

EXAMPLES = Path(__file__).parents[1] / "examples"
SCHEDULES = {
    "": (),
    "1f1b": ("parallel.schedule=one_f_one_b",),
    "gpipe": ("parallel.schedule=gpipe",),
    "interleaved": ("parallel.schedule=interleaved(2)", "training.gradient_accumulation=4"),
    "zero_bubble": ("parallel.schedule=zero_bubble()",),
    "zero_bubble_v": ("parallel.schedule=zero_bubble(2)",),
}
SHARDS = ("none", "optimizer", "gradients", "parameters")


def flags(
    data: int, tensor: int, schedule: str = "", shard: str = "none", sequence: bool = False, expert: int = 1
) -> tuple[str, ...]:
    """A layout as settings."""
    depth = 2 if schedule else 1
    found = [f"parallel.world_size={data * tensor * depth}", *SCHEDULES[schedule]]
    found += [f"parallel.pipeline_depth={depth}"] if schedule else []
    found += [f"parallel.tensor_model_parallel={tensor}"] if tensor > 1 else []
    found += ["parallel.sequence_parallel=true"] if sequence else []
    found += [f"parallel.shard={shard}"] if shard != "none" else []
    found += [f"parallel.expert_parallel={expert}"] if expert > 1 else []
    return tuple(found)


def every_layout() -> Iterator[tuple[str, tuple[str, ...]]]:
    """All kinds, by a name such as "2x2x2 interleaved optimizer sequence"; sizes are pipeline x data x tensor."""
    for schedule in SCHEDULES:
        for tensor, sequence in ((1, False), (2, False), (2, True)):
            for data, shard in ((1, "none"), *((2, shard) for shard in SHARDS)):
                freed = schedule.startswith("zero_bubble") and shard == "parameters"  # refused: E0407
                if (data * tensor > 1 or schedule) and not freed:
                    yield _named(data, tensor, schedule, shard, sequence)
    yield _named(4, 1, "", "parameters", False)
    yield _named(2, 4, "", "optimizer", False)


def covering() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Layouts in which every part occurs, and the largest of them together."""
    yield _named(4, 1, "", "none", False)
    yield _named(4, 1, "", "parameters", False)
    yield _named(1, 2, "", "none", False)
    yield _named(2, 2, "", "optimizer", True)
    yield _named(1, 1, "1f1b", "none", False)
    yield _named(1, 2, "interleaved", "none", True)
    yield _named(2, 2, "1f1b", "parameters", False)
    yield _named(2, 2, "interleaved", "optimizer", True)
    yield _named(2, 1, "zero_bubble", "gradients", False)


def experts() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Layouts with experts on several ranks, for a model that has some."""
    yield _named(2, 1, "", "none", False, expert=2)
    for shard in SHARDS:
        yield _named(4, 1, "", shard, False, expert=2)
    yield _named(2, 2, "", "none", False, expert=2)
    yield _named(2, 2, "", "optimizer", True, expert=2)
    yield _named(2, 1, "1f1b", "none", False, expert=2)
    yield _named(4, 1, "1f1b", "optimizer", False, expert=2)
    yield _named(2, 2, "interleaved", "none", False, expert=2)
    yield _named(2, 1, "zero_bubble", "none", False, expert=2)
    yield _named(2, 1, "zero_bubble", "gradients", False, expert=2)


def _named(
    data: int, tensor: int, schedule: str, shard: str, sequence: bool, expert: int = 1
) -> tuple[str, tuple[str, ...]]:
    words = [schedule, shard if shard != "none" else "", "sequence" if sequence else ""]
    words += [f"expert {expert}"] if expert > 1 else []
    sizes = f"{2 if schedule else 1}x{data}x{tensor}"
    return " ".join([sizes, *(word for word in words if word)]), flags(data, tensor, schedule, shard, sequence, expert)


# Of the layouts of `every_layout` all are run with the first; what the others cannot be, or take too long for.
WHOLE = ("stdlib_gpt",)
SOME = ("bert", "clip", "deepseek_small", "digits", "vit_digits")
FEW = {"resnet50": ("1x4x1", "1x1x2")}


def layouts(example: str) -> list[tuple[str, tuple[str, ...]]]:
    """Those that an example is run in."""
    if example in WHOLE:
        return [*every_layout(), ("1x4x1", flags(4, 1))]
    found = [*covering(), *(experts() if example == "deepseek_small" else ())]
    if example in ("digits", "resnet50"):  # they have no sequence
        found = [(name, given) for name, given in found if "sequence" not in name]
    if example == "clip":  # 77 tokens
        found = [(name, given) for name, given in found if "sequence" not in name]
    return [(name, given) for name, given in found if name in FEW.get(example, (name,))]


def source(example: str) -> Source:
    """The text of an example; of `digits` what has a back end."""
    text = (EXAMPLES / f"{example}.dsk").read_text("utf-8")
    return Source(f"{example}.dsk", text[: text.index("compression {")] if example == "digits" else text)


class Runner:
    """Compares one example in several layouts; programs of one process are run once for each batch."""

    def __init__(self, example: str) -> None:
        self.example = example
        self.folder = Path(tempfile.mkdtemp(prefix="parity-"))
        self._known: dict[str, parity.Reference] = {}

    def compare(self, name: str, given: tuple[str, ...]) -> parity.Report:
        """Compiles both programs and runs them."""
        made = pair(source(self.example), None, given)
        if not isinstance(made, Pair):
            raise ValueError("; ".join(f"{each.code} {each.message}" for each in made))
        assert made.several is not None
        place = self.folder / name.replace(" ", "-")
        for kind, files in (("one", made.one), ("several", made.several)):
            for path, text in files.items():
                (place / kind / path).parent.mkdir(parents=True, exist_ok=True)
                (place / kind / path).write_text(text, "utf-8")
        code = made.one["model.py"] + made.one["train.py"].partition("PLAN =")[2].partition("\n")[2]
        known = self._known.setdefault(code, parity.Reference(place / "one"))
        return parity.compare(known, place / "several", made.small.layout.world)

    def close(self) -> None:
        """Removes the programs."""
        shutil.rmtree(self.folder, ignore_errors=True)


def measured(runner: Runner, name: str, given: tuple[str, ...]) -> dict[str, Any]:
    """One cell of the table."""
    start = time.monotonic()
    spec = check(source(runner.example), None, given).spec
    assert spec is not None
    cell = {"example": runner.example, "layout": name, "combination": combination(layout_of(spec))}
    try:
        report = runner.compare(name, given)
    except (RankError, ValueError) as error:
        failed = {"passed": False, "failures": [str(error)[-300:]], "precision": "", "parameters": 0}
        return cell | failed | {"gradient_error": None, "loss_error": None, "seconds": 0}
    return cell | {
        "passed": not report.failures,
        "failures": report.failures[:3],
        "precision": report.precision,
        "gradient_error": report.worst.error,
        "loss_error": report.loss_error,
        "parameters": len(report.rows),
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> None:
    """Runs the examples that are named, or all."""
    machine_now = machine.describe()
    figures = []
    for example in sys.argv[1:] or [*WHOLE, *SOME, *FEW]:
        runner = Runner(example)
        for name, given in layouts(example):
            cell = measured(runner, name, given)
            figures.append(cell)
            print(*(cell[key] for key in ("example", "layout", "passed", "gradient_error", "loss_error", "seconds")))
            for failure in cell["failures"]:
                print("   ", failure)
            sys.stdout.flush()
        runner.close()
    known = {(cell["example"], cell["layout"]) for cell in figures}
    wanted = {(example, name) for example in (*WHOLE, *SOME, *FEW) for name, _ in layouts(example)} - known
    kept = [cell for cell in cells() if (cell["example"], cell["layout"]) in wanted]
    figures = kept + figures
    machine.write("parity", machine_now, figures)


if __name__ == "__main__":
    main()
