"""Profiles, flags, imports, and where values come from."""

from pathlib import Path

import pytest

from dskc.dsl import load
from dskc.dsl.schema.optimizer import Sgd
from tests.dsl.specs import IMAGES, TEXT, codes_of, settle, spec_of

ROOT = Path(__file__).parents[2]
PROFILED = IMAGES + "optimizer adamw { lr: 1e-3 }\nprofile fast { optimizer.lr: 3e-3, model.width: 12 }\n"


@pytest.mark.parametrize(
    ("name", "profile", "advice"),
    [
        ("stdlib_gpt", None, []),
        ("digits", None, []),
        ("dense_100b", None, []),
        ("dense_100b", "slow_links", []),
        ("dense_100b", "laptop", ["W0922"]),
    ],
)
def test_examples(name: str, profile: str | None, advice: list[str]) -> None:
    spec, sink = load(ROOT / "examples" / f"{name}.dsk", profile)

    assert [d.code for d in sink] == advice
    assert spec is not None
    assert spec.profile == profile


def test_profile_over_file_and_flag_over_profile() -> None:
    plain, fast = spec_of(PROFILED), spec_of(PROFILED, "fast")
    flagged = spec_of(PROFILED, "fast", "optimizer.lr=5e-3")

    assert [s.optimizer.lr for s in (plain, fast, flagged)] == [1e-3, 3e-3, 5e-3]
    assert [s.constants["width"] for s in (plain, fast, flagged)] == [10, 12, 12]
    assert [s.scope.constants["width"] for s in (plain, fast, flagged)] == [10, 12, 12]


def test_origins() -> None:
    spec = spec_of(PROFILED, "fast", "training.steps=7")

    assert str(spec.origins["optimizer.lr"]) == "profile fast, test.dsk:11"
    assert str(spec.origins["training.steps"]) == "--set:1"
    assert str(spec.origins["data.source"]) == "test.dsk:8"
    assert str(spec.origins["optimizer.eps"]) == "default"
    assert str(spec.origins["data.classes"]) == "derived"
    span = spec.span("training.steps")
    assert span is not None
    assert span.text == "7"
    assert spec.span("optimizer.eps") is None


def test_a_profile_may_change_the_optimizer() -> None:
    text = IMAGES + "optimizer adamw { betas: (0.9, 0.95) }\nprofile plain { optimizer: sgd(lr: 0.5) }\n"

    assert spec_of(text, "plain").optimizer == Sgd(lr=0.5)
    assert codes_of(text.replace("lr: 0.5", "betas: 0.5")) == ["E0203"]


def test_unknown_profile_lists_those_that_exist() -> None:
    _, sink = settle(PROFILED, "quick")

    (finding,) = sink
    assert finding.code == "E0604"
    assert finding.help is not None
    assert "fast" in finding.help
    assert finding.span.source.name == "--profile"


def test_profiles_that_were_not_chosen_are_checked() -> None:
    text = IMAGES + "profile bad { schedule.warmup: 500 steps }\n"
    for profile in (None, "good"):
        _, sink = settle(text + "profile good { training.seed: 1 }\n", profile)

        assert [(d.code, d.message.partition(":")[0]) for d in sink] == [("E0306", "in profile `bad`")]


def test_what_a_profile_repairs_is_wrong_without_it() -> None:
    text = IMAGES + "schedule { warmup: 500 steps }\nprofile long { training.steps: 1_000 }\n"

    assert codes_of(text) == ["E0306"]
    _, sink = settle(text, "long")
    assert [d.message.partition(":")[0] for d in sink] == ["without a profile"]


