"""What counts as a spike, and that a step which is left out leaves no trace."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch

from dskc.runtime import checkpoint, optimizer, record, spikes
from dskc.runtime.guard import NonFiniteError

from .programs import Net

MODEL = torch.nn.Linear(1, 1)


def usual(step: int) -> dict[str, float]:
    """A loss that falls slowly and a norm, both noisy."""
    noise = random.Random(step)
    return {"loss": 3 - step / 1000 + noise.gauss(0, 0.05), "gradient_norm": 1 + noise.gauss(0, 0.1)}


def told(guard: spikes.Spikes, steps: int = 128) -> spikes.Spikes:
    for step in range(steps):
        assert guard.found(usual(step)) == "", step
    return guard


def test_the_usual_noise_is_no_spike_and_a_leap_is() -> None:
    guard = told(spikes.Spikes(), 3000)
    assert "loss is 1.2" in guard.found({"loss": 1.2, "gradient_norm": 9.0}) or guard.found(
        {"loss": 1.2, "gradient_norm": 9.0}
    ).startswith("gradient_norm is 9, ")
    assert guard.found({"loss": 4.0, "gradient_norm": 1.0}).startswith("loss is 4, ")


def test_lower_is_no_spike() -> None:
    assert told(spikes.Spikes()).found({"loss": 0.5, "gradient_norm": 0.01}) == ""


def test_past_spikes_do_not_move_the_measure() -> None:
    guard = told(spikes.Spikes())
    for _ in range(500):
        assert guard.found({"loss": 9.0, "gradient_norm": 1.0})


def test_a_loss_that_hardly_varies_may_still_vary() -> None:
    guard = spikes.Spikes()
    for _ in range(128):
        assert guard.found({"loss": 2.0}) == ""
    assert guard.found({"loss": 2.1}) == ""
    assert guard.found({"loss": 2.2})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_count_from_the_first_step_and_alone(value: float) -> None:
    for guard in (spikes.Spikes(), spikes.Spikes(deviations=None)):
        assert guard.found({"loss": 1.0, "gradient_norm": value}) == f"gradient_norm is {value}"
    assert told(spikes.Spikes(deviations=None)).found({"loss": 1e9}) == ""


def test_a_resumed_run_decides_the_same() -> None:
    guard, other = told(spikes.Spikes()), spikes.Spikes()
    other.restore(json.loads(json.dumps(guard.state())))
    for loss in (3.1, 3.2, 3.3, 3.4, 9.0):
        values = {"loss": loss, "gradient_norm": 1.0}
        assert guard.found(values) == other.found(values)


def test_a_skipped_step_leaves_buffers_as_they_were() -> None:
    guard, net = spikes.Skip(), Net()
    net(torch.rand(4, 1, 8, 8))
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    guard.keep(net)
    net(torch.full((4, 1, 8, 8), math.nan))

    assert not guard.accepts(7, {"loss": math.nan}, net)

    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    assert guard.count == 1


def test_too_many_skips_in_a_row_end_the_run() -> None:
    guard = spikes.Skip(most=2)
    for _ in range(3):
        assert not guard.accepts(1, {"loss": math.nan}, MODEL)
        assert not guard.accepts(2, {"loss": math.nan}, MODEL)
        assert guard.accepts(3, {"loss": 1.0}, MODEL)
    guard.accepts(1, {"loss": math.nan}, MODEL)
    guard.accepts(2, {"loss": math.nan}, MODEL)
    with pytest.raises(NonFiniteError, match="step 3: loss is nan; 2 steps before it were skipped for the like"):
        guard.accepts(3, {"loss": math.nan}, MODEL)


@pytest.mark.parametrize("retry", [False, True])
def test_going_back_restores_everything_but_the_samples_passed(tmp_path: Path, retry: bool) -> None:
    guard, net = spikes.RollBack(retry=retry), torch.nn.Linear(3, 2)
    updates = optimizer.adamw(net, lr=0.1)
    checkpoints = checkpoint.Checkpoints(tmp_path / "checkpoints", "plan", extra={"spikes": guard})
    position = checkpoint.Position()

    def step(log: record.Record) -> None:
        net(torch.rand(4, 3)).square().mean().backward()
        updates.step()
        updates.zero_grad()
        position.step, position.samples = position.step + 1, position.samples + 4
        assert guard.accepts(position.step, {"loss": 1.0})
        log.step(position.step, 1.0, 0.1)

    with record.Record(tmp_path, 9, 4, "samples", tensorboard=False) as log:
        step(log)
        checkpoints.save(net, updates, position)
        kept = {name: value.clone() for name, value in net.state_dict().items()}
        draws = torch.get_rng_state()
        step(log)
        position.samples += 4
        assert not guard.accepts(3, {"loss": math.nan})
        guard.go_back(checkpoints, net, updates, position, log)
        assert (position.step, position.samples) == (1, 4 if retry else 12)
        assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())
        assert torch.equal(torch.get_rng_state(), draws)
        assert guard.count == 1
        assert [each["step"] for each in record.read(log.path)] == [1]
        step(log)
    assert [(each["step"], each.get("left_out")) for each in record.read(log.path)] == [(1, None), (2, None)]


def test_coming_back_to_the_same_step_too_often_ends_the_run() -> None:
    guard = spikes.RollBack(most=2)
    assert not guard.accepts(7, {"loss": math.nan})
    assert guard.accepts(5, {"loss": 1.0})
    assert not guard.accepts(6, {"loss": math.nan})
    with pytest.raises(NonFiniteError, match="gone back 2 times and came here again"):
        guard.accepts(7, {"loss": math.nan})

    other = spikes.RollBack(most=2)
    for step in (7, 8, 9, 10):
        assert not other.accepts(step, {"loss": math.nan})


def test_a_loss_that_is_nan_spoils_no_mean(tmp_path: Path) -> None:
    with record.Record(tmp_path, 2, 4, "samples", every=2, tensorboard=False) as log:
        log.step(1, math.nan, 0.1, math.nan, 1)
        log.step(2, 3.0, 0.1, 1.0, 1)
    (found,) = record.read(log.path)
    assert (found["loss"], found["left_out"]) == (3.0, 1)
