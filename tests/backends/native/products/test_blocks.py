"""Products in blocks, for sizes around tiles, vectors, panels and blocks, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.compiled import run
from toolkit.backends import native
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.products.blocks import Blocks, Matrix, Panels, Tiles
from toolkit.backends.native.products.tile import DEPTH

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 1, 1), (7, 10, 20), (16, DEPTH + 3, 40), (3, DEPTH, 16)])
def test_rows_times_a_packed_matrix(rows: int, depth: int, columns: int, is_turned: bool) -> None:
    code = Code(4)
    blocks, zero = Blocks(code), code.index(0)
    x, w, packed, y = code.places
    lying = Matrix(w, zero, 1, depth) if is_turned else Matrix(w, zero, columns)
    panels = Panels(packed, zero, depth, columns)
    blocks.pack(lying, panels, Team(code, 1).share)
    blocks.add(Matrix(x, zero, depth), rows, panels, Matrix(y, zero, columns))
    a, b, begun = drawn(rows, depth), drawn(depth, columns), drawn(rows, columns)
    found = begun.copy()
    given = np.ascontiguousarray(b.T) if is_turned else b
    run(code, [a, given, np.empty(blocks.size(depth, columns), np.float32), found])
    np.testing.assert_allclose(found, begun + a @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rows", "depth"), [(1, 5), (8, 12), (13, DEPTH + 2)])
def test_the_transpose_in_tiles_times_a_panel(rows: int, depth: int) -> None:
    code = Code(4)
    blocks, zero = Blocks(code), code.index(0)
    x, panel, packed, y = code.places
    for span in blocks.spans(depth):
        blocks.pack_tiles(Matrix(x, zero, rows), rows, span, Tiles(packed, zero))
        part = Matrix(panel, zero, blocks.width).part(span.first, 0)
        blocks.add_panel(Tiles(packed, zero), rows, span, part, 5, Matrix(y, zero, 5))
    a, b, found = drawn(depth, rows), drawn(depth, blocks.width), np.zeros((rows, 5), np.float32)
    run(code, [a, b, np.empty(rows * DEPTH, np.float32), found])
    np.testing.assert_allclose(found, (a.T @ b)[:, :5], rtol=1e-4, atol=1e-4)
