"""Sharing: whose parameters a call uses, and which of them are counted."""

from dskc.compiler.lower.parameters import owned, total

from .specs import lowered, lowered_with, node, spec_text

TABLE = 64 * 32


def paths(text: str) -> list[str]:
    return [p.path for p in owned(lowered(text).bodies)]


def test_an_equal_call_uses_the_other_one() -> None:
    model = lowered(spec_text("x = swiglu(swiglu(x) as first) share first"))

    again = node(model, "x_2")
    assert (again.label, again.share, again.body) == (None, ("first",), "swiglu")
    assert total(model.bodies, model.sizes) == 2 * TABLE + 3 * 32 * 128


def test_another_op_ties_the_parameter_of_the_same_name() -> None:
    text = spec_text("").replace(
        "linear(x, out: data.vocab) as head", "linear(x, out: data.vocab, bias: true) share embedding"
    )

    model = lowered(text)

    tied = next(n for n in model.bodies["forward"].nodes if n.op == "linear")
    assert (tied.label, tied.share) == ("linear", ("embedding",))
    assert [p.path for p in owned(model.bodies)] == ["embedding.weight", "linear.bias"]
    assert total(model.bodies, model.sizes) == TABLE + 64


def test_an_op_that_differs_otherwise_ties_and_keeps_its_attributes() -> None:
    model = lowered(spec_text("x = rms_norm(x) as a\n x = rms_norm(x, eps: 1e-3) share a"))

    second = node(model, "x_3")
    assert (second.label, second.share, second.attrs["eps"]) == ("rms_norm", ("a",), 1e-3)
    assert "rms_norm.weight" not in [p.path for p in owned(model.bodies)]


def test_a_block_of_other_input_sizes_ties_all_its_parameters() -> None:
    calls = "y = part(concat(x, x, dim: 1)) as long\n x = part(x) share long\n x = x + mean(y)"

    model = lowered(spec_text(calls, "block part(x: [B, T, D]) { return linear(gelu(x), out: D) as only }"))

    second = node(model, "x_2")
    assert (second.label, second.share, second.body) == ("part", ("long",), "part_2")
    assert [p.path for p in owned(model.bodies)] == ["embedding.weight", "long.only.weight", "head.weight"]


def test_all_iterations_use_a_call_outside() -> None:
    model = lowered(spec_text("x = swiglu(x) as first\n repeat 5 as layers { x = gelu(swiglu(x) share first) }"))

    repeat = node(model, "x_3")
    inner = next(n for n in model.bodies[str(repeat.body)].nodes if n.op == "call")
    assert (inner.label, inner.share) == (None, ("^", "first"))
    assert total(model.bodies, model.sizes) == 2 * TABLE + 3 * 32 * 128


def test_a_call_after_a_repeat_uses_one_iteration() -> None:
    model = lowered(
        spec_text("repeat 5 as layers { x = swiglu(x) }\n x = x * mean(linear(x, out: 128) share layers.4.up)")
    )

    tied = next(n for n in model.bodies["forward"].nodes if n.op == "linear")
    assert (tied.label, tied.share) == (None, ("layers", "4", "up"))
    assert total(model.bodies, model.sizes) == 2 * TABLE + 5 * 3 * 32 * 128


def test_sharing_inside_a_block_stays_inside_each_of_its_calls() -> None:
    block = "block pair(x: [B, S, D]) { return linear(linear(x, out: D) as one, out: D) share one }"

    assert paths(spec_text("x = pair(x) as a\n x = pair(x) as b", block)) == [
        "embedding.weight",
        "a.one.weight",
        "b.one.weight",
        "head.weight",
    ]


def test_sharing_with_a_part_of_a_block() -> None:
    block = "block part(x: [B, S, D]) { return linear(gelu(linear(x, out: 64) as up), out: D) as down }"

    assert paths(
        spec_text(
            "x = part(x)\n x = gelu(linear(x, out: 64) share part.up)\n x = linear(x, out: 32) share part.down", block
        )
    ) == [
        "embedding.weight",
        "part.up.weight",
        "part.down.weight",
        "head.weight",
    ]


def test_what_is_shared_with_an_exit_is_counted_once() -> None:
    block = (
        "block scored(x: [B, S, D], targets: int[B, S]) { return cross_entropy(linear(x, out: 64) as scores, targets) }"
    )
    text = spec_text("exit gelu(x) as early", block).replace(
        "cross_entropy(linear(x, out: data.vocab) as head, targets)", "scored(x, targets)"
    )

    model = lowered(text)

    assert [(o.kind, o.name) for o in model.objectives] == [
        ("exit", "early"),
        ("loss", "scored"),
        ("loss", "scored_early"),
    ]
    assert node(model, "scored_early").share == ("scored",)
    assert total(model.bodies, model.sizes) == 2 * TABLE


def test_shapes_that_differ_are_refused_with_both() -> None:
    _, sink = lowered_with(
        spec_text("x = linear(x, out: 32) as a\n x = linear(linear(x, out: 8) as b, out: 32) share a")
    )

    (finding,) = sink
    assert finding.code == "E0515"
    assert "[32, 8]" in finding.message
    assert "[32, 32]" in finding.message
