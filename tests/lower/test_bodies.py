"""Lowering: bodies, labels, repeats, shapes and objectives."""

from pathlib import Path

import pytest

from dskc.compiler.dims import symbol
from dskc.compiler.lower import lower
from dskc.compiler.lower.parameters import owned, total
from dskc.compiler.node import Tensor
from dskc.dsl import load

from .specs import lowered, lowered_with, node, spec_text

EXAMPLES = Path(__file__).parents[2] / "examples"
B, S = symbol("B"), symbol("S")


def test_parameters_of_the_small_gpt() -> None:
    spec, sink = load(EXAMPLES / "stdlib_gpt.dsk")
    model = lower(spec, sink) if spec else None
    assert model is not None

    # Per layer: two norms, query and output 256x256, key and value 128x256, and three matrices 704x256.
    layer = 2 * 256 + 2 * 256 * 256 + 2 * 128 * 256 + 3 * 704 * 256
    assert total(model.bodies, model.sizes) == 2 * 2048 * 256 + 256 + 6 * layer == 5_475_584
    assert [(p.path, p.parameter.shape, p.count) for p in owned(model.bodies)] == [
        ("embedding.weight", (2048, 256), 1),
        ("layers.*.attention_norm.weight", (256,), 6),
        ("layers.*.self_attention.query.weight", (256, 256), 6),
        ("layers.*.self_attention.key.weight", (128, 256), 6),
        ("layers.*.self_attention.value.weight", (128, 256), 6),
        ("layers.*.self_attention.output.weight", (256, 256), 6),
        ("layers.*.feed_forward_norm.weight", (256,), 6),
        ("layers.*.swiglu.gate.weight", (704, 256), 6),
        ("layers.*.swiglu.up.weight", (704, 256), 6),
        ("layers.*.swiglu.down.weight", (256, 704), 6),
        ("rms_norm.weight", (256,), 1),
        ("linear.weight", (2048, 256), 1),
    ]
    assert (model.targets, model.prediction, model.sizes) == (("targets",), ("logits", 0), {"B": 8, "S": 256})


@pytest.mark.parametrize(
    ("file", "profile", "parameters"),
    [
        ("dense_100b.dsk", None, 91_547_576_320),
        ("dense_100b.dsk", "slow_links", 91_547_576_320),
        # 2 matrices 256x256, 2 of half the width, 3 of 704x256, 2 norms; 16 layers, two tables of 256 tokens, a norm.
        ("dense_100b.dsk", "laptop", 16 * (3 * 256 * 256 + 3 * 704 * 256 + 2 * 256) + 2 * 256 * 256 + 256),
    ],
)
def test_examples_lower(file: str, profile: str | None, parameters: int) -> None:
    spec, sink = load(EXAMPLES / file, profile=profile)

    model = lower(spec, sink) if spec else None

    assert [d.code for d in sink] == (["W0922"] if profile == "laptop" else [])
    assert model is not None
    assert total(model.bodies, model.sizes) == parameters


def test_an_exit_gets_the_loss_and_the_metrics() -> None:
    spec, sink = load(EXAMPLES / "digits.dsk")

    model = lower(spec, sink) if spec else None

    assert [d.message for d in sink] == []
    assert model is not None
    assert [(o.kind, o.name, o.weight) for o in model.objectives] == [
        ("exit", "early_head", 0.3),
        ("loss", "cross_entropy", 1.0),
        ("metric", "accuracy", 1.0),
        ("loss", "cross_entropy_early_head", 0.3),
        ("metric", "accuracy_early_head", 1.0),
    ]
    again = node(model, "cross_entropy_early_head")
    assert again.inputs == (("early_head", 0), ("labels", 0))
    # Stem; 3 + 1 + 2 blocks, the middle one with a shortcut; two heads, one with a bias. A norm has scale and shift.
    stem = 32 * 9 + 64
    same = [2 * (w * w * 9 + 2 * w) for w in (32, 64)]
    middle = 32 * 64 * 9 + 64 * 64 * 9 + 32 * 64 + 3 * 128
    assert total(model.bodies, model.sizes) == stem + 3 * same[0] + middle + 2 * same[1] + (320 + 10) + 640 == 262_698
    assert total(model.bodies, model.sizes, trained=False) == 2 * 32 + 1 + 3 * 130 + 3 * 129 + 2 * 258


