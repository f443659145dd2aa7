"""The name that a wrong one was meant to be."""

import pytest

from dskc.dsl.suggest import nearest


@pytest.mark.parametrize(
    ("word", "names", "expected"),
    [
        ("dept", ("depth", "dim"), "depth"),
        ("ReLU", ("gelu", "relu", "tanh"), "relu"),
        ("Dim", ("dim", "Dimension"), "dim"),
        ("x", ("B", "y"), None),  # any other letter would be one edit away
        ("b", ("A", "B"), "B"),
        ("k", ("%", "s"), None),
        ("optimizer", ("data", "model"), None),
    ],
)
def test_nearest(word: str, names: tuple[str, ...], expected: str | None) -> None:
    assert nearest(word, names) == expected
