"""Programs on several ranks compute what one process computes; what is broken on purpose is found, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.parity import Runner, covering, flags, layouts, source
from dskc.compiler.pair import Pair, pair
from dskc.runtime import parity

# Of each example what `benchmarks/parity.py` runs in full: here every part of a layout occurs once or more.
CELLS = [("stdlib_gpt", name) for name, _ in covering()] + [
    ("deepseek_small", "1x4x1"),
    ("deepseek_small", "1x2x2 optimizer sequence"),
    ("deepseek_small", "2x2x2 1f1b parameters"),
    ("bert", "2x1x1 1f1b"),
    ("bert", "1x2x2 optimizer sequence"),
    ("clip", "1x4x1"),
    ("clip", "2x2x2 1f1b parameters"),
    ("vit_digits", "1x1x2"),
    ("vit_digits", "2x2x2 1f1b parameters"),
    ("digits", "1x4x1"),
    ("digits", "2x2x1 zero_bubble gradients"),
]


@pytest.fixture(scope="module")
def runners() -> Iterator[dict[str, Runner]]:
    made = {example: Runner(example) for example, _ in CELLS}
    yield made
    for runner in made.values():
        runner.close()


@pytest.mark.parametrize(("example", "layout"), CELLS)
def test_ranks_compute_what_one_process_computes(example: str, layout: str, runners: dict[str, Runner]) -> None:
    report = runners[example].compare(layout, dict(layouts(example))[layout])

    assert not report.failures
    assert len(report.losses) == 10


# What is broken in the program of the ranks: a file, a text of it, what stands there instead, and what is named.
BROKEN = {
    "gradients that are not added up over the tensor axis": (
        "parallel.py", "summed=SUMMED", "summed=()", "layers.0.attention_norm.weight",
    ),
    "a loss that counts the targets of one rank": (
        "model.py", "total=targets.numel() * DATA.size", "total=targets.numel()", "embedding.weight",
    ),
    "gradients that are not added up over the data axis": (
        "train.py", "gradients.finish()", "pass", "differ between ranks",
    ),
    "a rank that takes the samples of another": ("train.py", "MICRO_BATCH, DATA)", "MICRO_BATCH)", "embedding.weight"),
    "values of both ranks that one of them computes": (
        "model.py", "collectives.all_gather_both(", "collectives.all_gather(",
        "attention_norm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found(name: str, tmp_path: Path) -> None:
    file, old, new, told = BROKEN[name]
    made = pair(source("stdlib_gpt"), None, flags(2, 2, sequence=True))
    assert isinstance(made, Pair)
    assert made.several is not None
    assert old in made.several[file]
    for kind, files in (("one", made.one), ("ranks", {**made.several, file: made.several[file].replace(old, new)})):
        for path, text in files.items():
            (tmp_path / kind / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / kind / path).write_text(text, "utf-8")

    failures = parity.compare(tmp_path / "one", tmp_path / "ranks", 4).failures

    assert any(told in failure for failure in failures), failures
