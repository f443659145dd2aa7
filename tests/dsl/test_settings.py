"""Values of settings: units, variants, names."""

import pytest

from dskc.dsl.schema.base import Record
from dskc.dsl.schema.checkpoint import Checkpoint
from dskc.dsl.schema.communication import ByGroup, Group, ParameterServer, TopK
from dskc.dsl.schema.compression import Channels, Distill, Match, SpecTeacher
from dskc.dsl.schema.data import Bpe, Text
from dskc.dsl.schema.memory import Budget
from dskc.dsl.schema.optimizer import AdamW, DynamicBetas, Norm, Ramp, Sgd
from dskc.dsl.schema.schedule import Cosine, Linear
from dskc.dsl.schema.training import Every
from dskc.dsl.values import AUTO, Quantity
from tests.dsl.specs import IMAGES, TEXT, codes_of, settle, spec_of

VALUES = [
    ("checkpoint", "every: 100 steps", Quantity(100, "steps")),
    ("checkpoint", "every: 5 min", Quantity(300, "seconds")),
    ("checkpoint", "every: 2 * 5 min", Quantity(600, "seconds")),
    ("checkpoint", "recover_within: 0.5 h", 1_800.0),
    ("checkpoint", "async: true", True),
    ("schedule", "warmup: 5%", Quantity(0.05, "share")),
    ("schedule", "warmup: 1 step", Quantity(1, "steps")),
    ("schedule", "decay: cosine(10%)", Cosine(floor=0.1)),
    ("schedule", "decay: linear", Linear(floor=0.0)),
    ("memory", "checkpointing: sqrt", "sqrt"),
    ("memory", "checkpointing: budget(72 GiB)", Budget(limit=72 << 30)),
    ("memory", "offload: [optimizer, activations]", ("optimizer", "activations")),
    ("cluster", "mtbf: 6 h", 21_600.0),
    ("cluster", "peak: 989 TFLOPS", 989e12),
    ("parallel", "shard: none", "none"),
    ("parallel", "tensor_model_parallel: auto", AUTO),
    ("optimizer", "clip: norm(1)", Norm(max=1.0)),
    ("optimizer", "clip: none", None),
    ("optimizer", "betas: (0.9, 0.95)", (0.9, 0.95)),
    ("optimizer", "betas: [0.9, 0.95]", (0.9, 0.95)),
    ("optimizer", "weight_decay: ramp(from: 0.1, to: 0)", Ramp(from_=0.1, to=0.0)),
    ("optimizer", "betas: dynamic((0.8, 0.9), (0.9, 0.95), 2)", DynamicBetas((0.8, 0.9), (0.9, 0.95), 2.0)),
    ("communication", "compress: topk(0.3%, fp16)", TopK(density=0.003, values="fp16")),
    (
        "communication",
        'aggregate: by_group([group("embedding.*", parameter_server(staleness: 2 steps, elastic: true))])',
        ByGroup((Group("embedding.*", ParameterServer(staleness=2, elastic=True)),)),
    ),
    ("compression", "prune: channels(40%, until: 60%)", Channels(remove=0.4, until=0.6)),
    (
        "compression",
        'distill: distill(spec("t.dsk", "runs/t"), features: [match("a.b", "c", 0.5)])',
        Distill(SpecTeacher("t.dsk", "runs/t"), features=(Match("a.b", "c", 0.5),)),
    ),
]


@pytest.mark.parametrize(("section", "text", "value"), VALUES, ids=[text for _, text, _ in VALUES])
def test_value(section: str, text: str, value: object) -> None:
    spec = spec_of(f"{IMAGES}{section} {{ {text} }}\n")

    found = spec.setting(f"{section}.{text.split(':')[0]}")

    assert found == value
    assert type(found) is type(value)


def test_text_data() -> None:
    data = 'source: text("a/**/*.txt"), tokenizer: bpe(vocab: 2_048), sequence: 16, validation: 2%'
    spec = spec_of(f"{TEXT}data {{ {data} }}")

    assert spec.data.source == Text(files="a/**/*.txt")
    assert spec.data.tokenizer == Bpe(vocab=2_048)
    assert spec.data.vocab == 2_048
    assert spec.data.validation == 0.02
    assert str(spec.origins["data.vocab"]) == "derived"


