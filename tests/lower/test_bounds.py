"""Size of the work: it follows the text of a spec, not the model that the text describes."""

import pytest

from dskc.compiler.lower.parameters import total

from .specs import lowered, lowered_with, spec_text


def nodes(text: str) -> int:
    return sum(len(body.nodes) for body in lowered(text).bodies.values())


def test_the_count_of_a_repeat_does_not_matter() -> None:
    few, many = (spec_text(f"repeat {n} as layers {{ x = swiglu(x) }}") for n in (6, 10**9))

    assert nodes(few) == nodes(many)
    assert total(lowered(many).bodies, {}) == 2 * 64 * 32 + 10**9 * 3 * 32 * 128


def doubled(depth: int, call: str) -> str:
    blocks = [f"block b0(x: [B, S, D]) {{ return {call} }}"]
    blocks += [f"block b{i}(x: [B, S, D]) {{ return b{i - 1}(b{i - 1}(x) as one) as two }}" for i in range(1, depth)]
    return spec_text(f"x = b{depth - 1}(x)", "\n  ".join(blocks))


def test_blocks_that_call_the_one_before_twice() -> None:
    assert len(lowered(doubled(64, "gelu(x)")).bodies) == 65


def test_parameters_that_double_at_each_block_are_refused() -> None:
    model, sink = lowered_with(doubled(64, "linear(x, out: D)"))

    (finding,) = sink
    assert model is None
    assert finding.code == "E0517"
    assert f"{2**63 + 2:,}" in finding.message


@pytest.mark.parametrize("share", ["share one", "share two"])
def test_comparing_large_blocks_for_sharing_is_bounded(share: str) -> None:
    text = doubled(40, "linear(x, out: D)").replace(
        "x = b39(x)",
        f"y = b39(concat(x, x, dim: 1)) as one\n    x = b38(x) as two\n    x = b39(x) {share}\n    x = x + mean(y)",
    )

    _, sink = lowered_with(text)

    assert {finding.code for finding in sink} <= {"E0515", "E0517"}
    assert len(sink) > 0


def test_blocks_as_deep_as_they_may_be_with_calls_as_deep_as_they_may_be() -> None:
    blocks = ["block b0(x: [B, S, D]) { return gelu(x) }"]
    blocks += [f"block b{i}(x: [B, S, D]) {{ return {'gelu(' * 30}b{i - 1}(x){')' * 30} }}" for i in range(1, 100)]

    assert nodes(spec_text("x = b99(x)", "\n  ".join(blocks))) > 99 * 30