@pytest.mark.parametrize(
    ("flag", "code", "place"),
    [
        ("optimizer.lrr=1", "E0203", "lrr"),
        ("optimizer.lr=fast", "E0205", "fast"),
        ("optimizer.lr=-1", "E0211", "-1"),
        ("nothing.at=1", "E0201", "nothing"),
        ("optimizer.lr", "E0605", "optimizer.lr"),
        ("=1", "E0605", "=1"),
        ("model.depth=4", "E0203", "depth"),
        ("training.steps=5 GiB", "E0208", "5 GiB"),
    ],
)
def test_errors_in_a_flag_point_into_it(flag: str, code: str, place: str) -> None:
    _, sink = settle(IMAGES, None, flag)

    (finding,) = sink
    assert finding.code == code
    assert finding.span.source.name == "--set"
    assert finding.span.text == place


def test_flag_with_a_variant() -> None:
    spec = spec_of(IMAGES, None, "optimizer.betas=(0.8, 0.9)", "checkpoint.every=100 steps")

    assert spec.optimizer.betas == (0.8, 0.9)


def test_import_of_a_base_and_what_overrides_it(tmp_path: Path) -> None:
    (tmp_path / "base.dsk").write_text(IMAGES + "let rate = 1e-3\noptimizer { lr: rate, eps: 1e-6 }\n")
    main = tmp_path / "main.dsk"
    main.write_text('dsk 1\nimport "base.dsk"\noptimizer { lr: rate * 2 }\nmodel { width: 12 }\n')

    spec, sink = load(main)

    assert spec is not None, [d.message for d in sink]
    assert spec.optimizer.lr == 2e-3
    assert spec.optimizer.eps == 1e-6
    assert spec.constants == {"width": 12}
    assert str(spec.origins["optimizer.eps"]).endswith("base.dsk:11")


def test_blocks_keep_the_scope_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "inner.dsk").write_text("dsk 1\nlet size = 3\nblock inner(x: [B, C]) { return x }\n")
    (tmp_path / "blocks.dsk").write_text('dsk 1\nimport "inner.dsk"\nblock outer(x: [B, C]) { return inner(x) }\n')
    main = tmp_path / "main.dsk"
    main.write_text(IMAGES.replace("dsk 1", 'dsk 1\nimport "blocks.dsk"\n'))

    spec, sink = load(main)

    assert spec is not None, [d.message for d in sink]
    outer = spec.scope.blocks["outer"]
    assert "inner" in outer.scope.blocks
    assert "inner" not in spec.scope.blocks
    assert outer.scope.blocks["inner"].scope.constants["size"] == 3
    assert "width" not in outer.scope.constants


def test_a_diamond_of_imports_is_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "a.dsk").write_text("dsk 1\nblock a(x: [B, C]) { return x }\n")
    for name in "bc":
        (tmp_path / f"{name}.dsk").write_text(f'dsk 1\nimport "a.dsk"\nblock {name}(x: [B, C]) {{ return a(x) }}\n')
    main = tmp_path / "main.dsk"
    main.write_text(IMAGES.replace("dsk 1", 'dsk 1\nimport "a.dsk"\nimport "b.dsk"\nimport "c.dsk"\n'))

    spec, sink = load(main)

    assert spec is not None, [d.message for d in sink]
    assert {"a", "b", "c"} <= set(spec.scope.blocks)


def test_a_directory_is_no_spec(tmp_path: Path) -> None:
    assert [d.code for d in load(tmp_path)[1]] == ["E0601"]
    assert [d.code for d in load("no\0name")[1]] == ["E0601"]


@pytest.mark.parametrize(("vocab", "expected"), [("", []), (", vocab: 3", ["E0304"]), (", vocab: 64", [])])
def test_vocabulary_of_a_tokenizer_file(tmp_path: Path, vocab: str, expected: list[str]) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 9}]}')
    text = f'{TEXT}data {{ source: text("*"), tokenizer: file("{path}"), sequence: 4{vocab} }}\n'

    assert codes_of(text) == expected
    path.write_text("[]")
    assert codes_of(text) == ([] if vocab else ["E0303"])


def test_canonical_is_plain_and_the_same_each_time() -> None:
    import json

    first, second = (json.dumps(spec_of(PROFILED, "fast").canonical(), allow_nan=False) for _ in range(2))

    assert first == second
    assert json.loads(first)["optimizer"]["kind"] == "adamw"