def test_let_may_hold_a_number_a_quantity_or_a_variant() -> None:
    spec = spec_of(
        IMAGES + "let n = 2 ** 3\nlet pause = 4 min\nlet clipping = norm(n / 4)\nlet fall = cosine\n"
        "optimizer { clip: clipping, lr: 1 / n }\ncheckpoint { every: pause + 60 s }\nschedule { decay: fall }\n"
    )

    assert isinstance(spec.optimizer, AdamW)
    assert spec.optimizer.clip == Norm(max=2.0)
    assert spec.optimizer.lr == 0.125
    assert spec.checkpoint.every == Quantity(300, "seconds")
    assert spec.schedule.decay == Cosine()


def test_settings_refer_to_each_other() -> None:
    spec = spec_of(
        IMAGES + "checkpoint { every: 1 steps * (training.steps // 4) }\n"
        "training { evaluate: every(checkpoint.every) }\n"
        "data { validation: optimizer.weight_decay * 10 }\noptimizer { lr: 1 / model.width }\n"
    )

    assert spec.checkpoint.every == Quantity(25, "steps")
    assert spec.training.evaluate == Every(Quantity(25, "steps"))
    assert spec.data.validation == pytest.approx(0.1)
    assert spec.optimizer.lr == 0.1


def test_constants_of_the_model_and_what_they_may_name() -> None:
    spec = spec_of(IMAGES.replace("width: 10", "width: 2 * half\n  half: data.classes // 2"))

    assert spec.constants == {"width": 10, "half": 5}
    assert spec.scope.constants["width"] == 10
    assert spec.setting("model.half") == 5


def test_optimizer_by_title() -> None:
    spec = spec_of(IMAGES + "optimizer sgd { momentum: 0.9, nesterov: true }")

    assert spec.optimizer == Sgd(momentum=0.9, nesterov=True)


def test_records_are_read_only_and_refuse_what_they_do_not_have() -> None:
    record: Record = Checkpoint()

    with pytest.raises(AttributeError, match="read-only"):
        record.keep = 5  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="takes"):
        Checkpoint(kept=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs max"):
        Norm()  # type: ignore[call-arg]
    assert Checkpoint(keep=2) != Checkpoint()
    assert hash(Checkpoint(keep=2)) == hash(Checkpoint(keep=2))


def test_every_axis_may_be_left_to_the_planner() -> None:
    parallel = "world_size: 64, pipeline_depth: auto, tensor_model_parallel: auto, shard: auto"
    spec = spec_of(f"{IMAGES}parallel {{ {parallel} }}")

    assert spec.parallel.data_parallel is AUTO
    assert spec.parallel.gpu_per_node == 8


def test_a_misspelt_name_has_a_safe_fix_only_without_a_second_candidate() -> None:
    _, sink = settle(IMAGES + "optimizer { eppss: 1, momentm: 1, epss: 1 }\nschedule { deacy: linear }\n")

    assert [(d.fix.replacement, d.fix.safe) if d.fix else None for d in sink] == [
        ("eps", False),
        None,
        ("eps", True),
        ("decay", True),
    ]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("optimizer { betas: (0.0, 0.999) }", True),
        ("optimizer { betas: (0.9, 1.0) }", False),
        ("optimizer { betas: (-0.1, 0.9) }", False),
        ("optimizer { eps: 0 }", False),
        ("schedule { decay: cosine(100%) }", True),
        ("schedule { decay: cosine(100.1%) }", False),
        ("checkpoint { keep: 1 }", True),
        ("checkpoint { keep: 0 }", False),
        ("data { validation: 1 }", False),
        ("checkpoint { every: 0 steps }", False),
    ],
)
def test_bounds(text: str, fits: bool) -> None:
    _, sink = settle(f"{IMAGES}{text}\n")

    assert [d.code for d in sink] == ([] if fits else ["E0211"])


def test_a_flag_that_overrides_a_flag_is_said() -> None:
    assert codes_of(IMAGES, None, "model.width=11", "model.width=12") == ["E0202"]
    assert codes_of(IMAGES, None, "optimizer=sgd(lr: 0.1)", "optimizer.lr=0.2") == ["E0202"]
    assert codes_of(IMAGES, None, "model.width=10", "optimizer.lr=0.2") == []
