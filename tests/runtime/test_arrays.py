"""Samples in memory, and changes of images that can be repeated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.datasets import load_digits

from dskc.runtime import arrays, augment
from dskc.runtime.errors import RunError

CPU = torch.device("cpu")


def test_digits_are_scikit_learns() -> None:
    (batch,) = arrays.digits(seed=1, device=CPU).in_order(2_000)
    theirs = load_digits()
    assert batch["images"].shape == (1_797, 1, 8, 8)
    np.testing.assert_array_equal(batch["images"][:, 0].numpy() * 16, theirs.images)
    np.testing.assert_array_equal(batch["labels"].numpy(), theirs.target)


def test_split_is_a_partition_chosen_by_the_seed() -> None:
    samples = arrays.Arrays({"x": torch.arange(1_000)}, seed=3)
    training, validation = samples.split(0.2, seed=3)
    assert len(validation) == 200
    assert sorted([*training.fields["x"].tolist(), *validation.fields["x"].tolist()]) == list(range(1_000))
    assert torch.equal(validation.fields["x"], samples.split(0.2, seed=3)[1].fields["x"])
    assert not torch.equal(validation.fields["x"], samples.split(0.2, seed=4)[1].fields["x"])
    with pytest.raises(RunError, match="leaves nothing"):
        samples.split(0.0001, seed=3)


def test_batches_do_not_depend_on_their_size() -> None:
    change = augment.random(seed=3, shift=1, rotate=10)
    training, validation = arrays.digits(seed=3, device=CPU, augment=change).split(0.2, seed=3)
    whole = training.batch(1_400, 120)  # crosses into the second epoch
    parts = [training.batch(1_400 + 40 * part, 40) for part in range(3)]
    for name in ("images", "labels"):
        assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])
    assert torch.equal(next(validation.in_order(5))["images"], validation.fields["images"][:5])


def test_augmentation_differs_by_epoch_and_sample() -> None:
    change = augment.random(seed=3, shift=1, rotate=10)
    images = torch.rand(1, 1, 8, 8).expand(4, 1, 8, 8)
    epochs, ids = torch.tensor([0, 0, 1, 1]), torch.tensor([5, 6, 5, 6])
    first = change({"images": images}, epochs, ids)["images"]
    assert torch.equal(first, change({"images": images}, epochs, ids)["images"])
    for one in range(4):
        for other in range(one):
            assert not torch.equal(first[one], first[other])
    assert not torch.equal(first, augment.random(4, 1, 10)({"images": images}, epochs, ids)["images"])


def test_shift_moves_right_and_down() -> None:
    images = torch.rand(2, 3, 6, 9)
    moved = augment.move(images, torch.tensor([[2.0, 1.0], [0.0, 0.0]]), torch.zeros(2))
    torch.testing.assert_close(moved[0, :, 1:, 2:], images[0, :, :-1, :-2], atol=1e-5, rtol=0)
    assert torch.allclose(moved[0, :, 0], torch.zeros(3, 9), atol=1e-5)
    torch.testing.assert_close(moved[1], images[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(9, 9), (7, 11)])
def test_rotation_equals_scipys(shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.float32)
    image[2:-2, 2:-2] = np.random.default_rng(0).random((shape[0] - 4, shape[1] - 4))
    ours = augment.move(torch.from_numpy(image)[None, None], torch.zeros(1, 2), torch.tensor([20.0]))
    theirs = ndimage.rotate(image, 20.0, reshape=False, order=1, mode="constant")
    np.testing.assert_allclose(ours[0, 0].numpy(), theirs, atol=1e-4)


def test_draws_cover_their_range_evenly() -> None:
    seen: list[torch.Tensor] = []
    change = augment.random(seed=1, shift=2.0, rotate=30.0)
    images = torch.zeros(20_000, 1, 2, 2)
    original = augment.move
    augment.move = lambda images, pixels, degrees: seen.extend([pixels, degrees]) or original(images, pixels, degrees)  # type: ignore[func-returns-value]
    try:
        change({"images": images}, torch.zeros(20_000, dtype=torch.int64), torch.arange(20_000))
    finally:
        augment.move = original
    pixels, degrees = seen
    table = torch.stack([pixels[:, 0], pixels[:, 1], degrees])
    assert float((torch.corrcoef(table) - torch.eye(3)).abs().max()) < 0.03
    for values, bound in ((pixels[:, 0], 2.0), (pixels[:, 1], 2.0), (degrees, 30.0)):
        assert bound * 0.99 < float(values.max()) <= bound
        assert -bound <= float(values.min()) < -bound * 0.99
        assert abs(float(values.mean())) < 0.02 * bound


def test_random_samples() -> None:
    fields = {"tokens": arrays.Field((7,), classes=11), "images": arrays.Field((3, 5, 5))}
    noise = arrays.Random(fields, samples=500, seed=2, device=CPU)
    batch = noise.batch(0, 500)
    assert batch["tokens"].shape == (500, 7)
    assert set(batch["tokens"].unique().tolist()) == set(range(11))
    assert batch["images"].shape == (500, 3, 5, 5)
    assert float(batch["images"].abs().max()) <= 1.0
    assert abs(float(batch["images"].mean())) < 0.01
    again = torch.cat([noise.batch(first, 100)["images"] for first in range(0, 500, 100)])
    assert torch.equal(again, batch["images"])
    assert sum(len(part["tokens"]) for part in noise.in_order(64)) == 500
