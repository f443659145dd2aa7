"""What the loss guard and the policies of failing starts become: lines of `train.py`, or their absence."""

from __future__ import annotations

import re

import pytest

from .compiled import compile_source, example


def step(text: str) -> list[str]:
    """From the norm of the gradients to the end of the step."""
    found = re.search(r" *norm = .*?\n(.*?) *position\.step \+= 1\n(.*?)\n", text, re.DOTALL)
    assert found is not None
    return [line.strip() for line in (found[1] + found[2]).splitlines()]


def train(*flags: str, name: str = "stdlib_gpt") -> str:
    return compile_source(example(name), *flags)["train.py"]


def test_without_a_guard_the_update_waits_for_nothing() -> None:
    text = train()
    assert step(text)[:3] == [
        "updates.step()",
        "updates.zero_grad()",
        "values = guard.finite(position.step + 1, loss, norm)",
    ]
    assert "spik" not in text
    assert "pass_over" not in text
    assert "health.watch(flags.run, TIMES, attempts=ATTEMPTS)" in text


def test_a_step_that_is_skipped_is_judged_before_the_update() -> None:
    text = train("training.loss_guard=skip(deviations: 5, window: 64, most: 7)")
    assert step(text)[:4] == [
        "values = guard.read(loss, norm)",
        "if spiking.accepts(position.step + 1, values, model):",
        "updates.step()",
        "updates.zero_grad()",
    ]
    assert "spiking = spikes.Skip(DEVIATIONS, WINDOW, MOST_SPIKES)" in text
    assert [re.search(rf"{name} = (.*?)  #", text)[1] for name in ("DEVIATIONS", "WINDOW", "MOST_SPIKES")] == [  # type: ignore[index]
        "5.0", "64", "7",
    ]  # fmt: skip
    assert 'extra={"spikes": spiking}' in text
    assert 'values["gradient_norm"], spiking.count)' in text
    assert "spiking.keep" not in text  # its forward pass changes no buffers


@pytest.mark.parametrize("then", ["skip", "retry"])
def test_a_run_that_goes_back_has_a_state_to_go_back_to(then: str) -> None:
    text = train(f"training.loss_guard=roll_back(then: {then})")
    assert ("retry=True" in text) == (then == "retry")
    assert "spiking.go_back(checkpoints, model, updates, position, log)" in text
    assert text.index("checkpoints.save(model") < text.index("health.ready(") < text.index("continue")


def test_buffers_that_a_forward_pass_changes_are_kept() -> None:
    text = train("training.loss_guard=skip()", name="resnet50")
    assert re.search(r"while position.step < last:\n +spiking.keep\(model\)\n", text)


def test_what_comes_after_an_update_belongs_to_it() -> None:
    text = train("training.loss_guard=skip()", name="deepseek_small")
    assert "                layers.update_router_bias(model)\n            updates.zero_grad()" in text


def test_failing_samples_are_passed_over_on_request() -> None:
    text = train("checkpoint.skip_failing=2", "checkpoint.attempts=5")
    assert "attempts=ATTEMPTS, skip_failing=SKIP_FAILING)" in text.replace("\n            ", " ")
    assert "health.pass_over(position, MICRO_BATCH * ACCUMULATION)" in text
    assert "ATTEMPTS = 5" in text
