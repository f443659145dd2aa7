"""The schema itself: documented, its defaults valid, its JSON form a gate, its generated files current."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dskc.compiler.cli import main
from dskc.compiler.gate import gate
from dskc.dsl.diagnostics import Sink
from dskc.dsl.generate import _with_kinds, files, shown
from dskc.dsl.json_schema import failures, json_schema
from dskc.dsl.resolve import Resolver
from dskc.dsl.schema.base import Record
from dskc.dsl.schema.sections import SECTIONS
from dskc.dsl.schema.types import settings_of
from tests.dsl.specs import IMAGES, TEXT, settle, spec_of

ROOT = Path(__file__).parents[2]
OWNERS = [(section, owner) for section, owners in SECTIONS.items() for owner in owners]
RECORDS = list(dict.fromkeys(kind for _, owner in OWNERS for kind in _with_kinds(owner)))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_everything_is_documented(record: type[Record]) -> None:
    assert record.__doc__
    assert not record.__doc__.startswith(f"{record.__name__}(")
    for setting in settings_of(record).values():
        assert setting.rule.doc.endswith("."), setting.name
        assert len(setting.rule.doc) > 5


DEFAULTS = [
    (section, owner, setting)
    for section, owner in OWNERS
    for setting in settings_of(owner).values()
    if not setting.rule.required
]


@pytest.mark.parametrize(
    ("section", "owner", "setting"), DEFAULTS, ids=[f"{s}.{o.kind}.{setting.name}" for s, o, setting in DEFAULTS]
)
def test_each_default_may_be_written(section: str, owner: type[Record], setting: Any) -> None:
    written = f"{section} {owner.kind} {{ {setting.name}: {shown(setting.default, setting.type)} }}\n"
    other = IMAGES.replace("steps: 100", "epochs: 2" if setting.name == "steps" else "steps: 100")
    spec, sink = settle(other + written)

    # some have no effect, or need another: what counts is that their own value is good
    assert {d.code for d in sink} <= {"E0307", "E0403"}, [d.message for d in sink]
    if spec is not None and setting.name not in ("seed", "vocab", "classes", "sample", "loss_scale"):
        derived = {"parallel.data_parallel": 1, "parallel.gpu_per_node": 1, "training.steps": None}
        given = spec.setting(f"{section}.{setting.name}")
        assert given == derived.get(f"{section}.{setting.name}", setting.default)


def test_json_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_resolved_specs_pass_the_gate_and_wrong_types_do_not() -> None:
    resolved: dict[str, Any] = spec_of(IMAGES).canonical()

    assert failures(resolved) == []
    for section, owner in ((s, o) for s, o in OWNERS if s != "optimizer" or o.kind == "adamw"):
        for name in settings_of(owner):
            spoilt = {**resolved, section: {**resolved[section], name: {"a": 1}}}
            assert {path for path, _ in failures(spoilt)} == {f"{section}.{name}"}, name
            missing = {**resolved, section: {k: v for k, v in resolved[section].items() if k != name}}
            assert [path for path, _ in failures(missing)] == [section], name


def test_a_fault_of_the_resolver_is_caught_by_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Resolver.value

    def faulty(self: Resolver, path: str, used: Any = None) -> object:
        return "fast" if path == "optimizer.lr" else honest(self, path, used)

    monkeypatch.setattr(Resolver, "value", faulty)
    spec, sink = settle(IMAGES)

    assert spec is None
    assert [(d.code, d.message.partition(" does")[0]) for d in sink] == [("E0299", "internal: resolved `optimizer.lr`")]


@pytest.mark.parametrize("path", files())
def test_generated_files_are_current(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == files()[path], "run `python -m dskc.dsl.generate`"


def test_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == files()["dsl/schema.json"]
    assert main(["schema", "--section", "optimizer"]) == 0
    assert '"sgd"' in capsys.readouterr().out


LATER = [
    ("memory { checkpointing: budget(72 GiB) }", []),
    ("optimizer { l4: 1e-7 }", ["optimizer.l4"]),
    ("optimizer muon { lr: 0.1 }", ["optimizer muon"]),
    ("optimizer { weight_decay: ramp(0.1, 0) }", ["optimizer.weight_decay: ramp"]),
    ("precision { compute: fp16 }", ["precision.compute: fp16"]),
    ("precision { master: none }", ["precision.master: none"]),
    ("export { onnx: \"a.onnx\", torch_export: \"a\" }", ["export.onnx", "export.torch_export"]),
    ("data { augment: random(shift: 1, rotate: 10) }", []),
    ("parallel { world_size: 1, data_parallel: 1, gpu_per_node: 1, shard: none }", []),
    ("training { execution: cuda_graph }", ["training.execution: cuda_graph"]),
    ("optimizer sgd { momentum: 0.9 }\nschedule { decay: linear }\nprecision { compute: bf16 }", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), LATER, ids=[text for text, _ in LATER])
def test_what_has_no_back_end_is_refused_by_name(text: str, expected: list[str]) -> None:
    spec, sink = spec_of(f"{IMAGES}{text}\n"), Sink()

    gate(spec, sink)

    assert [d.message.split("`")[1] for d in sink] == expected
    assert all(d.code == "E0701" and d.span.line >= 10 for d in sink)


def test_text_needs_nothing_that_is_refused() -> None:
    sink = Sink()
    gate(spec_of(TEXT + 'data { source: text("*"), tokenizer: bytes, sequence: 8 }'), sink)

    assert not len(sink)
