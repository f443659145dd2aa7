"""The layers of generated models against torch, transformers, and plain implementations written from the papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from dskc.runtime import layers

transformers = pytest.importorskip("transformers")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def llama(theta: float, scaling: dict[str, object]) -> tuple[Callable[..., Tensor], Tensor, Tensor]:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = transformers.LlamaConfig(
        hidden_size=64,
        num_attention_heads=4,
        max_position_embeddings=1024,
        rope_parameters={"rope_theta": theta, "rope_type": "default", **scaling},
    )
    x = random(1, 1, 64)
    cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(300)[None])
    return apply_rotary_pos_emb, cos, sin


SCALINGS = {
    "none": ({}, {}, 1.0),
    "linear": ({"factor": 4.0}, {"rope_type": "linear", "factor": 4.0}, 1.0),
    "llama3": (
        {"factor": 8.0, "original": 64, "low": 1.0, "high": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "original_max_position_embeddings": 64,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
        },
        1.0,
    ),
    "yarn": (
        {"factor": 16.0, "original": 64, "low": 1.0, "high": 32.0},
        {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 64},
        0.1 * math.log(16) + 1,  # transformers folds YaRN's attention factor into the tables
    ),
}


@pytest.mark.parametrize("scaling", SCALINGS)
def test_rope_is_that_of_transformers(scaling: str) -> None:
    ours, theirs, factor = SCALINGS[scaling]
    apply, cos, sin = llama(10_000.0, theirs)
    q, k = random(2, 4, 300, 16), random(2, 2, 300, 16, seed=1)
    expected = apply(q, k, cos / factor, sin / factor)
    for x, y in zip((q, k), expected, strict=True):
        torch.testing.assert_close(layers.rope(x, 10_000.0, scaling=scaling, **ours), y, atol=2e-5, rtol=1e-5)


def test_rope_interleaved_is_rotation_of_complex_numbers() -> None:
    x = random(2, 7, 3, 8)
    angle = torch.outer(torch.arange(7.0), 100.0 ** -(torch.arange(4) / 4))
    turn = torch.polar(torch.ones(7, 1, 4), angle[:, None])
    expected = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (4, 2))) * turn).flatten(-2)
    torch.testing.assert_close(layers.rope(x, 100.0, sequence=-3, interleaved=True), expected)


def test_compiled_rope_is_the_eager_one_at_any_length() -> None:
    """The table is an op of its own in the graph: it must not freeze the first length."""
    compiled = torch.compile(lambda x: layers.rope(x, 10_000), fullgraph=True)
    for length in (16, 32, 48):
        x = torch.randn(2, 3, length, 8)
        torch.testing.assert_close(compiled(x), layers.rope(x, 10_000))


def test_rope_scores_depend_on_distance_only() -> None:
    q, k = random(8).expand(64, 8), random(8, seed=1).expand(64, 8)
    scores = layers.rope(q, 1000.0) @ layers.rope(k, 1000.0).T
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], atol=1e-5, rtol=1e-5)


def test_rope_of_bf16_is_rounded_once() -> None:
    x = random(1, 1, 4096, 64).bfloat16()
    exact = layers.rope(x.double(), 500_000.0)
    result = layers.rope(x, 500_000.0)
    assert result.dtype == torch.bfloat16
    assert ((result.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-3).all()


def test_rope_table_grows_and_serves_shorter_inputs() -> None:
    x = random(1, 1, 40, 8)
    long = layers.rope(x, 77.0)
    torch.testing.assert_close(layers.rope(x[:, :, :9], 77.0), long[:, :, :9])
    longer = layers.rope(F.pad(x, (0, 0, 0, 60)), 77.0)
    torch.testing.assert_close(longer[:, :, :40], long)


def test_rope_table_made_in_inference_mode_trains() -> None:
    x = random(1, 1, 5, 8)
    with torch.inference_mode():
        layers.rope(x, 78.0)
    y = x.clone().requires_grad_()
    layers.rope(y, 78.0).sum().backward()
    assert y.grad is not None


@pytest.mark.parametrize("smooth", [0.0, 0.1])
@pytest.mark.parametrize("classes", [10, 3000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_is_that_of_torch(smooth: float, classes: int, dtype: torch.dtype) -> None:
    rows = 400  # several parts of 2**19 elements at 3,000 classes
    logits = (random(rows, classes) * 3).to(dtype).view(2, rows // 2, classes).requires_grad_()
    targets = torch.randint(0, classes, (2, rows // 2), generator=torch.Generator().manual_seed(0))
    targets[0, :7] = -100
    loss = layers.cross_entropy(logits, targets, label_smoothing=smooth)
    (gradient,) = torch.autograd.grad(loss * 3, logits)
    copy = logits.detach().double().requires_grad_()
    expected = F.cross_entropy(copy.flatten(0, 1), targets.flatten(), label_smoothing=smooth)
    (wanted,) = torch.autograd.grad(expected * 3, copy)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), wanted, rtol=5e-3 if dtype == torch.bfloat16 else 1e-4, atol=1e-7)


def test_cross_entropy_of_nothing_is_nan_as_in_torch() -> None:
    assert layers.cross_entropy(random(3, 4), torch.full((3,), -100)).isnan()


CHECKED: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "rope": (lambda x: layers.rope(x, 100.0), ((2, 5, 8),)),
    "rope interleaved": (lambda x: layers.rope(x, 100.0, sequence=-3, interleaved=True), ((2, 3, 2, 4),)),
    "cross_entropy": (lambda x: layers.cross_entropy(x, torch.tensor([1, 0, -100])), ((3, 5),)),
    "cross_entropy smooth": (
        lambda x: layers.cross_entropy(x, torch.tensor([1, 0, 4]), label_smoothing=0.2),
        ((3, 5),),
    ),
    "quick_gelu": (layers.quick_gelu, ((3, 4),)),
    "shift": (lambda x: layers.shift(x, -2), ((2, 5, 3),)),
    "dispatch": (lambda x: layers.dispatch(x, torch.tensor([[0, 2], [2, 1], [1, 0]]), 4)[0], ((3, 4),)),
    "combine": (lambda r, w: layers.combine(r, torch.tensor([3, 0, 5, 1, 2, 4]), w), ((6, 4), (3, 2))),
}


@pytest.mark.parametrize("name", CHECKED)
def test_gradients(name: str) -> None:
    function, shapes = CHECKED[name]
    inputs = tuple(random(*shape, seed=i, dtype=torch.float64).requires_grad_() for i, shape in enumerate(shapes))
    # fp32 tables of rope bound its precision.
    assert gradcheck(function, inputs, atol=1e-5, rtol=1e-4)


def gate(
    logits: np.ndarray, bias: np.ndarray, top: int, groups: int, kept: int, scale: float
) -> tuple[list[dict[int, float]], list[set[int]]]:
    """DeepSeek-V3's gate token by token, written from the report's equations 12 to 16."""
    weights, groups_chosen = [], []
    for row in logits:
        scores = 1 / (1 + np.exp(-row.astype(np.float64)))
        choice = scores + bias
        members = np.split(np.arange(len(row)), groups)
        strength = [sum(sorted(choice[m])[-2:]) for m in members]
        best = sorted(range(groups), key=lambda g: -strength[g])[:kept]
        allowed = [e for g in best for e in members[g]]
        chosen = sorted(allowed, key=lambda e: -choice[e])[:top]
        total = sum(scores[e] for e in chosen)
        weights.append({int(e): scale * scores[e] / total for e in chosen})
        groups_chosen.append(set(best))
    return weights, groups_chosen


@pytest.mark.parametrize(("groups", "kept"), [(1, 1), (4, 2), (8, 4)])
def test_router_is_the_gate_of_deepseek_v3(groups: int, kept: int) -> None:
    router = layers.Router(12, 16, 3, groups=groups, kept=kept, scale=2.5)
    router.weight.data = random(16, 12)
    router.bias.copy_(random(16, seed=2) * 0.3)
    x = random(5, 40, 12, seed=3)
    weights, chosen = router(x)
    expected, best = gate(
        (x.flatten(0, 1) @ router.weight.T).detach().numpy(), router.bias.numpy(), 3, groups, kept, 2.5
    )
    for w, c, wanted, allowed in zip(weights.flatten(0, 1), chosen.flatten(0, 1), expected, best, strict=True):
        assert set(c.tolist()) == set(wanted)
        assert {e // (16 // groups) for e in c.tolist()} <= allowed
        assert w.tolist() == pytest.approx([wanted[e] for e in c.tolist()], rel=1e-5)


def test_router_bias_changes_choice_but_not_weights() -> None:
    router = layers.Router(8, 6, 2, normalize=False)
    router.weight.data = random(6, 8)
    x = random(50, 8, seed=1)
    scores = (x @ router.weight.T).sigmoid()
    router.bias[4] = 10.0
    weights, chosen = router(x)
    assert (chosen == 4).any(-1).all()
    torch.testing.assert_close(weights, scores.gather(-1, chosen))
    weights.sum().backward()
    assert router.weight.grad is not None
    assert not router.bias.requires_grad


def test_router_scores_stay_fp32_under_autocast() -> None:
    router = layers.Router(64, 8, 2)
    router.weight.data = random(8, 64)
    x = random(100, 64)
    with torch.autocast("cpu", torch.bfloat16):
        weights, chosen = router(x)
    exact, same = router(x)
    assert torch.equal(chosen, same)
    torch.testing.assert_close(weights, exact)


def violation(load: Tensor) -> float:
    """MaxVio: how far the fullest expert is above the mean, relative to it."""
    return float(load.max() / load.mean() - 1)


def test_balancing_lowers_the_violation_and_sums_micro_batches() -> None:
    router = layers.Router(16, 8, 2, balance=0.005)
    router.weight.data = (random(8, 16) + random(1, 16, seed=1)) * 0.3
    model = torch.nn.Sequential(router)
    history = []
    for step in range(150):
        for micro in range(2):
            router(random(256, 16, seed=100 + 2 * step + micro) + 0.5)
        assert router.load.sum() == 2 * 256 * 2
        history.append(violation(router.load))
        layers.update_router_bias(model)
        assert router.load.sum() == 0
    assert history[0] > 0.5
    assert sum(history[-10:]) / 10 < history[0] / 3


def test_load_counts_training_only_and_is_not_saved() -> None:
    router = layers.Router(8, 4, 1).eval()
    router(random(10, 8))
    assert router.load.sum() == 0
    assert set(router.state_dict()) == {"weight", "bias"}


def test_balance_zero_keeps_the_bias() -> None:
    router = layers.Router(8, 4, 1, balance=0.0)
    router.weight.data = random(4, 8)
    router(random(10, 8))
    layers.update_router_bias(router)
    assert not router.bias.any()


@pytest.mark.parametrize("bf16", [False, True])
def test_mixture_of_experts_is_the_loop_over_tokens(bf16: bool) -> None:
    router, up = layers.Router(8, 4, 2), layers.ExpertLinear(4, 8, 6)
    router.weight.data, up.weight.data = random(4, 8), random(4, 6, 8, seed=1)
    x = random(2, 5, 8, seed=2)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        weights, chosen = router(x)
        rows, sizes, order = layers.dispatch(x, chosen, 4)
        result = layers.combine(up(rows, sizes), order, weights)
    expected = torch.zeros(2, 5, 6)
    for b in range(2):
        for s in range(5):
            for weight, expert in zip(weights[b, s], chosen[b, s].tolist(), strict=True):
                expected[b, s] += weight * (up.weight[expert] @ x[b, s])
    assert sizes.tolist() == [(chosen == e).sum().item() for e in range(4)]
    tolerance = {"atol": 0.1, "rtol": 0.02} if bf16 else {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(result.float(), expected, **tolerance)


def test_experts_without_rows_get_zero_gradients() -> None:
    up = layers.ExpertLinear(3, 4, 2)
    up(random(5, 4), torch.tensor([5, 0, 0])).sum().backward()
    assert up.weight.grad is not None
    assert not up.weight.grad[1:].any()


def test_contrastive_is_the_loss_of_clip() -> None:
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss as clip_loss

    a, b = F.normalize(random(6, 8), dim=-1), F.normalize(random(6, 8, seed=1), dim=-1)
    scale = torch.tensor(14.3)
    torch.testing.assert_close(layers.contrastive(a, b, scale), clip_loss(scale * b @ a.T))


def test_kl_divergence_from_its_definition() -> None:
    student, teacher = random(3, 4, 7), random(3, 4, 7, seed=1)
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    expected = 4 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(layers.kl_divergence(student, teacher, 2.0), expected)
    assert layers.kl_divergence(student, student) < 1e-6


def test_accuracy_counts_top_logits_and_skips_ignored_targets() -> None:
    logits = torch.tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]])
    targets = torch.tensor([0, 1, 2, -100])
    assert layers.accuracy(logits, targets) == pytest.approx(1 / 3)
    assert layers.accuracy(logits, targets, top=2) == pytest.approx(2 / 3)


@pytest.mark.parametrize("by", [-7, -2, 0, 1, 7])
def test_shift_moves_each_place(by: int) -> None:
    x = torch.arange(10).view(2, 5)
    expected = [[row[i - by] if 0 <= i - by < 5 else -1 for i in range(5)] for row in x.tolist()]
    assert layers.shift(x, by, fill=-1).tolist() == expected


def test_quick_gelu_is_that_of_transformers() -> None:
    from transformers.activations import ACT2FN

    x = random(100)
    torch.testing.assert_close(layers.quick_gelu(x), ACT2FN["quick_gelu"](x))