def test_equal_calls_share_a_body_and_others_do_not() -> None:
    block = "block part(x: [B, S, D], width: int = 8) { return linear(linear(x, out: width) as up, out: D) as down }"
    calls = "x = part(x) as a, x = part(x, width: 8) as b, x = part(x, width: 16) as c"

    model = lowered(spec_text(calls, block))

    assert [node(model, name).body for name in ("x_2", "x_3", "x_4")] == ["part", "part", "part_2"]
    assert set(model.bodies) == {"part", "part_2", "forward"}


def test_values_equal_to_python_but_of_other_types_do_not_share_a_body() -> None:
    block = "block part(x: [B, S, D], f: any) { return x * f }".replace("x * f", "scaled(x, f)")
    block += "\n  block scaled(x: [B, S, D], f: any) {\n    if f == true { x = x + 1 }\n    return x\n  }"

    model = lowered(spec_text("x = part(x, f: 1), x = part(x, f: true)", block))

    assert {"part", "part_2"} <= set(model.bodies)


def test_a_repeat_of_one_block_runs_its_body_itself() -> None:
    model = lowered(spec_text("repeat 3 as layers { x = swiglu(x) }"))

    repeat = node(model, "x_2")
    assert (repeat.op, repeat.body, repeat.count, repeat.attrs["carried"]) == ("repeat", "swiglu", 3, 1)
    assert "layers.*.gate.weight" in {p.path for p in owned(model.bodies)}


def test_a_repeat_around_one_block_is_named_after_the_repeat_alone() -> None:
    model = lowered(spec_text("repeat 3 as layers { x = x + swiglu(gelu(x)) * 0.5 }"))

    body = model.bodies["layers"]
    assert [n.op for n in body.nodes] == [
        "input",
        "gelu",
        "linear",
        "linear",
        "silu",
        "multiply",
        "linear",
        *["multiply", "add"],
    ]
    assert [p.path for p in owned(model.bodies) if p.count == 3] == [
        "layers.*.gate.weight",
        "layers.*.up.weight",
        "layers.*.down.weight",
    ]
    assert set(model.bodies) == {"layers", "forward"}


def test_a_label_in_a_repeat_stays() -> None:
    model = lowered(spec_text("repeat 3 as layers { x = swiglu(x) as mlp }"))

    assert "layers.*.mlp.gate.weight" in {p.path for p in owned(model.bodies)}


def test_a_repeat_of_two_blocks_keeps_both_labels() -> None:
    model = lowered(spec_text("repeat 2 as layers { x = swiglu(x) + mlp(x) }"))

    assert {p.path for p in owned(model.bodies) if p.count == 2} >= {
        "layers.*.swiglu.gate.weight",
        "layers.*.mlp.up.weight",
    }


def test_repeats_carry_what_is_bound_again_and_capture_the_rest() -> None:
    model = lowered(spec_text("y = gelu(x), z = relu(x)\n repeat 4 { x = x + y * z, y = relu(y) }\n x = x + y"))

    repeat = node(model, "repeat")
    assert repeat.args == ("x", "y", "z")
    assert repeat.attrs["carried"] == 2
    assert repeat.inputs == (("x", 0), ("y", 0), ("z", 0))
    body = model.bodies[str(repeat.body)]
    assert [n.name for n in body.nodes if n.op == "input"] == ["x", "y", "z"]
    assert len(body.results) == 2


def test_names_swapped_in_a_repeat() -> None:
    model = lowered(spec_text("y = gelu(x)\n repeat 3 { (x, y) = (y, x) }\n x = x + y"))

    body = model.bodies[str(node(model, "repeat").body)]
    assert body.results == (("y", 0), ("x", 0))


def test_nested_repeats() -> None:
    model = lowered(spec_text("y = gelu(x)\n repeat 3 as outer { repeat 5 as inner { x = swiglu(x + y) } }"))

    assert ("outer.*.inner.*.gate.weight", 15) in [(p.path, p.count) for p in owned(model.bodies)]


