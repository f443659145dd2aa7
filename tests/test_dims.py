"""Sizes that are known only when training starts."""

from dskc.compiler.dims import Poly, substitute, symbol


def test_quotients_get_their_number() -> None:
    b, s = symbol("B"), symbol("S")
    halved = ((b - 1) // 2 + 1) // 2 * 3
    by_size = 100 // (s + 1)
    assert isinstance(halved, Poly)
    assert isinstance(by_size, Poly)

    assert substitute(halved, {"B": 8}) == (7 // 2 + 1) // 2 * 3
    assert substitute(by_size + b, {"B": 2, "S": 6}) == 100 // 7 + 2
    assert str(substitute(by_size, {"S": -1})) == str(by_size)
