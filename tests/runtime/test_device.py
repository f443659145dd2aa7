"""Devices by name."""

import argparse

import pytest
import torch

from dskc.runtime import device


def test_the_processor_is_always_there() -> None:
    assert device.named("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "foo", "meta", "cpu:x", "cuda:99", "cuda:-1"])
def test_others_are_refused_as_flags(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no device|is not here"):
        device.named(name)