def test_sizes_unify_and_are_numbers_in_the_block() -> None:
    block = "block wide(x: [N, T, D], y: [N, T, 2 * D]) -> [N, T, D] { return linear(y, out: D) + x }"

    model = lowered(spec_text("x = wide(x, linear(x, out: 64) as wide_x)", block))

    assert node(model, "linear", "wide").outputs == (Tensor((B, S, 32)),)


def test_a_compile_time_if_is_gone() -> None:
    model = lowered(spec_text("if dim == 32 and not (dim > 64) { x = relu(x) } else { x = gelu(x) }"))

    assert [n.op for n in model.bodies["forward"].nodes][3:4] == ["relu"]


def test_operators_become_ops_and_numbers_attributes() -> None:
    model = lowered(spec_text("x = -(2 * x - x / 4) ** 2\n y = x > 0\n x = where(y, x, 0)"))

    ops = [(n.op, n.args, n.attrs.get("a"), n.attrs.get("b")) for n in model.bodies["forward"].nodes[3:7]]
    assert ops == [
        ("multiply", ("b",), 2, None),
        ("divide", ("a",), None, 4),
        ("subtract", ("a", "b"), None, None),
        ("power", ("a",), None, 2),
    ]


def test_variables_do_not_clash_with_python() -> None:
    names = "lambda = relu(x), self = gelu(lambda), F = relu(self), torch = gelu(F), x = torch + lambda"

    model = lowered(spec_text(names))

    assert {"lambda_", "self_", "F_", "torch_"} <= {n.name for n in model.bodies["forward"].nodes}


def test_an_op_as_a_parameter() -> None:
    model = lowered(spec_text("x = mlp(x, activation: relu)"))

    assert "relu" in [n.op for n in model.bodies["mlp"].nodes]


def test_legends_have_one_letter_for_a_size() -> None:
    model = lowered(spec_text("x = self_attention(x, heads: 4)\n x = swiglu(x, hidden: 80)"))

    rows = {row for body in model.bodies.values() for row in body.legend}
    assert {letter: size for letter, size, _ in rows} == {"B": B, "S": S, "D": 32, "V": 64, "H": 4, "K": 8, "F": 80}
    assert ("D", 32, "dim") in model.bodies["swiglu"].legend
    assert ("H", 4, "heads") not in model.bodies["swiglu"].legend


def test_inputs_may_call_their_sizes_otherwise() -> None:
    text = spec_text("", inputs="tokens: int[N, T], targets: int[N, T]").replace("random()", 'text("*.txt")')
    text = text.replace("vocab: 64", "tokenizer: bytes")

    model = lowered(text)

    assert model.inputs == (("tokens", Tensor((B, S), "int")), ("targets", Tensor((B, S), "int")))


def test_an_extern_op_has_its_declared_shape() -> None:
    text = spec_text("x = mixer(x, rank: 4)")
    extern = 'extern op mixer from "mixer.py:Mixer" (x: [B, S, D], rank: int) -> [B, S, D]\n'

    model = lowered(text.replace("dsk 1\n", f"dsk 1\n\n{extern}"))

    mixer = node(model, "x_2")
    assert (mixer.op, mixer.label, mixer.outputs) == ("extern", "mixer", (Tensor((B, S, 32)),))
    assert mixer.attrs == {"name": "mixer", "path": "mixer.py", "class": "Mixer", "arguments": {"rank": 4}}


def test_calls_without_parameters_have_labels_of_their_own() -> None:
    block = "block double(x: [B, S, D]) { return x + x }"

    model = lowered(spec_text("x = double(double(x))", block))

    labels = [n.label for n in model.bodies["forward"].nodes if n.op == "call"]
    assert len(set(labels)) == 2
    assert None not in labels


def test_the_safe_fix_of_equal_labels_settles_them() -> None:
    text = spec_text("x = linear(gelu(linear(x, out: 64)), out: dim)")
    _, sink = lowered_with(text)
    (finding,) = sink
    assert finding.code == "E0512"
    assert finding.fix is not None
    assert finding.fix.safe

    span = finding.fix.span
    fixed = text[: span.start] + finding.fix.replacement + text[span.end :]

    assert {"linear.weight", "linear_2.weight"} <= {p.path for p in owned(lowered(fixed).bodies)}
