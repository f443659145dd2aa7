"""Evaluation, generation, the device and the way a run ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dskc.runtime import device, evaluate, generate
from dskc.runtime.errors import RunError, main, positive

CPU = torch.device("cpu")


class Successor(nn.Module):
    """Thinks that token t is followed by t + 1, less surely by t + 2, ..."""

    def __init__(self, vocab: int = 10) -> None:
        super().__init__()
        self.vocab = vocab
        self.scale = nn.Parameter(torch.ones(()))
        self.longest = 0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.longest = max(self.longest, tokens.shape[1])
        assert not self.training
        distance = (torch.arange(self.vocab) - tokens[..., None] - 1) % self.vocab
        return -distance.float() * self.scale


def test_evaluation_counts_every_sample_once() -> None:
    values = torch.arange(10.0)
    batches = [{"x": values[:4]}, {"x": values[4:8]}, {"x": values[8:]}]
    model = nn.Dropout()
    found = evaluate.mean(model, lambda x: {"loss": x.mean(), "square": x.square().mean()}, batches)
    assert found == {"loss": 4.5, "square": 28.5}
    assert model.training


def test_evaluation_weighs_each_target_that_counts() -> None:
    losses = torch.tensor([1.0, 2.0, 4.0, 0.5, 3.0])
    kept = torch.tensor([True, True, True, False, True])
    batches = [{"x": losses[:2], "kept": kept[:2]}, {"x": losses[2:], "kept": kept[2:]}]

    def objectives(x: torch.Tensor, kept: torch.Tensor, counted: torch.Tensor) -> dict[str, torch.Tensor]:
        loss = (x * kept).sum() / counted[0]
        return {"loss": loss + x.mean(), "perplexity": loss.exp()}

    counted = evaluate.counted(lambda x, kept: kept.sum().reshape(1), batches)
    found = evaluate.mean(nn.Dropout(), objectives, batches, counted, geometric=("perplexity",))
    wanted = losses[kept].mean()
    assert found == pytest.approx({"loss": (wanted + losses.mean()).item(), "perplexity": wanted.exp().item()})


def test_evaluation_is_without_dropout_and_gradients() -> None:
    model = nn.Dropout(0.5)
    seen = []

    def objectives(x: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(torch.is_grad_enabled())
        return {"loss": model(x).mean()}

    assert evaluate.mean(model, objectives, [{"x": torch.ones(8)}]) == {"loss": 1.0}
    assert seen == [False]
    with pytest.raises(RunError, match="no validation samples"):
        evaluate.mean(model, objectives, [])


def test_temperature_zero_takes_the_likeliest() -> None:
    model = Successor()
    assert generate.tokens(model, [3], 5, sequence=4, seed=1, temperature=0.0) == [3, 4, 5, 6, 7, 8]
    assert model.longest == 4
    assert model.training
    assert generate.tokens(model, [3], 5, sequence=4, seed=1, top_k=1) == [3, 4, 5, 6, 7, 8]


def test_samples_are_repeatable_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first = generate.tokens(Successor(), [0], 40, sequence=4, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == generate.tokens(Successor(), [0], 40, sequence=4, seed=1)
    assert first != generate.tokens(Successor(), [0], 40, sequence=4, seed=2)


def test_ids_that_the_tokenizer_lacks_are_never_chosen() -> None:
    ids = generate.tokens(Successor(), [0], 200, sequence=4, seed=1, temperature=3.0, vocab=6)
    assert set(ids) == set(range(6))


def test_choice_follows_the_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).expand(50_000, 4)
    drawn = generate.choose(logits, temperature=0.5, top_k=3, generator=generator)
    shares = torch.bincount(drawn.flatten(), minlength=4) / 50_000
    expected = torch.softmax(torch.tensor([4.0, 2.0, 0.0]), dim=0)
    torch.testing.assert_close(shares[:3], expected, atol=0.01, rtol=0)
    assert shares[3] == 0


def test_where_nothing_compiles_the_function_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device.shutil, "which", lambda _: None)
    monkeypatch.delenv("CXX", raising=False)

    def double(x: int) -> int:
        return 2 * x

    assert device.compiled(double, CPU) is double
    assert "runs uncompiled and slower: no compiler: g++ is not installed" in capsys.readouterr().out


def test_missing_headers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert device.missing_compiler(CPU) == f"Python's header files are not installed ({tmp_path / 'Python.h'})"


def test_memory_peak_counts_bytes() -> None:
    before = device.memory_peak(CPU)
    block = torch.ones(64 << 20, dtype=torch.uint8)
    assert device.memory_peak(CPU) >= before
    assert 64 << 20 < device.memory_peak(CPU) < 1 << 40
    del block


def test_tf32_is_set_for_both_libraries() -> None:
    for allowed in (True, False):
        device.allow_tf32(allowed)
        assert torch.backends.cudnn.allow_tf32 is allowed
        assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest")


def test_only_deterministic_algorithms() -> None:
    try:
        device.deterministic()
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("error", "code"), [(RunError("the reason"), 1), (KeyboardInterrupt(), 130)])
def test_a_run_ends_without_a_traceback(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        main(program)
    assert caught.value.code == code
    assert capsys.readouterr().err == ("\nerror: the reason\n" if code == 1 else "\nstopped\n")


def test_importing_the_runtime_loads_nothing_it_does_not_need_yet() -> None:
    modules = "arrays, augment, checkpoint, device, errors, evaluate, generate, guard, initialize, optimizer, packing"
    heavy = ["matplotlib", "sklearn", "pyarrow", "tensorboard", "tokenizers", "scipy"]
    code = (
        f"import sys\nfrom dskc.runtime import {modules}, record, schedule, sources, tokenizer\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(("text", "valid"), [("1", True), ("25", True), ("0", False), ("-3", False), ("x", False)])
def test_a_number_of_steps_is_above_zero(text: str, valid: bool) -> None:
    if valid:
        assert positive(text) == int(text)
    else:
        with pytest.raises(ValueError, match=r"above 0|invalid literal"):
            positive(text)
