"""Every result is that of one tile, and of a point at infinity only where that is part of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.compiled import run
from toolkit.backends import onednn
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.winograd.order import Order
from toolkit.backends.native.winograd.tiles import Tiles

pytestmark = pytest.mark.skipif(not onednn.available(), reason=f"oneDNN: {onednn.unavailable_reason()}")

INT64 = np.dtype(np.int64)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(14, 14), (7, 13), (12, 9), (16, 20), (5, 6), (2, 3)])
def test_order(size: tuple[int, int], batch: int) -> None:
    tiles = Tiles.of((6, 32, *size), (6, 32, *size), 3, (1, 1))
    code = Code(2)
    order = Order(code, tiles, batch)
    with code.loop(tiles.total) as number:
        corner, extent = order.tile(number)
        for at, item in enumerate((*corner, *extent)):
            code.store(item, code.places[0], number * 5 + at)
    with code.loop(tiles.points) as point:
        for at, item in enumerate(order.having(point)):
            code.store(item, code.places[1], point * 2 + at)
    found, having = np.zeros((tiles.total, 5), INT64), np.zeros((tiles.points, 2), INT64)
    run(code, [found, having])

    seen = np.zeros((6, *size), int)
    for image, top, left, high, wide in found:
        seen[image, top : top + high, left : left + wide] += 1
    assert (seen == 1).all()
    found = found[: order.total]
    outputs, side = tiles.filtering.outputs, tiles.filtering.size
    for index, (first, last) in enumerate(having):
        row, column = divmod(index, side)
        is_part = (row < side - 1) | (found[:, 3] == outputs)
        is_part &= (column < side - 1) | (found[:, 4] == outputs)
        assert is_part[first:last].all()
        assert not np.delete(is_part, slice(first, last)).any()
    for rows in (4, 5):
        assert order.groups(rows) == sum(-(-(last - first) // rows) for first, last in having)
