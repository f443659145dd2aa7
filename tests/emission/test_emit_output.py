"""What is written: the same bytes each time, formatted, without a lint, and as the snapshots show it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from dskc.dsl.source import Source

from .compiled import EXAMPLES, compile_source, example, unchecked_source, write

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.dsk") if path.stem != "dense_100b")
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "eager_fp32": (
        "stdlib_gpt",
        ("training.execution=eager", "precision.compute=fp32", "data.validation=0", "training.evaluate=none"),
    ),
    "compiled_tf32": ("stdlib_gpt", ("training.execution=compiled", "precision.compute=tf32", "optimizer.clip=none")),
    "sampled": ("stdlib_gpt", ('observe.sample=sample("def f(")', "training.deterministic=true", "data.seed=3")),
    "by_tokens": ("stdlib_gpt", ("training.tokens=1_000_000", "training.steps=none", "checkpoint.every=5 min")),
    "saved_by_cost": ("stdlib_gpt", ("checkpoint.every=auto", "cluster.mtbf=6 h", "checkpoint.async=true")),
    "on_the_node": ("digits", ("checkpoint.every=3 steps", 'checkpoint.local="/scratch"')),
    "in_order": ("digits", ("data.shuffle=false", "checkpoint.every=2 epochs", "training.evaluate=every(1 epochs)")),
    "binary": ("stdlib_gpt", ('data.source=tokens("x.bin", dtype: uint16)', "data.tokenizer=none", "data.vocab=999")),
}


class PyFile(SingleFileSnapshotExtension):
    file_extension = "py"
    _write_mode = WriteMode.TEXT


@pytest.mark.parametrize("file", ["model.py", "train.py"])
@pytest.mark.parametrize("name", NAMES)
def test_snapshot(name: str, file: str, snapshot: SnapshotAssertion) -> None:
    text = compile_source(example(name))[file]
    assert snapshot(extension_class=PyFile) == re.sub('PLAN = "[0-9a-f]+"', 'PLAN = "(see below)"', text)


PARALLEL: dict[str, tuple[str, ...]] = {
    "data": ("parallel.world_size=4",),
    "zero": ("parallel.world_size=4", "parallel.shard=parameters"),
    "tensor": ("parallel.world_size=2", "parallel.tensor_model_parallel=2"),
    "pipeline": (
        "parallel.world_size=8",
        "parallel.pipeline_depth=2",
        "parallel.tensor_model_parallel=2",
        "training.gradient_accumulation=2",
    ),
    "both": (
        "parallel.world_size=8",
        "parallel.tensor_model_parallel=2",
        "parallel.sequence_parallel=true",
        "parallel.shard=optimizer",
    ),
}


@pytest.mark.parametrize("file", ["model.py", "train.py", "parallel.py"])
@pytest.mark.parametrize("layout", ["zero", "both", "pipeline"])
def test_parallel_snapshot(layout: str, file: str, snapshot: SnapshotAssertion) -> None:
    text = unchecked_source(example("stdlib_gpt"), *PARALLEL[layout])[file]
    assert snapshot(extension_class=PyFile) == re.sub('PLAN = "[0-9a-f]+"', 'PLAN = "(see below)"', text)


@pytest.mark.parametrize("ranks", [1, 2])
def test_saves_in_the_background_at_an_interval_by_their_cost(ranks: int) -> None:
    flags = ("checkpoint.every=auto", "cluster.mtbf=6 h", "checkpoint.async=true", f"parallel.world_size={ranks}")
    train = compile_source(example("digits"), *flags)["train.py"]

    assert re.search(r"^MTBF = 21_?600\.0", train, re.MULTILINE)
    made = re.search(r"checkpoints = checkpoint.Checkpoints\((.*?)\)\n", train, re.DOTALL)
    assert made is not None
    assert re.split(r",\s*", made[1])[3 + (ranks > 1)].strip() == "background=True"
    lines = [
        f"    saves = pace.Pace(MTBF, position.step{', MESH' if ranks > 1 else ''})",
        "        checkpoints,",
        "            if saves.due(position.step) or position.step == last:",
        "                checkpoints.save(model, updates, position, final=position.step == last)",
        "                saves.saved(position.step, checkpoints.cost)",
    ]
    assert [line for line in lines if line not in train.splitlines()] == []


NODES = ("parallel.world_size=4", "parallel.gpu_per_node=2", "checkpoint.every=3 steps")


def test_copies_are_kept_on_nodes_where_there_are_several() -> None:
    flags = (*NODES, "checkpoint.peer_copy=true", 'checkpoint.local="/scratch"')
    train = compile_source(example("digits"), *flags)["train.py"]
    assert "        near=[near.Tier(near.MEMORY, peers=True), near.Tier(Path(LOCAL))],\n" in train
    assert 'LOCAL = "/scratch"' in train
    assert "        checkpoints,\n    ):\n" in train
    assert (
        " near"
        not in compile_source(
            example("digits"), "parallel.world_size=4", "parallel.gpu_per_node=4", "checkpoint.peer_copy=true"
        )["train.py"]
    )


def every_program() -> dict[str, dict[str, str]]:
    programs = {name: compile_source(example(name)) for name in NAMES}
    for name in NAMES:
        unfit = {"resnet50": "pipeline both", "clip": "both"}.get(name, "")  # no sequence, or one of 77
        cut = {key: flags for key, flags in PARALLEL.items() if key not in unfit}
        programs |= {f"{name}-{layout}": unchecked_source(example(name), *flags) for layout, flags in cut.items()}
    masked = Source("masked.dsk", (EXAMPLES.parent / "tests" / "specs" / "masked.dsk").read_text("utf-8"))
    programs["nodes"] = compile_source(example("digits"), *NODES, "checkpoint.peer_copy=true")
    programs["masked"] = compile_source(masked)
    programs |= {f"masked-{lay}": unchecked_source(masked, *PARALLEL[lay]) for lay in ("zero", "pipeline")}
    return programs | {name: compile_source(example(base), *flags) for name, (base, flags) in VARIANTS.items()}


def test_formatted_and_lint_clean(tmp_path: Path) -> None:
    for name, files in every_program().items():
        write(files, tmp_path / name)
        ruff = [sys.executable, "-m", "ruff"]
        common = ["--isolated", "--line-length", "100", "--target-version", "py311", "."]
        for command in (["format", "--diff"], ["check", "--select", "E,F,I,UP,B"]):
            done = subprocess.run([*ruff, *command, *common], cwd=tmp_path / name, capture_output=True, text=True)
            assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def test_same_bytes_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = example("stdlib_gpt").text
    first = compile_source(Source("stdlib_gpt.dsk", text))
    monkeypatch.chdir(tmp_path)

    second = compile_source(Source(str(tmp_path / "stdlib_gpt.dsk"), text))

    assert second == first
    assert all(str(tmp_path) not in content for content in second.values())


@pytest.mark.parametrize("name", NAMES)
def test_train_has_no_configuration_branches(name: str) -> None:
    """Conditions depend on the run (its step, its flags), never on a constant of the spec alone."""
    tree = ast.parse(compile_source(example(name))["train.py"])
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp):
            names = {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
            assert any(not each.isupper() for each in names), ast.unparse(node.test)
    assert 90 <= len(compile_source(example(name))["train.py"].splitlines()) <= 300


def test_plan_hash_is_that_of_the_plan() -> None:
    import hashlib

    files = compile_source(example("stdlib_gpt"))

    assert hashlib.sha256(files["plan.json"].encode()).hexdigest() in files["train.py"]
