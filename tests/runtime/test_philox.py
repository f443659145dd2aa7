"""The counter-based generator against the published vectors and against the distributions it promises."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from dskc.runtime import philox

# kat_vectors of Random123, the authors' library: counter, key, result.
KNOWN = (
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
)


def signed(low: int, high: int) -> torch.Tensor:
    value = low | high << 32
    return torch.tensor(value - (1 << 64) if value >= 1 << 63 else value)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_published_vectors(counter: tuple[int, ...], key: tuple[int, int], expected: str) -> None:
    found = philox.words(key[0] | key[1] << 32, signed(*counter[:2]), signed(*counter[2:]))
    assert " ".join(f"{int(word):08x}" for word in found) == expected


def test_a_longer_stream_begins_with_the_shorter_one() -> None:
    assert torch.equal(philox.normal(3, 300_001)[:1_001], philox.normal(3, 1_001))


def test_distributions() -> None:
    assert stats.kstest(philox.uniform(1, 100_000).numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(philox.normal(1, 100_000).numpy(), "norm").pvalue > 1e-3
    pairs = philox.normal(2, 100_000).view(-1, 2)
    assert abs(float(torch.corrcoef(pairs.T)[0, 1])) < 0.02


def test_keys_tell_apart_what_is_alike() -> None:
    keys = {philox.derive(*parts) for parts in ((1, 23), (12, 3), ("1", 23), (123,), ("1, 23",))}
    assert len(keys) == 5
